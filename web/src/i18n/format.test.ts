import { expect, test } from "vitest";
import { bytes, duration, parseSize, span } from "./format";

test("sizes have a unit that keeps them short", () => {
  expect([0, 1, 1023, 1024, 1536, 2 ** 30, 1.25 * 2 ** 40].map(bytes)).toEqual(
    ["0 B", "1 B", "1,023 B", "1 KiB", "1.5 KiB", "1 GiB", "1.25 TiB"],
  );
});

test("times", () => {
  expect([0, 59, 60, 3661, 90_000].map(duration)).toEqual(["0 s", "59 s", "1 min", "1 h 1 min", "1 d 1 h"]);
  expect([0, 999, 1500, 2.5e6, 3e9, 90e9].map(span)).toEqual(["0 ns", "999 ns", "1.5 µs", "2.5 ms", "3 s", "1 min 30 s"]);
});

test("sizes as the API writes them", () => {
  expect([parseSize("512MiB"), parseSize("2GiB"), parseSize("lots")]).toEqual([2 ** 29, 2 ** 31, 0]);
});
