// Numbers, sizes and times as the reader's language writes them.

import { language, t } from ".";

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

const formats = new Map<string, Intl.NumberFormat>();
function format(digits: number): Intl.NumberFormat {
  const key = `${language.value}/${digits}`;
  let found = formats.get(key);
  if (!found) {
    found = new Intl.NumberFormat(language.value, { maximumFractionDigits: digits });
    formats.set(key, found);
  }
  return found;
}

export const number = (value: number, digits = 0): string => format(digits).format(value);
export const percent = (share: number): string => `${number(share * 100, share < 0.1 ? 1 : 0)} %`;

/** A size with three significant digits at most: 1.5 GiB, 512 MiB. */
export function bytes(value: number): string {
  const step = value > 0 ? Math.min(UNITS.length - 1, Math.floor(Math.log2(value) / 10)) : 0;
  const scaled = value / 2 ** (10 * step);
  return `${number(scaled, scaled < 10 ? 2 : scaled < 100 ? 1 : 0)} ${UNITS[step]}`;
}

/** Up to two units of a time: 3 d 4 h, 2 min 10 s. */
export function duration(seconds: number): string {
  const parts: [number, string][] = [
    [Math.floor(seconds / 86_400), t("time.days")],
    [Math.floor((seconds % 86_400) / 3600), t("time.hours")],
    [Math.floor((seconds % 3600) / 60), t("time.minutes")],
    [Math.floor(seconds % 60), t("time.seconds")],
  ];
  const first = parts.findIndex(([count]) => count > 0);
  if (first < 0) return `0 ${t("time.seconds")}`;
  const shown = parts.slice(first, first + 2).filter(([count]) => count > 0);
  return shown.map(([count, unit]) => `${count} ${unit}`).join(" ");
}

/** A moment, given in seconds since 1970. */
export const moment = (seconds: number): string =>
  new Intl.DateTimeFormat(language.value, { dateStyle: "medium", timeStyle: "medium" }).format(seconds * 1000);

export const clock = (seconds: number): string =>
  new Intl.DateTimeFormat(language.value, { timeStyle: "medium" }).format(seconds * 1000);

const STEPS: [Intl.RelativeTimeFormatUnit, number][] = [
  ["day", 86_400],
  ["hour", 3600],
  ["minute", 60],
];

/** How long ago: "2 minutes ago". */
export function ago(seconds: number, now: number): string {
  const past = Math.max(0, now - seconds);
  const [unit, size] = STEPS.find(([, length]) => past >= length) ?? ["second", 1];
  const relative = new Intl.RelativeTimeFormat(language.value, { numeric: "auto" });
  return relative.format(-Math.floor(past / size), unit);
}

/** Bytes of a size as the API writes it: `512MiB`. */
export function parseSize(text: string): number {
  const found = /^(\d+)(KiB|MiB|GiB)$/.exec(text);
  return found ? Number(found[1]) * { KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30 }[found[2] as "KiB" | "MiB" | "GiB"] : 0;
}

const SHORT: [number, string][] = [
  [1e9, "s"],
  [1e6, "ms"],
  [1e3, "µs"],
  [1, "ns"],
];

/** A time given in nanoseconds, short or long. */
export function span(ns: number): string {
  if (ns >= 60e9) return duration(ns / 1e9);
  const [size, unit] = SHORT.find(([least]) => ns >= least) ?? [1, "ns"];
  const value = ns / size;
  return `${number(value, value < 10 ? 1 : 0)} ${unit}`;
}
