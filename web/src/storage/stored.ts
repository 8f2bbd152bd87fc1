// What the datastore holds: loaded when the page opens, and anew when something changed it.

import { signal } from "@preact/signals";
import { type Schemas, all, get } from "../api/client";
import { onEvent, onReset } from "../state/events";

export type Volume = Schemas["Volume"];
export type StoredObject = Schemas["Object"];
export type Disk = Schemas["Disk"];

export const volumes = signal<readonly Volume[] | null>(null);
export const objects = signal<readonly StoredObject[] | null>(null);
export const disks = signal<readonly Disk[] | null>(null);
export const storageError = signal<unknown>(null);

const byName = <T extends { name: string }>(list: T[]): T[] =>
  list.sort((a, b) => a.name.localeCompare(b.name, "en", { numeric: true }));

export async function loadStorage(): Promise<void> {
  try {
    const [v, o, d] = await Promise.all([
      all((query) => get("/api/v1/volumes", { query })),
      all((query) => get("/api/v1/objects", { query })),
      all((query) => get("/api/v1/disks", { query })),
    ]);
    volumes.value = byName(v);
    objects.value = byName(o);
    disks.value = d;
    storageError.value = null;
  } catch (error) {
    storageError.value = error;
  }
}

let soon: ReturnType<typeof setTimeout> | undefined;
let watchers = 0;

/** Once for many changes, and only while someone looks. */
export function storageChanged(): void {
  if (watchers === 0) return;
  soon ??= setTimeout(() => {
    soon = undefined;
    void loadStorage();
  }, 300);
}

const TOUCHES = /^(datastore|upload|volume|object|vm\.(added|removed|changed))/;

/** Keeps it true until the function that it gives is called. */
export function followStorage(): () => void {
  watchers += 1;
  void loadStorage();
  const ends = [
    onReset(() => void loadStorage()),
    onEvent(({ kind, data }) => {
      const isImport = kind === "task" && (data as { state?: string } | undefined)?.state !== "running";
      if (isImport || TOUCHES.test(kind)) storageChanged();
    }),
  ];
  return () => {
    watchers -= 1;
    for (const end of ends) end();
  };
}
