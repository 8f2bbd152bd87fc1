// The host at a glance: what it has, what is used, what needs someone, what was done last.

import { useEffect, useState } from "preact/hooks";
import { type Schemas, get } from "../api/client";
import { t } from "../i18n";
import { bytes, duration, number, percent } from "../i18n/format";
import { someoneLooks, whileWatched } from "../state/attention";
import { at } from "../state/router";
import { may } from "../state/session";
import { type Vm, datastore, events, hasNoDatastore, host, refreshHost, tasks, vmList } from "../state/store";
import { Icon } from "../ui/icons";
import { Card, Empty, Head, Loading, Meter, When } from "../ui/parts";
import { pageOf } from "../shell/pages";
import { PowerBadge } from "../vm/power";
import { EventLine } from "../ui/event";
import { Spark } from "../ui/spark";
import { TaskLine } from "../ui/task";

const REFRESH = 4000;
const SHOWN = 6;

type History = Schemas["History"];

export default function Dashboard() {
  const [history, setHistory] = useState<History | null>(null);
  useEffect(() => {
    const look = (): void => {
      void refreshHost();
      // Where it fails the figures of before stay; that nobody answers is said by the frame.
      get("/api/v1/host/history", { query: { seconds: 120, step: 2 } }).then(setHistory, () => {});
    };
    if (someoneLooks()) look();
    return whileWatched(REFRESH, look);
  }, []);
  if (!host.value) return <Loading />;
  return (
    <div class="page">
      <Head title={t("nav.dashboard")}>
        {may("administrator") ? (
          <a class="button primary" href="/vms/new">
            <Icon name="plus" />
            {t("vm.new")}
          </a>
        ) : null}
      </Head>
      {hasNoDatastore.value ? <NoDatastore /> : null}
      <p class="muted host-line" data-volatile>
        {t("host.line", {
          version: host.value.version,
          uptime: duration(host.value.uptime_seconds),
          generation: host.value.generation,
        })}
      </p>
      <Warnings />
      <Figures history={history} />
      <div class="halves">
        <Machines />
        <LastTasks />
      </div>
      <LastEvents />
    </div>
  );
}

function Figures({ history }: { history: History | null }) {
  const state = host.value;
  if (!state) return null;
  const all = vmList.value ?? [];
  const running = all.filter(({ power }) => power !== "off");
  const vcpus = running.reduce((sum, vm) => sum + vm.vcpus, 0);
  const reserved = running.reduce((sum, vm) => sum + vm.memory_bytes, 0);
  const store = datastore.value;
  const received = history?.network_received ?? [];
  const sent = history?.network_sent ?? [];
  return (
    <div class="grid">
      <Card title={t("host.pes")}>
        <div class="stack-small">
          <p class="figure" data-volatile>
            {percent((history?.cpu_permille.at(-1) ?? 0) / 1000)} <small>{t("host.used")}</small>
          </p>
          <Spark values={history?.cpu_permille ?? []} most={1000} />
          <p class="muted">{t("host.pes.of", { pes: number(state.pes), vcpus: number(vcpus) })}</p>
        </div>
      </Card>
      <Card title={t("host.memory")}>
        <div class="stack-small">
          <p class="figure" data-volatile>
            {bytes(state.free_bytes)} <small>{t("host.free")}</small>
          </p>
          <Meter used={reserved} of={reserved + state.free_bytes} label={t("host.memory")} />
          <p class="muted">{t("host.memory.of", { reserved: bytes(reserved), host: bytes(state.host_bytes) })}</p>
        </div>
      </Card>
      <Card title={t("host.storage")}>
        {store && !store.is_volatile ? (
          <div class="stack-small">
            <p class="figure" data-volatile>
              {bytes(store.free_bytes)} <small>{t("host.free")}</small>
            </p>
            <Meter used={store.bytes - store.free_bytes} of={store.bytes} label={t("host.storage")} />
            <p class="muted">{t("host.storage.of", { size: bytes(store.bytes), written: bytes(store.written_bytes) })}</p>
          </div>
        ) : (
          <div class="stack-small">
            <p class="figure">—</p>
            <p class="muted">{t("datastore.none")}</p>
          </div>
        )}
      </Card>
      <Card title={t("nav.network")}>
        <div class="stack-small">
          <p class="figure" data-volatile>
            {bytes(received.at(-1) ?? 0)}/s <small>{t("host.received")}</small>
          </p>
          <Spark values={received} most={Math.max(1, ...received, ...sent)} />
          <p class="muted" data-volatile>
            {t("host.sent", { rate: `${bytes(sent.at(-1) ?? 0)}/s` })}
          </p>
        </div>
      </Card>
    </div>
  );
}

function Warnings() {
  const lines: [string, string][] = [];
  const state = host.value;
  const store = datastore.value;
  if (state && !state.is_synchronized) lines.push(["warn", t("warning.clock")]);
  if (state?.last_end) lines.push(["warn", t("warning.hostd", { why: state.last_end })]);
  if (store?.is_read_only) lines.push(["bad", t("warning.readonly")]);
  if (store && !store.is_volatile && store.free_bytes < store.bytes / 10) {
    lines.push(["warn", t("warning.full", { share: percent(store.free_bytes / store.bytes) })]);
  }
  if (lines.length === 0) return null;
  return (
    <ul class="stack-small" aria-label={t("warning.label")}>
      {lines.map(([tone, text]) => (
        <li key={text} class={`notice ${tone}`}>
          <Icon name="alert" />
          <p>{text}</p>
        </li>
      ))}
    </ul>
  );
}

function NoDatastore() {
  const hasPage = pageOf("storage") !== undefined;
  return (
    <div class="notice centred">
      <Icon name="disk" />
      <div class="grow">
        <p class="what">{t("datastore.none")}</p>
        <p>{t("datastore.none.text")}</p>
      </div>
      {hasPage && may("administrator") ? (
        <a class="button" href="/storage">
          {t("datastore.make")}
        </a>
      ) : null}
    </div>
  );
}

function Machines() {
  const all = vmList.value;
  if (!all) return <Loading />;
  const order = (vm: Vm): number => (vm.power === "off" ? 1 : 0);
  const shown = [...all].sort((a, b) => order(a) - order(b)).slice(0, SHOWN);
  return (
    <Card title={t("nav.vms")} aside={<a href="/vms">{t("action.all", { count: all.length })}</a>}>
      {shown.length === 0 ? (
        <Empty icon="vm" title={t("vm.none")} text={t("vm.none.text")} />
      ) : (
        <ul class="list">
          {shown.map((vm) => (
            <li key={vm.name}>
              <div class="grow">
                <a href={at("vms", vm.name)} class="wrap-any">
                  {vm.name}
                </a>
                <p class="small muted">{t("vm.size", { vcpus: vm.vcpus, memory: bytes(vm.memory_bytes) })}</p>
              </div>
              <PowerBadge power={vm.power} />
            </li>
          ))}
        </ul>
      )}
    </Card>
  );
}

function LastTasks() {
  const some = tasks.value?.slice(0, SHOWN) ?? [];
  return (
    <Card title={t("tasks.recent")} aside={<a href="/tasks">{t("action.all.plain")}</a>}>
      {some.length === 0 ? (
        <Empty icon="tasks" title={t("tasks.none")} text={t("tasks.none.text")} />
      ) : (
        <ul class="list">
          {some.map((task) => (
            <TaskLine key={task.id} task={task} />
          ))}
        </ul>
      )}
    </Card>
  );
}

function LastEvents() {
  const some = events.value.slice(0, SHOWN);
  if (some.length === 0) return null;
  return (
    <Card title={t("events.recent")} aside={<a href="/tasks/events">{t("action.all.plain")}</a>}>
      <ul class="list">
        {some.map((event) => (
          <li key={event.id}>
            <EventLine event={event} />
            <span class="grow" />
            <span class="small muted">
              <When at={event.at} />
            </span>
          </li>
        ))}
      </ul>
    </Card>
  );
}
