// Lines come once, in order, and not more than are kept.

import { expect, test } from "vitest";
import { KEPT, joined } from "./lines";

const lines = (from: number, to: number) =>
  Array.from({ length: to - from }, (_, at) => ({ position: 10 * (from + at), text: `${from + at}` }));

test("a page that overlaps adds only what is new", () => {
  const old = lines(0, 5);
  expect(joined(old, { lines: lines(3, 8) })).toEqual(lines(0, 8));
  expect(joined(old, { lines: lines(2, 5) })).toBe(old);
});

test("the oldest give way", () => {
  const all = joined(lines(0, KEPT), { lines: lines(KEPT, KEPT + 10) });
  expect(all.length).toBe(KEPT);
  expect(all[0]?.position).toBe(100);
});
