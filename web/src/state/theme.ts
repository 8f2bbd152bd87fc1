// Light, dark, or as the system has it.

import { signal } from "@preact/signals";

export type Theme = "system" | "light" | "dark";
export const THEMES: readonly Theme[] = ["system", "light", "dark"];

const STORED = "bramble.theme";
const stored = localStorage.getItem(STORED);
export const theme = signal<Theme>(stored === "light" || stored === "dark" ? stored : "system");

function show(): void {
  document.documentElement.dataset.theme = theme.value;
}

export function setTheme(to: Theme): void {
  theme.value = to;
  localStorage.setItem(STORED, to);
  show();
}

export const startTheme = show;
