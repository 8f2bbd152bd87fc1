// Every language says everything, and with the same values.

import { readFileSync, readdirSync } from "node:fs";
import { expect, test } from "vitest";
import { en } from "./en";
import { ja } from "./ja";
import { fill } from ".";

const values = (text: string): string[] => [...text.matchAll(/\{(\w+)\}/g)].map((found) => found[1] ?? "").sort();

test("Japanese has every key, no other, and none empty", () => {
  expect(Object.keys(ja).sort()).toEqual(Object.keys(en).sort());
  expect(Object.entries(ja).filter(([, text]) => text.trim() === "")).toEqual([]);
});

test("a sentence has the same values in each language", () => {
  for (const [key, text] of Object.entries(en)) expect([key, values(ja[key as keyof typeof ja])]).toEqual([key, values(text)]);
});

test("Japanese is Japanese, but for names", () => {
  const same = Object.keys(en).filter((key) => en[key as keyof typeof en] === ja[key as keyof typeof ja]);
  const hasWords = (text: string): boolean => /[a-z]{3,} [a-z]{3,}/.test(text);
  expect(same.filter((key) => hasWords(en[key as keyof typeof en]))).toEqual([]);
});

test("every key is used somewhere", () => {
  const src = new URL("..", import.meta.url);
  const files = readdirSync(src, { recursive: true, encoding: "utf8" }).filter(
    (name) => /\.tsx?$/.test(name) && !/^i18n\/(en|ja)/.test(name) && !name.includes(".test."),
  );
  const text = files.map((name) => readFileSync(new URL(name, src), "utf8")).join("\n");
  // Keys that are put together: `prefix.${word}` or word("prefix", …).
  const prefixes = [...text.matchAll(/`([\w.]+)\.\$\{|word\("([\w.]+)"/g)].map((found) => `${found[1] ?? found[2]}.`);
  const isUsed = (key: string): boolean =>
    text.includes(`"${key}"`) || prefixes.some((prefix) => key.startsWith(prefix));
  expect(Object.keys(en).filter((key) => !isUsed(key))).toEqual([]);
});

test("values are put in, and what has none stays", () => {
  expect(fill("{a} of {b}, {a}", { a: 1 })).toBe("1 of {b}, 1");
});
