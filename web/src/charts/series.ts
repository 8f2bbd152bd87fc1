// What a chart of a history shows.

import type { Schemas } from "../api/client";
import type { Key } from "../i18n";
import { bytes, percent } from "../i18n/format";

export type History = Schemas["History"];
type Name = "cpu_permille" | "memory_kib" | "disk_read" | "disk_written" | "network_received" | "network_sent";

export interface Line {
  name: Name;
  label: Key;
  colour: string;
}

export interface Plot {
  title: Key;
  lines: readonly Line[];
  /** From the API's number to the one that is drawn. */
  scale: number;
  show: (value: number) => string;
  /** The axis ends here, whatever is drawn. */
  most?: number;
}

const rate = (value: number): string => `${bytes(value)}/s`;

export const PLOTS: readonly Plot[] = [
  {
    title: "chart.cpu",
    lines: [{ name: "cpu_permille", label: "chart.cpu", colour: "--chart-1" }],
    scale: 1 / 1000,
    show: percent,
    most: 1,
  },
  {
    title: "chart.memory",
    lines: [{ name: "memory_kib", label: "chart.memory", colour: "--chart-4" }],
    scale: 1024,
    show: bytes,
  },
  {
    title: "chart.disk",
    lines: [
      { name: "disk_read", label: "chart.read", colour: "--chart-2" },
      { name: "disk_written", label: "chart.written", colour: "--chart-3" },
    ],
    scale: 1,
    show: rate,
  },
  {
    title: "chart.network",
    lines: [
      { name: "network_received", label: "chart.received", colour: "--chart-4" },
      { name: "network_sent", label: "chart.sent", colour: "--chart-5" },
    ],
    scale: 1,
    show: rate,
  },
];

/** Times, in seconds since 1970, and values of each line. */
export function columns(history: History, { lines, scale }: Plot): [number[], ...number[][]] {
  const values = lines.map(({ name }) => history[name].map((value) => value * scale));
  const count = values[0]?.length ?? 0;
  const times = Array.from({ length: count }, (_, index) => history.at - (count - 1 - index) * history.step_seconds);
  return [times, ...values];
}

/** A round number not below `value`, in the steps that people count bytes by: 1, 2, 5 of a power of 1024. */
export function roundUp(value: number): number {
  if (value <= 0) return 1;
  const unit = 1024 ** Math.max(0, Math.floor(Math.log(value) / Math.log(1024)));
  const share = value / unit;
  const step = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1024].find((known) => share <= known) ?? 1024;
  return step * unit;
}
