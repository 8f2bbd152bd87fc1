// What was done with a VM, what happened to it, and what the host's log says of it.

import { useEffect, useState } from "preact/hooks";
import { type Schemas, get } from "../api/client";
import { t } from "../i18n";
import { someoneLooks, whileWatched } from "../state/attention";
import { tasks } from "../state/store";
import { EventLine } from "../ui/event";
import { Card, Empty, Loading, When } from "../ui/parts";
import { ProblemNotice } from "../ui/problem";
import { TaskLine } from "../ui/task";
import type { Shown } from "./detail";

type VmLog = Schemas["VmLog"];
const REFRESH = 5000;

export function Log({ vm }: Shown) {
  const [log, setLog] = useState<VmLog | null>(null);
  const [error, setError] = useState<unknown>(null);
  useEffect(() => {
    const ask = (): void => {
      get("/api/v1/vms/{vm}/log", { at: { vm: vm.name } }).then((found) => {
        setLog(found);
        setError(null);
      }, setError);
    };
    if (someoneLooks()) ask();
    return whileWatched(REFRESH, ask);
  }, [vm.name, vm.power]);
  if (!log) return error ? <ProblemNotice error={error} /> : <Loading />;
  return (
    <div class="stack">
      <Happened log={log} name={vm.name} />
      <Card title={t("vm.log.lines")}>
        {log.lines.length === 0 ? <p class="muted">{t("vm.log.none")}</p> : null}
        <ol class="log-lines" tabIndex={0} aria-label={t("vm.log.lines")}>
          {log.lines.map(({ position, text }) => (
            <li key={position}>{text}</li>
          ))}
        </ol>
      </Card>
    </div>
  );
}

function Happened({ log, name }: { log: VmLog; name: string }) {
  const mine = (tasks.value ?? []).filter(({ target }) => target === name);
  const happened = log.events.filter(({ kind }) => kind !== "task").reverse();
  return (
    <div class="halves">
      <Card title={t("tasks.title")}>
        {mine.length === 0 ? <Empty icon="tasks" title={t("tasks.none")} /> : null}
        <ul class="list">
          {mine.map((task) => (
            <TaskLine key={task.id} task={task} />
          ))}
        </ul>
      </Card>
      <Card title={t("events.title")}>
        {happened.length === 0 ? <Empty icon="log" title={t("events.none")} text={t("events.none.text")} /> : null}
        <ul class="list">
          {happened.map((event) => (
            <li key={event.id}>
              <div class="grow">
                <EventLine event={event} />
              </div>
              <span class="small muted">
                <When at={event.at} />
              </span>
            </li>
          ))}
        </ul>
      </Card>
    </div>
  );
}
