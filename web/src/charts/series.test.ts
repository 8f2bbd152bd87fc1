import { expect, test } from "vitest";
import { type History, PLOTS, columns, roundUp } from "./series";

const history: History = {
  at: 1000,
  uptime_ns: 0,
  step_seconds: 10,
  remembered_seconds: 3600,
  cpu_permille: [0, 500, 1000],
  memory_kib: [1, 2, 3],
  disk_read: [0, 0, 0],
  disk_written: [4, 5, 6],
  network_received: [1, 1, 1],
  network_sent: [2, 2, 2],
};

test("the last value is of the last moment, and units are people's", () => {
  const [cpu, memory, disk] = PLOTS.map((plot) => columns(history, plot));
  expect(cpu).toEqual([[980, 990, 1000], [0, 0.5, 1]]);
  expect(memory?.[1]).toEqual([1024, 2048, 3072]);
  expect(disk?.slice(1)).toEqual([[0, 0, 0], [4, 5, 6]]);
});

test("an axis ends at a round number that everything is below", () => {
  for (const value of [0, 1, 3, 999, 1024, 1500, 700_000, 3_000_000_000]) {
    expect(roundUp(value)).toBeGreaterThanOrEqual(value);
    expect(roundUp(value)).toBeLessThanOrEqual(Math.max(1, value * 2.6));
  }
});
