// Which tasks, events and entries a reader wants to see.

import type { Schemas } from "../api/client";

type TaskState = Schemas["TaskState"];
export const TASK_STATES = ["all", "running", "failed"] as const;
export type TaskFilter = (typeof TASK_STATES)[number];

/** What did not come to its end counts as failed, whatever ended it. */
export function isInState(state: TaskState, filter: TaskFilter): boolean {
  if (filter === "all") return true;
  if (filter === "running") return state === "running";
  return state === "failed" || state === "interrupted";
}

/** Whether each word is somewhere in the texts. */
export function has(words: string, ...texts: string[]): boolean {
  const text = texts.join(" ").toLowerCase();
  return words
    .toLowerCase()
    .split(/\s+/)
    .every((word) => text.includes(word));
}

type Entry = Schemas["AuditEntry"];

export interface AuditText {
  who: string;
  from: string;
  by?: string;
  what: string;
  target?: string;
  before?: unknown;
  after?: unknown;
  refused?: string;
  count?: number;
}

/** What an entry tells; what can't be read is shown as it stands in the chain. */
export function readEntry({ text }: Entry): AuditText {
  try {
    const told: unknown = JSON.parse(text);
    if (told && typeof told === "object" && "what" in told && "who" in told) return told as AuditText;
  } catch {
    // Written by another version of the host.
  }
  return { who: "", from: "", what: text };
}

/** Which entries come before number `first`: from where, and how many. */
export function pageBefore(first: number, size: number): { from: number; limit: number } | null {
  if (first <= 1) return null;
  const from = Math.max(1, first - size);
  return { from, limit: first - from };
}
