// What the host does and did for its users, and what happened.

import { t } from "../i18n";
import { segments } from "../state/router";
import { events, tasks } from "../state/store";
import { EventLine } from "../ui/event";
import { Card, Empty, Head, Loading, When } from "../ui/parts";
import { TaskLine } from "../ui/task";

export default function Tasks() {
  const showsEvents = segments.value[1] === "events";
  return (
    <div class="page">
      <Head title={t("nav.tasks")} />
      <nav class="tabs" aria-label={t("nav.tasks")}>
        <a href="/tasks" aria-current={showsEvents ? undefined : "page"}>
          {t("tasks.title")}
        </a>
        <a href="/tasks/events" aria-current={showsEvents ? "page" : undefined}>
          {t("events.title")}
        </a>
      </nav>
      {showsEvents ? <Events /> : <TaskList />}
    </div>
  );
}

function TaskList() {
  if (!tasks.value) return <Loading />;
  if (tasks.value.length === 0) return <Empty icon="tasks" title={t("tasks.none")} text={t("tasks.none.text")} />;
  return (
    <Card>
      <ul class="list">
        {tasks.value.map((task) => (
          <TaskLine key={task.id} task={task} />
        ))}
      </ul>
    </Card>
  );
}

function Events() {
  if (events.value.length === 0) return <Empty icon="log" title={t("events.none")} text={t("events.none.text")} />;
  return (
    <Card>
      <ul class="list" aria-live="polite">
        {events.value.map((event) => (
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
  );
}
