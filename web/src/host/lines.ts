// The host's log as this page holds it: a ring of lines that grows at its end.

import type { Schemas } from "../api/client";

export type LogLine = Schemas["LogLine"];
type LogPage = Schemas["LogPage"];

export const KEPT = 2000;

/** Old lines and new ones: none twice, in order; the oldest give way. */
export function joined(old: readonly LogLine[], { lines }: Pick<LogPage, "lines">): readonly LogLine[] {
  const last = old.at(-1)?.position ?? -1;
  const added = lines.filter(({ position }) => position > last);
  return added.length === 0 ? old : [...old, ...added].slice(-KEPT);
}
