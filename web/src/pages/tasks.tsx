// What the host does and did for its users, what happened, and what was asked of it.

import { signal } from "@preact/signals";
import { useId } from "preact/hooks";
import { Audit } from "../activity/audit";
import { has, isInState, TASK_STATES, type TaskFilter } from "../activity/filter";
import { t } from "../i18n";
import { segments } from "../state/router";
import { may } from "../state/session";
import { events, tasks } from "../state/store";
import { EventLine, eventSubject, eventText } from "../ui/event";
import { Card, Empty, Head, Loading, When } from "../ui/parts";
import { TaskLine, taskName } from "../ui/task";

type Tab = "tasks" | "events" | "audit";

export default function Tasks() {
  const asked = segments.value[1];
  const tab: Tab = asked === "events" ? "events" : asked === "audit" && may("administrator") ? "audit" : "tasks";
  const link = (name: Tab, to: string, label: string) => (
    <a href={to} aria-current={tab === name ? "page" : undefined}>
      {label}
    </a>
  );
  return (
    <div class="page">
      <Head title={t("nav.tasks")} />
      <nav class="tabs" aria-label={t("nav.tasks")}>
        {link("tasks", "/tasks", t("tasks.title"))}
        {link("events", "/tasks/events", t("events.title"))}
        {may("administrator") ? link("audit", "/tasks/audit", t("audit.title")) : null}
      </nav>
      {tab === "tasks" ? <TaskList /> : tab === "events" ? <Events /> : <Audit />}
    </div>
  );
}

const text = signal("");
const state = signal<TaskFilter>("all");

function FindField({ label }: { label: string }) {
  const id = useId();
  return (
    <>
      <label for={id} class="only-heard">
        {label}
      </label>
      <input
        id={id}
        type="search"
        placeholder={label}
        value={text.value}
        onInput={(event) => {
          text.value = event.currentTarget.value;
        }}
      />
    </>
  );
}

function TaskList() {
  const all = tasks.value;
  if (!all) return <Loading />;
  if (all.length === 0) return <Empty icon="tasks" title={t("tasks.none")} text={t("tasks.none.text")} />;
  const shown = all.filter(
    (task) => isInState(task.state, state.value) && has(text.value, taskName(task.what), task.what, task.target, task.user),
  );
  return (
    <>
      <div class="row filter">
        <FindField label={t("activity.find")} />
        <select
          aria-label={t("activity.state")}
          value={state.value}
          onChange={(event) => {
            state.value = event.currentTarget.value as TaskFilter;
          }}
        >
          {TASK_STATES.map((name) => (
            <option key={name} value={name}>
              {t(`activity.state.${name}`)}
            </option>
          ))}
        </select>
      </div>
      <p class="only-heard" role="status">
        {t("activity.found", { count: shown.length })}
      </p>
      <Card>
        {shown.length === 0 ? <Empty icon="search" title={t("activity.none")} /> : null}
        <ul class="list">
          {shown.map((task) => (
            <TaskLine key={task.id} task={task} />
          ))}
        </ul>
      </Card>
    </>
  );
}

function Events() {
  if (events.value.length === 0) return <Empty icon="log" title={t("events.none")} text={t("events.none.text")} />;
  const shown = events.value.filter((event) => has(text.value, event.kind, eventSubject(event), eventText(event)));
  return (
    <>
      <div class="row filter">
        <FindField label={t("activity.find")} />
      </div>
      <Card>
        {shown.length === 0 ? <Empty icon="search" title={t("activity.none")} /> : null}
        <ul class="list" aria-live="polite">
          {shown.map((event) => (
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
    </>
  );
}
