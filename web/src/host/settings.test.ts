import { expect, test } from "vitest";
import { list, movesAddress } from "./settings";

test("a list is separated by commas, spaces or both", () => {
  expect(list(" 192.0.2.1,192.0.2.2  time.example ")).toEqual(["192.0.2.1", "192.0.2.2", "time.example"]);
  expect(list(" , ")).toEqual([]);
});

test("only another address is on trial", () => {
  const before = { name: "a", ipv4: { method: "dhcp" as const }, ipv6: { method: "auto" as const }, dns: [], ntp: [] };
  expect(movesAddress(before, { ...before, name: "b", ntp: ["time.example"] })).toBe(false);
  expect(movesAddress(before, { ...before, ipv4: { method: "off" } })).toBe(true);
});
