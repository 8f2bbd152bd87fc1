// What was done with a VM, and what happened to it.

import { t } from "../i18n";
import { events, tasks } from "../state/store";
import { EventLine, eventSubject } from "../ui/event";
import { Card, Empty, When } from "../ui/parts";
import { TaskLine } from "../ui/task";
import type { Shown } from "./detail";

export function Log({ vm }: Shown) {
  const mine = (tasks.value ?? []).filter(({ target }) => target === vm.name);
  const happened = events.value.filter((event) => event.kind !== "task" && eventSubject(event) === vm.name);
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
