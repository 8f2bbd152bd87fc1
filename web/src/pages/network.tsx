// The host's network: a picture that follows what changes, and the ports with their counters.

import { useEffect, useRef, useState } from "preact/hooks";
import { get } from "../api/client";
import { type Key, t } from "../i18n";
import { bytes, number } from "../i18n/format";
import { whileWatched } from "../state/attention";
import { type Network, type Port, rates } from "../network/picture";
import { Topology } from "../network/topology";
import { onEvent, onReset } from "../state/events";
import { at } from "../state/router";
import { Card, Empty, Head, Loading, Table } from "../ui/parts";
import { ProblemNotice } from "../ui/problem";
import "../styles/network.css";

const REFRESH = 2000;

interface Look {
  network: Network;
  at: number;
  rates: Map<number, number>;
}

/** Looks again and again, and at once when a VM comes, goes or is changed. */
function useNetwork(): { look: Look | null; error: unknown } {
  const [look, setLook] = useState<Look | null>(null);
  const [error, setError] = useState<unknown>(null);
  const last = useRef<Look | null>(null);
  useEffect(() => {
    let isOver = false;
    const ask = async (): Promise<void> => {
      try {
        const network = await get("/api/v1/network");
        if (isOver) return;
        const now = performance.now();
        const before = last.current;
        const moved = rates(before?.network ?? null, network, before ? (now - before.at) / 1000 : 0);
        last.current = { network, at: now, rates: moved };
        setLook(last.current);
        setError(null);
      } catch (failed) {
        if (!isOver) setError(failed);
      }
    };
    void ask();
    const ends = [
      whileWatched(REFRESH, () => void ask()),
      onReset(() => void ask()),
      onEvent(({ kind }) => void (kind.startsWith("vm.") && ask())),
    ];
    return () => {
      isOver = true;
      for (const end of ends) end();
    };
  }, []);
  return { look, error };
}

export default function NetworkPage() {
  const { look, error } = useNetwork();
  return (
    <div class="page">
      <Head title={t("nav.network")} />
      <ProblemNotice error={error} />
      {!look && !error ? <Loading /> : null}
      {look ? <Shown look={look} /> : null}
    </div>
  );
}

function Shown({ look: { network, rates: moved } }: { look: Look }) {
  if (network.ports.length === 0) {
    return (
      <Card>
        <Empty icon="network" title={t("network.none")} text={t("network.none.text")} />
      </Card>
    );
  }
  return (
    <>
      <Card title={t("network.topology")}>
        <Topology network={network} rates={moved} />
      </Card>
      <Groups network={network} />
      <Ports network={network} />
    </>
  );
}

const POLICIES = ["promiscuous", "mac_changes", "forged_transmits"] as const;

function Groups({ network }: { network: Network }) {
  const title = t("network.groups");
  return (
    <Card title={title} class="table-card">
      <Table label={title} columns={[t("vm.name"), "VLAN", ...POLICIES.map((policy) => t(`network.${policy}`))]} isInside>
        {network.port_groups.map((group) => (
          <tr key={group.name}>
            <td>{group.name}</td>
            <td>{group.vlan || t("network.untagged")}</td>
            {POLICIES.map((policy) => (
              <td key={policy}>
                {group[policy] ? <span class="badge warn">{t("network.allowed")}</span> : t("network.rejected")}
              </td>
            ))}
          </tr>
        ))}
      </Table>
    </Card>
  );
}

const COUNTERS = ["in", "out", "lost"] as const;

function Ports({ network }: { network: Network }) {
  const title = t("network.ports");
  const counters = COUNTERS.map((name): [string, string] => [t(`network.${name}`), "number"]);
  return (
    <Card title={title} class="table-card">
      <Table label={title} columns={[t("network.who"), t("network.group"), t("network.address"), ...counters]} isInside>
        {network.ports.map((port) => (
          <PortRow key={port.number} port={port} />
        ))}
      </Table>
    </Card>
  );
}

function PortRow({ port }: { port: Port }) {
  const lost = port.undelivered + port.refused;
  return (
    <tr>
      <td>
        {port.vm ? <a href={at("vms", port.vm)}>{port.vm}</a> : t(`network.kind.${port.kind}` as Key)}{" "}
        <span class="muted small">{port.is_up ? "" : t("network.down")}</span>
      </td>
      <td>{port.port_group ?? "—"}</td>
      <td>
        <span class="mono small">{port.mac}</span>
        {port.addresses.map(({ address }) => (
          <div key={address} class="mono small muted">
            {address}
          </div>
        ))}
      </td>
      <td class="number" data-volatile>
        {bytes(port.bytes_in)}
      </td>
      <td class="number" data-volatile>
        {bytes(port.bytes_out)}
      </td>
      <td class="number" data-volatile title={t("network.lost.text", { undelivered: number(port.undelivered), refused: number(port.refused) })}>
        {number(lost)}
      </td>
    </tr>
  );
}
