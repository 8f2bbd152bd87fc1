// One VM: its head with what can be done, and a tab for each side of it.

import { signal } from "@preact/signals";
import { type ComponentChildren, type ComponentType, createContext } from "preact";
import { useEffect, useState } from "preact/hooks";
import { Failed, type Schemas, remove, send, url } from "../api/client";
import { t } from "../i18n";
import { onEvent, onReset } from "../state/events";
import { at, go, segments } from "../state/router";
import { may } from "../state/session";
import { noteVm, vms } from "../state/store";
import { FormDialog } from "../ui/dialog";
import { Icon } from "../ui/icons";
import { Empty, Head, Loading } from "../ui/parts";
import { ProblemNotice } from "../ui/problem";
import { toast } from "../ui/toast";
import { Clone } from "./clone";
import { Overview } from "./overview";
import { PowerBadge, PowerButtons } from "./power";
import { Snapshots } from "./snapshots";

export type Detail = Schemas["VmDetail"];
export interface Shown {
  vm: Detail;
  /** Of the configuration: what a change has to name. */
  tag: string;
  reload: () => void;
}

export const ShownVm = createContext<Shown | null>(null);

type Tab = "overview" | "console" | "snapshots" | "performance" | "statistics" | "log" | "settings";
const TABS: readonly Tab[] = ["overview", "console", "snapshots", "performance", "statistics", "log", "settings"];

/** Tabs whose code comes when they are opened. */
const LOADS: Partial<Record<Tab, () => Promise<ComponentType<Shown>>>> = {
  console: async () => (await import("./console")).Console,
  performance: async () => (await import("./performance")).Performance,
  statistics: async () => (await import("./statistics")).Statistics,
  log: async () => (await import("./log")).Log,
  settings: async () => (await import("./settings")).Settings,
};

/** Which console was looked at: it stays so from VM to VM. */
export const consoleName = signal("uart");

export function VmPage({ name }: { name: string }) {
  const [shown, setShown] = useState<{ vm: Detail; tag: string } | null>(null);
  const [error, setError] = useState<unknown>(null);
  const load = (): void => {
    send("GET", url("/api/v1/vms/{vm}", { at: { vm: name } }))
      .then(async (response) => {
        const vm = (await response.json()) as Detail;
        noteVm(vm);
        setShown({ vm, tag: response.headers.get("ETag") ?? "" });
        setError(null);
      })
      .catch(setError);
  };
  useEffect(() => {
    load();
    const isMine = (kind: string): boolean => kind === "vm.changed" || kind === "vm.power" || kind === "vm.removed";
    const ends = [onReset(load), onEvent(({ kind, subject }) => void (subject === name && isMine(kind) && load()))];
    return () => {
      for (const end of ends) end();
    };
  }, [name]);

  if (error instanceof Failed && error.status === 404) {
    return (
      <Frame name={name}>
        <Empty icon="vm" title={t("vm.gone", { name })} text={t("vm.gone.text")}>
          <a class="button" href="/vms">
            {t("nav.vms")}
          </a>
        </Empty>
      </Frame>
    );
  }
  if (!shown) return <Frame name={name}>{error ? <ProblemNotice error={error} /> : <Loading />}</Frame>;
  // The list is told first: power changes show at once.
  const live = vms.value?.get(name);
  const vm: Detail = live ? { ...shown.vm, ...live } : shown.vm;
  return <Page shown={{ vm, tag: shown.tag, reload: load }} />;
}

/** The page of a VM of which nothing more is known yet. */
const Frame = ({ name, children }: { name: string; children: ComponentChildren }) => (
  <div class="page">
    <Head title={name} up={{ to: "/vms", name: t("nav.vms") }} />
    {children}
  </div>
);

function Page({ shown }: { shown: Shown }) {
  const { vm } = shown;
  const asked = segments.value[2] as Tab | undefined;
  const tab = asked && TABS.includes(asked) ? asked : "overview";
  return (
    <div class="page">
      <Head title={vm.name} up={{ to: "/vms", name: t("nav.vms") }} badge={<PowerBadge power={vm.power} />}>
        <PowerButtons vm={vm} />
        <Clone vm={vm} />
        <Delete vm={vm} />
      </Head>
      <nav class="tabs" aria-label={t("vm.tabs")}>
        {TABS.map((name) => (
          <a
            key={name}
            href={name === "overview" ? at("vms", vm.name) : at("vms", vm.name, name)}
            aria-current={name === tab ? "page" : undefined}
          >
            {t(`vm.tab.${name}`)}
          </a>
        ))}
      </nav>
      {tab === "overview" ? <Overview {...shown} /> : null}
      {tab === "snapshots" ? <Snapshots {...shown} /> : null}
      {LOADS[tab] ? <Lazy key={tab} load={LOADS[tab]} shown={shown} /> : null}
    </div>
  );
}

function Lazy({ load, shown }: { load: () => Promise<ComponentType<Shown>>; shown: Shown }) {
  const [Loaded, setLoaded] = useState<ComponentType<Shown> | null>(null);
  const [error, setError] = useState<unknown>(null);
  useEffect(() => {
    load().then((found) => setLoaded(() => found), setError);
  }, []);
  if (error) return <ProblemNotice error={error} />;
  return Loaded ? <Loaded {...shown} /> : <Loading />;
}

function Delete({ vm }: { vm: Detail }) {
  const [isOpen, setOpen] = useState(false);
  if (!may("administrator") || vm.origin === "boot") return null;
  return (
    <>
      <button
        type="button"
        class="button icon"
        disabled={vm.power !== "off"}
        aria-label={t("action.delete")}
        title={vm.power === "off" ? t("action.delete") : t("vm.delete.runs")}
        onClick={() => setOpen(true)}
      >
        <Icon name="trash" />
      </button>
      {isOpen ? <DeleteDialog vm={vm} close={() => setOpen(false)} /> : null}
    </>
  );
}

function DeleteDialog({ vm, close }: { vm: Detail; close: () => void }) {
  const [withVolumes, setWithVolumes] = useState(false);
  const volumes = vm.configuration.disk.flatMap(({ volume }) => (volume ? [volume] : []));
  return (
    <FormDialog
      title={t("vm.delete.title", { name: vm.name })}
      submit={t("action.delete")}
      isDangerous
      close={close}
      work={async () => {
        const query = withVolumes ? { volumes: "true" } : {};
        await remove("/api/v1/vms/{vm}", { at: { vm: vm.name }, query });
        toast(t("vm.delete.done", { name: vm.name }));
        go("/vms");
      }}
    >
      <ul class="lost">
        <li>{t("vm.delete.lost")}</li>
        {withVolumes ? <li>{t("vm.delete.lost.volumes", { names: volumes.join(", ") })}</li> : null}
      </ul>
      {volumes.length > 0 ? (
        <label class="check">
          <input
            type="checkbox"
            checked={withVolumes}
            onChange={(event) => setWithVolumes(event.currentTarget.checked)}
          />
          {t("vm.delete.volumes", { names: volumes.join(", ") })}
        </label>
      ) : null}
      {volumes.length > 0 && !withVolumes ? <p class="muted">{t("vm.delete.kept")}</p> : null}
    </FormDialog>
  );
}
