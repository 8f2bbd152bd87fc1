// A task: what it does, how far it is, why it failed, and how to end it.

import { post } from "../api/client";
import { t, word } from "../i18n";
import { may } from "../state/session";
import { type Task, noteTask } from "../state/store";
import { Icon, type IconName } from "./icons";
import { When } from "./parts";
import { attempt } from "./toast";

export const taskName = (what: string): string => word("task", what);

const ICONS: Record<Task["state"], [IconName, string]> = {
  running: ["tasks", ""],
  done: ["check", "good"],
  failed: ["alert", "bad"],
  cancelled: ["close", ""],
  interrupted: ["alert", "bad"],
};

function cancel(task: Task): Promise<unknown> {
  return attempt(async () => noteTask(await post("/api/v1/tasks/{task}/cancel", { at: { task: task.id } })));
}

export function TaskLine({ task }: { task: Task }) {
  const [icon, tone] = ICONS[task.state];
  const isRunning = task.state === "running";
  return (
    <li>
      {isRunning ? <span class="spinner" aria-hidden="true" /> : <span class={tone}><Icon name={icon} /></span>}
      <div class="grow stack-tight">
        <p class="wrap-any">
          {taskName(task.what)} <strong>{task.target}</strong>
        </p>
        <p class="small muted">
          {word("task.state", task.state)} · {task.user} · <When at={task.ended_at ?? task.started_at} />
        </p>
        {isRunning ? <progress max={100} value={task.progress || undefined} aria-label={taskName(task.what)} /> : null}
        {task.problem ? (
          <p class="small">
            {task.problem.detail} {task.problem.remedy}
          </p>
        ) : null}
      </div>
      {isRunning && task.can_cancel && may("operator") ? (
        <button type="button" class="button quiet" onClick={() => void cancel(task)}>
          {t("action.cancel")}
        </button>
      ) : null}
    </li>
  );
}

