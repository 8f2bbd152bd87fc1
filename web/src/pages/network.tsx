// The host's network: a picture that follows what changes, and the ports with their counters.

import { useEffect, useRef, useState } from "preact/hooks";
import { get } from "../api/client";
import { type Key, t } from "../i18n";
import { bytes, number } from "../i18n/format";
import { someoneLooks } from "../state/attention";
import { type Network, type Port, rates } from "../network/picture";
import { Topology } from "../network/topology";
import { onEvent, onReset } from "../state/events";
import { at } from "../state/router";
import { Card, Empty, Head, Loading } from "../ui/parts";
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
    const timer = setInterval(() => {
      if (someoneLooks()) void ask();
    }, REFRESH);
    const ends = [onReset(() => void ask()), onEvent(({ kind }) => void (kind.startsWith("vm.") && ask()))];
    return () => {
      isOver = true;
      clearInterval(timer);
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
  return (
    <Card title={t("network.groups")} class="table-card">
      <div class="table-frame" tabIndex={0} role="group" aria-label={t("network.groups")}>
        <table>
          <thead>
            <tr>
              <th scope="col">{t("vm.name")}</th>
              <th scope="col">VLAN</th>
              {POLICIES.map((policy) => (
                <th key={policy} scope="col">
                  {t(`network.${policy}`)}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
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
          </tbody>
        </table>
      </div>
    </Card>
  );
}

function Ports({ network }: { network: Network }) {
  return (
    <Card title={t("network.ports")} class="table-card">
      <div class="table-frame" tabIndex={0} role="group" aria-label={t("network.ports")}>
        <table>
          <thead>
            <tr>
              <th scope="col">{t("network.who")}</th>
              <th scope="col">{t("network.group")}</th>
              <th scope="col">{t("network.address")}</th>
              <th scope="col" class="number">
                {t("network.in")}
              </th>
              <th scope="col" class="number">
                {t("network.out")}
              </th>
              <th scope="col" class="number">
                {t("network.lost")}
              </th>
            </tr>
          </thead>
          <tbody>
            {network.ports.map((port) => (
              <PortRow key={port.number} port={port} />
            ))}
          </tbody>
        </table>
      </div>
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
