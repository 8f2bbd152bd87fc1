// Waiting for a task.

import { effect } from "@preact/signals";
import { Failed, get } from "../api/client";
import { t } from "../i18n";
import { type Task, noteTask, tasks } from "./store";

const problem = (task: Task): Failed =>
  new Failed(
    task.problem ?? {
      type: "about:blank",
      title: "",
      status: 500,
      reason: task.state,
      detail: t("task.not.done", { what: task.what, target: task.target }),
      remedy: "",
    },
  );

/** Gives a task once it is done; throws why it failed. It is told by events, and asked for after a break. */
export function ended(begun: Task): Promise<Task> {
  noteTask(begun);
  return new Promise((resolve, reject) => {
    const look = (task: Task | undefined): boolean => {
      if (!task || task.state === "running") return false;
      if (task.state === "done") resolve(task);
      else reject(problem(task));
      return true;
    };
    let isOver = false;
    let stop: (() => void) | undefined;
    stop = effect(() => {
      const found = tasks.value?.find(({ id }) => id === begun.id);
      if (isOver || !look(found)) return;
      isOver = true;
      stop?.();
    });
    if (isOver) stop();
    // An event may have come before the answer that names the task.
    get("/api/v1/tasks/{task}", { at: { task: begun.id } }).then(noteTask, () => {});
  });
}
