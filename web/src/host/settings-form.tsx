// The host's name, its addresses, whom it asks for names and the time. Another address is on trial: who can't reach the
// host any more gets the one from before back.

import { useCallback, useEffect, useId, useState } from "preact/hooks";
import { Failed, type Schemas, get, post, put, send } from "../api/client";
import { t } from "../i18n";
import { now } from "../state/clock";
import { onEvent } from "../state/events";
import { may } from "../state/session";
import { useDraft } from "../ui/draft";
import { Card, Loading } from "../ui/parts";
import { ProblemNotice } from "../ui/problem";
import { attempt, toast } from "../ui/toast";
import { Certificate } from "./certificate";
import { list, movesAddress } from "./settings";

type Settings = Schemas["HostSettings"];
type State = Schemas["HostSettingsState"];
interface Shown {
  state: State;
  tag: string;
  at: number;
}
type SetSettings = (change: Partial<Settings>) => void;

export function HostSettings() {
  const [shown, setShown] = useState<Shown | null>(null);
  const [error, setError] = useState<unknown>(null);
  const load = useCallback(async (): Promise<void> => {
    try {
      const response = await send("GET", "/api/v1/host/settings");
      const state = (await response.json()) as State;
      setShown({ state, tag: response.headers.get("ETag") ?? "", at: now.value });
      setError(null);
    } catch (failed) {
      setError(failed);
    }
  }, []);
  useEffect(() => {
    void load();
    return onEvent(({ kind }) => {
      if (kind === "settings") void load();
    });
  }, [load]);
  if (!shown) return error ? <ProblemNotice error={error} /> : <Loading />;
  return (
    <div class="stack">
      <Trial shown={shown} reload={load} />
      <Form shown={shown} reload={load} />
      <Present />
      <Certificate />
    </div>
  );
}

interface PartProps {
  shown: Shown;
  reload: () => Promise<void>;
}

function Trial({ shown, reload }: PartProps) {
  const { trial } = shown.state;
  const left = trial ? Math.max(0, trial.seconds_left - (now.value - shown.at)) : 0;
  const isOver = trial != null && left === 0;
  useEffect(() => {
    if (isOver) void reload();
  }, [isOver, reload]);
  if (!trial) return null;
  const end = async (path: "/api/v1/host/settings/confirm" | "/api/v1/host/settings/revert"): Promise<void> => {
    await attempt(() => post(path));
    await reload();
  };
  return (
    <div class="notice warn centred" role="status">
      <span class="grow">
        {t("hostset.trial")} <span data-volatile>{t("hostset.trial.left", { seconds: Math.ceil(left) })}</span>
      </span>
      {may("administrator") ? (
        <span class="row">
          <button type="button" class="button" onClick={() => void end("/api/v1/host/settings/revert")}>
            {t("hostset.trial.revert")}
          </button>
          <button type="button" class="button primary" onClick={() => void end("/api/v1/host/settings/confirm")}>
            {t("hostset.trial.confirm")}
          </button>
        </span>
      ) : null}
    </div>
  );
}

function Form({ shown, reload }: PartProps) {
  const { settings } = shown.state;
  const { wanted, set, hasChanged, ...draft } = useDraft<Settings>(settings, shown.tag);
  const [isBusy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);

  async function submit(event: Event): Promise<void> {
    event.preventDefault();
    setBusy(true);
    setError(null);
    try {
      await put("/api/v1/host/settings", { body: wanted, headers: { "If-Match": draft.tag } });
      draft.saved();
      toast(t("settings.saved"));
      await reload();
    } catch (failed) {
      setError(failed);
      if (failed instanceof Failed && failed.status === 412) await reload();
    }
    setBusy(false);
  }

  return (
    <form class="stack" onSubmit={(event) => void submit(event)}>
      <fieldset class="stack" disabled={!may("administrator") || isBusy}>
        <legend class="only-heard">{t("hostpage.settings")}</legend>
        <Names wanted={wanted} set={set} />
        <div class="halves">
          <Ipv4 wanted={wanted} set={set} />
          <Ipv6 wanted={wanted} set={set} />
        </div>
      </fieldset>
      {hasChanged && wanted.name !== settings.name ? <p class="notice warn">{t("hostset.name.lost")}</p> : null}
      {movesAddress(settings, wanted) ? <p class="notice warn">{t("hostset.trial.before")}</p> : null}
      {draft.isOvertaken && !isBusy ? <p class="notice warn">{t("settings.overtaken")}</p> : null}
      <ProblemNotice error={error} />
      {may("administrator") ? (
        <div class="row">
          <span class="grow" />
          <button type="button" class="button" disabled={!hasChanged} onClick={draft.undo}>
            {t("action.undo")}
          </button>
          <button class="button primary" disabled={!hasChanged || isBusy}>
            {t("action.save")}
          </button>
        </div>
      ) : null}
    </form>
  );
}

interface FieldsProps {
  wanted: Settings;
  set: SetSettings;
}

interface TextProps {
  label: string;
  value: string;
  hint?: string;
  change: (value: string) => void;
}

function Text({ label, value, hint, change }: TextProps) {
  const id = useId();
  return (
    <div class="field">
      <label for={id}>{label}</label>
      <input
        id={id}
        class="mono"
        spellcheck={false}
        autocapitalize="off"
        value={value}
        aria-describedby={hint ? `${id}h` : undefined}
        onChange={(event) => change(event.currentTarget.value)}
      />
      {hint ? (
        <span class="hint" id={`${id}h`}>
          {hint}
        </span>
      ) : null}
    </div>
  );
}

function Names({ wanted, set }: FieldsProps) {
  return (
    <Card title={t("hostset.names")}>
      <div class="fields">
        <Text
          label={t("hostset.name")}
          value={wanted.name}
          hint={t("hostset.name.hint", { name: wanted.name })}
          change={(name) => set({ name })}
        />
        <Text
          label={t("hostset.dns")}
          value={(wanted.dns ?? []).join(", ")}
          hint={wanted.ipv4.method === "dhcp" ? t("hostset.dns.dhcp") : t("hostset.list")}
          change={(text) => set({ dns: list(text) })}
        />
        <Text
          label={t("hostset.ntp")}
          value={(wanted.ntp ?? []).join(", ")}
          hint={t("hostset.ntp.hint")}
          change={(text) => set({ ntp: list(text) })}
        />
      </div>
    </Card>
  );
}

interface AddressProps<M extends string> {
  title: string;
  methods: readonly M[];
  value: { method: M; address?: string | null; gateway?: string | null };
  examples: [string, string];
  change: (value: { method: M; address?: string; gateway?: string }) => void;
}

function Address<M extends string>({ title, methods, value, examples, change }: AddressProps<M>) {
  const id = useId();
  const [address, gateway] = [value.address ?? "", value.gateway ?? ""];
  const fixed = (address: string, gateway: string): void =>
    change({ method: value.method, ...(address ? { address } : {}), ...(gateway ? { gateway } : {}) });
  return (
    <Card title={title}>
      <div class="stack">
        <div class="field">
          <label for={id}>{t("hostset.method")}</label>
          <select id={id} value={value.method} onChange={(event) => change({ method: event.currentTarget.value as M })}>
            {methods.map((method) => (
              <option key={method} value={method}>
                {t(`hostset.method.${method}` as "hostset.method.dhcp")}
              </option>
            ))}
          </select>
        </div>
        {value.method === "static" ? (
          <>
            <Text label={t("hostset.address")} value={address} hint={examples[0]} change={(text) => fixed(text.trim(), gateway)} />
            <Text label={t("hostset.gateway")} value={gateway} hint={examples[1]} change={(text) => fixed(address, text.trim())} />
          </>
        ) : null}
      </div>
    </Card>
  );
}

const IPV4 = ["dhcp", "static", "off"] as const;
const IPV6 = ["auto", "static", "link-local"] as const;

const Ipv4 = ({ wanted, set }: FieldsProps) => (
  <Address
    title="IPv4"
    methods={IPV4}
    value={wanted.ipv4}
    examples={["192.0.2.10/24", "192.0.2.1"]}
    change={(ipv4) => set({ ipv4 })}
  />
);

const Ipv6 = ({ wanted, set }: FieldsProps) => (
  <Address
    title="IPv6"
    methods={IPV6}
    value={wanted.ipv6}
    examples={["2001:db8::10/64", "fe80::1"]}
    change={(ipv6) => set({ ipv6 })}
  />
);

/** The network and the time as the host has them now. */
function Present() {
  const [network, setNetwork] = useState<Schemas["HostNetwork"] | null>(null);
  const [time, setTime] = useState<Schemas["HostTime"] | null>(null);
  useEffect(() => {
    get("/api/v1/host/network").then(setNetwork, () => setNetwork(null));
    get("/api/v1/host/time").then(setTime, () => setTime(null));
  }, []);
  if (!network || !time) return null;
  const rows: [string, string][] = [
    [t("hostset.mac"), network.mac],
    [t("hostset.addresses"), network.addresses.join(", ")],
    [t("hostset.gateway"), network.gateways.join(", ")],
    [t("hostset.dns"), network.dns.join(", ")],
    ...time.servers.map(({ server, state }): [string, string] => [t("hostset.ntp.of", { server }), state]),
  ];
  return (
    <Card title={t("hostset.present")}>
      {network.name_is_taken ? <p class="notice warn">{t("hostset.name.taken")}</p> : null}
      <dl class="facts">
        {rows.map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd class="mono wrap-any" data-volatile>
              {value || "–"}
            </dd>
          </div>
        ))}
      </dl>
    </Card>
  );
}
