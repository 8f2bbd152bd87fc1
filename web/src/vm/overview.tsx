// What a VM is: size, disks, cards, how it boots.

import { useEffect } from "preact/hooks";
import { t } from "../i18n";
import { bytes, number } from "../i18n/format";
import { whileWatched } from "../state/attention";
import { at } from "../state/router";
import { Icon } from "../ui/icons";
import { Card, Fact, Facts, Meter } from "../ui/parts";
import type { Detail, Shown } from "./detail";
import { diskKind, diskName, isReadOnly } from "./disk";

const REFRESH = 5000;

export function Overview({ vm, reload }: Shown) {
  const { configuration: wanted } = vm;
  // No event tells what memory a VM has touched, and which addresses its cards were seen to use.
  useEffect(() => whileWatched(REFRESH, reload), [vm.name]);
  return (
    <div class="stack">
      {vm.origin === "boot" ? <p class="notice">{t("vm.origin.boot")}</p> : null}
      <Card title={t("vm.machine")} aside={<ConsoleLink vm={vm} />}>
        <Facts>
          <Fact name={t("vm.vcpus")}>{number(vm.vcpus)}</Fact>
          <Fact name={t("vm.memory")}>
            <div class="stack-tight">
              {bytes(vm.memory_bytes)}
              {vm.power === "off" ? null : (
                <>
                  <Meter used={vm.touched_bytes} of={vm.memory_bytes} label={t("vm.memory.touched")} />
                  <span class="small muted" data-volatile>
                    {t("vm.memory.touched.of", { size: bytes(vm.touched_bytes) })}
                  </span>
                </>
              )}
            </div>
          </Fact>
          <Fact name={t("vm.autostart")}>{t(wanted.autostart === false ? "vm.autostart.no" : "vm.autostart.yes")}</Fact>
          <Fact name={t("vm.starts")}>{number(vm.starts)}</Fact>
          <Boot boot={wanted.boot} />
        </Facts>
      </Card>
      <div class="halves">
        <Card title={t("vm.disks")}>
          <Disks disks={wanted.disk} />
        </Card>
        <Card title={t("vm.nics")}>
          <Nics vm={vm} />
        </Card>
      </div>
    </div>
  );
}

const ConsoleLink = ({ vm }: { vm: Detail }) => (
  <a class="button quiet" href={at("vms", vm.name, "console")}>
    <Icon name="terminal" />
    {t("vm.tab.console")}
  </a>
);

function Boot({ boot }: { boot: Detail["configuration"]["boot"] }) {
  if (boot.firmware) return <Fact name={t("vm.firmware")}>{boot.firmware}</Fact>;
  return (
    <>
      <Fact name={t("vm.kernel")}>
        {boot.kernel}
        {boot.initrd ? ` + ${boot.initrd}` : ""}
      </Fact>
      {boot.command_line ? (
        <Fact name={t("vm.command_line")}>
          <code>{boot.command_line}</code>
        </Fact>
      ) : null}
    </>
  );
}

function Disks({ disks }: { disks: Detail["configuration"]["disk"] }) {
  if (disks.length === 0) return <p class="muted">{t("vm.disks.none")}</p>;
  return (
    <ul class="list">
      {disks.map((disk, index) => (
        <li key={index}>
          <Icon name="disk" />
          <div class="grow">
            <p class="wrap-any">{diskName(disk)}</p>
            <p class="small muted">
              {t(diskKind(disk))}
              {disk.partition ? ` · ${t("disk.partition", { number: disk.partition })}` : ""}
              {isReadOnly(disk) ? ` · ${t("disk.read_only")}` : ""}
            </p>
          </div>
          <code class="muted">vd{String.fromCharCode(97 + index)}</code>
        </li>
      ))}
    </ul>
  );
}

function Nics({ vm }: { vm: Detail }) {
  const { nic: nics } = vm.configuration;
  if (nics.length === 0) return <p class="muted">{t("vm.nics.none")}</p>;
  return (
    <ul class="list">
      {nics.map((nic, index) => (
        <li key={index}>
          <Icon name="network" />
          <div class="grow">
            <p>{t("vm.nic", { number: index + 1 })}</p>
            <p class="small muted mono">{nic.mac ?? vm.addresses?.find(({ card }) => card === index)?.mac ?? t("vm.nic.mac")}</p>
            {(vm.addresses ?? [])
              .filter(({ card }) => card === index)
              .map(({ address }) => (
                <p key={address} class="mono small">
                  {address}
                </p>
              ))}
          </div>
        </li>
      ))}
    </ul>
  );
}
