// Which language, and how a key becomes a sentence of it.

import { signal } from "@preact/signals";
import { en, type Key, type Table } from "./en";

export type { Key } from "./en";
export type Language = "en" | "ja";
export const LANGUAGES: readonly { code: Language; name: string }[] = [
  { code: "en", name: "English" },
  { code: "ja", name: "日本語" },
];

const STORED = "bramble.language";
const table = signal<Table>(en);
export const language = signal<Language>("en");

function wanted(): Language {
  const stored = localStorage.getItem(STORED);
  const first = stored ?? navigator.languages.find((tag) => /^(en|ja)\b/.test(tag)) ?? "en";
  return first.startsWith("ja") ? "ja" : "en";
}

async function use(code: Language): Promise<void> {
  // English is always there; another language comes when it is asked for.
  table.value = code === "ja" ? (await import("./ja")).ja : en;
  language.value = code;
  document.documentElement.lang = code;
}

export const startLanguage = (): Promise<void> => use(wanted());

export async function setLanguage(code: Language): Promise<void> {
  localStorage.setItem(STORED, code);
  await use(code);
}

export type Values = Record<string, string | number>;

/** Puts values into the `{…}` of a sentence. */
export const fill = (text: string, values?: Values): string =>
  values ? text.replace(/\{(\w+)\}/g, (whole, name: string) => String(values[name] ?? whole)) : text;

/** The sentence of a key, in the language of now. */
export const t = (key: Key, values?: Values): string => fill(table.value[key], values);

/** Whether a text is a key: for words that the API sends, which may be newer than this page. */
export const isKey = (text: string): text is Key => Object.hasOwn(en, text);

/** The sentence of `prefix` and the API's word, or the word itself where there is none yet. */
export const word = (prefix: string, text: string): string => {
  const key = `${prefix}.${text}`;
  return isKey(key) ? t(key) : text;
};
