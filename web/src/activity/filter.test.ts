// Filters of tasks and entries, and the pages of the audit chain from its end.

import { expect, test } from "vitest";
import { has, isInState, pageBefore, readEntry } from "./filter";

test("each word has to be somewhere, in any case and order", () => {
  expect(has("", "anything")).toBe(true);
  expect(has("  alice POWER ", "vm.power.on", "web", "Alice")).toBe(true);
  expect(has("alice power", "vm.delete", "web", "alice")).toBe(false);
});

test("interrupted counts as failed", () => {
  expect(isInState("interrupted", "failed")).toBe(true);
  expect(isInState("cancelled", "failed")).toBe(false);
  expect(isInState("running", "running")).toBe(true);
});

test("pages go back to the first entry, without one twice or left out", () => {
  const seen: number[] = [];
  for (let first = 251, page = pageBefore(first, 100); page; page = pageBefore(first, 100)) {
    for (let number = page.from; number < page.from + page.limit; number += 1) seen.push(number);
    first = page.from;
  }
  expect(seen.sort((a, b) => a - b)).toEqual(Array.from({ length: 250 }, (_, at) => at + 1));
  expect(pageBefore(1, 100)).toBeNull();
});

test("an entry that can't be read is shown as it is", () => {
  const entry = { number: 1, at: 0, before: "", generation: 1, hash: "", uptime_ns: 0 };
  expect(readEntry({ ...entry, text: "???" }).what).toBe("???");
  expect(readEntry({ ...entry, text: '{"who":"a","from":"b","what":"login"}' }).who).toBe("a");
});
