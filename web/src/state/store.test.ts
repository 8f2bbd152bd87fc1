import { beforeEach, expect, test } from "vitest";
import { type Task, noteTask, tasks } from "./store";

const task = (id: string, state: Task["state"]): Task => ({
  id,
  state,
  what: "vm.power.on",
  target: "a",
  user: "admin",
  progress: 0,
  started_at: 1,
  can_cancel: false,
});

beforeEach(() => {
  tasks.value = [];
});

test("a task that ended does not begin again, whichever is heard first", () => {
  noteTask(task("1", "done"));
  noteTask(task("1", "running"));
  expect(tasks.value?.map(({ state }) => state)).toEqual(["done"]);
});

test("a task keeps its place, a new one comes first", () => {
  for (const id of ["1", "2"]) noteTask(task(id, "running"));
  noteTask(task("1", "failed"));
  expect(tasks.value?.map(({ id, state }) => `${id} ${state}`)).toEqual(["2 running", "1 failed"]);
});
