// The uploads of this page, and those of the host that are not whole. They go on while other pages are shown.

import { computed, signal } from "@preact/signals";
import { all, get, post, remove, send, url } from "../api/client";
import { type Progress, type Remembered, type Upload, type Wire, isSame, transfer } from "./transfer";
import { storageChanged } from "./stored";

export type UploadState = "sending" | "waiting" | "paused" | "checking" | "done" | "unchecked" | "differs" | "failed";

export interface Running {
  id: string;
  name: string;
  bytes: number;
  offset: number;
  state: UploadState;
  /** Bytes per second, once that is known. */
  speed?: number;
  sha256?: string;
  error?: unknown;
}

const STORED = "bramble.uploads";
/** Those that this page has the files of. */
export const running = signal<readonly Running[]>([]);
/** Those that the host knows and this page has no file of: begun before a reload, or elsewhere. */
export const interrupted = signal<readonly Upload[]>([]);
export const isSending = computed(() => running.value.some(({ state }) => state === "sending" || state === "waiting"));

interface Held {
  file: File;
  abort: AbortController;
  digest?: Promise<string>;
}
const held = new Map<string, Held>();

export function remembered(): readonly Remembered[] {
  try {
    const kept: unknown = JSON.parse(localStorage.getItem(STORED) ?? "[]");
    return Array.isArray(kept) ? (kept as Remembered[]) : [];
  } catch {
    return [];
  }
}
const keep = (list: readonly Remembered[]): void => localStorage.setItem(STORED, JSON.stringify(list));
const forget = (id: string): void => keep(remembered().filter((kept) => kept.id !== id));

const wire: Wire = {
  show: (upload) => get("/api/v1/uploads/{upload}", { at: { upload } }),
  async send(upload, offset, piece, over) {
    const response = await send("PATCH", url("/api/v1/uploads/{upload}", { at: { upload } }), {
      body: piece,
      headers: { "Content-Type": "application/octet-stream", "Upload-Offset": String(offset) },
      signal: over,
    });
    return (await response.json()) as Upload;
  },
  async objectBytes(name) {
    const found = await get("/api/v1/objects", { query: { prefix: name, limit: 200 } });
    return found.items.find((object) => object.name === name)?.bytes;
  },
  pause: (milliseconds, over) =>
    new Promise((resolve) => {
      const timer = setTimeout(finish, milliseconds);
      function finish(): void {
        clearTimeout(timer);
        removeEventListener("online", finish);
        over.removeEventListener("abort", finish);
        resolve();
      }
      addEventListener("online", finish);
      over.addEventListener("abort", finish);
    }),
};

function change(id: string, to: Partial<Running>): void {
  running.value = running.value.map((one) => (one.id === id ? { ...one, ...to } : one));
}

export async function refreshUploads(): Promise<void> {
  const known = await all((query) => get("/api/v1/uploads", { query }));
  interrupted.value = known.filter(({ id }) => !held.has(id));
  // What the host does not know any more is not to be gone on with.
  keep(remembered().filter(({ id }) => known.some((upload) => upload.id === id)));
}

/** The interrupted upload that a file belongs to, by what was remembered of it. */
export function belongsTo(file: File): Upload | undefined {
  const kept = remembered().find((one) => isSame(one, file));
  return interrupted.value.find(({ id }) => id === kept?.id);
}

export async function begin(name: string, file: File): Promise<void> {
  const upload = await post("/api/v1/uploads", { body: { name, bytes: file.size } });
  keep([
    ...remembered().slice(-15),
    { id: upload.id, file: file.name, bytes: file.size, modified: file.lastModified },
  ]);
  goOn(upload, file);
}

/** Sends the rest of an upload from a file that is said to be the same. */
export function goOn(upload: Upload, file: File): void {
  held.set(upload.id, { file, abort: new AbortController() });
  interrupted.value = interrupted.value.filter(({ id }) => id !== upload.id);
  const { id, name, bytes, offset } = upload;
  running.value = [...running.value.filter((one) => one.id !== id), { id, name, bytes, offset, state: "sending" }];
  void run(upload);
}

export function pauseUpload(id: string): void {
  held.get(id)?.abort.abort();
  change(id, { state: "paused" });
}

export async function resume(id: string): Promise<void> {
  const holds = held.get(id);
  const one = running.value.find((other) => other.id === id);
  if (!holds || !one) return;
  holds.abort = new AbortController();
  change(id, { state: "sending", error: undefined });
  // A piece that was cut by the pause may have arrived in part.
  const upload = await wire.show(id).catch(() => ({ id, name: one.name, bytes: one.bytes, offset: one.offset }));
  await run(upload);
}

export async function giveUp(id: string): Promise<void> {
  held.get(id)?.abort.abort();
  await remove("/api/v1/uploads/{upload}", { at: { upload: id } });
  dismiss(id);
  interrupted.value = interrupted.value.filter((upload) => upload.id !== id);
}

/** Takes it from the list; what became an object stays. */
export function dismiss(id: string): void {
  held.delete(id);
  forget(id);
  running.value = running.value.filter((one) => one.id !== id);
}

const READY_AFTER = 1000;

function speedometer(from: number): (offset: number) => number | undefined {
  const began = performance.now();
  return (offset) => {
    const time = performance.now() - began;
    return time < READY_AFTER ? undefined : ((offset - from) * 1000) / time;
  };
}

async function run(upload: Upload): Promise<void> {
  const holds = held.get(upload.id);
  if (!holds) return;
  const { id } = upload;
  const { signal: over } = holds.abort;
  // The page computes the digest by itself while the host does: only equal ones show that the bytes are the same.
  holds.digest ??= digestOf(holds.file);
  holds.digest.catch(() => {});
  const speed = speedometer(upload.offset);
  const tell = ({ offset, isWaiting }: Progress): void => {
    if (!over.aborted) change(id, { offset, state: isWaiting ? "waiting" : "sending", speed: speed(offset) });
  };
  try {
    const theirs = await transfer(wire, upload, holds.file, tell, over);
    change(id, { state: "checking", offset: upload.bytes });
    forget(id);
    const mine = await holds.digest;
    change(id, { state: theirs === undefined ? "unchecked" : theirs === mine ? "done" : "differs", sha256: theirs });
    storageChanged();
  } catch (error) {
    if (!over.aborted) change(id, { state: "failed", error });
  }
}

function digestOf(file: File): Promise<string> {
  const worker = new Worker(new URL("./hash.worker.ts", import.meta.url), { type: "module" });
  return new Promise<string>((resolve, reject) => {
    worker.onmessage = ({ data }: MessageEvent<{ digest?: string; error?: string }>) =>
      data.digest ? resolve(data.digest) : reject(new Error(data.error));
    worker.onerror = (event) => reject(new Error(event.message));
    worker.postMessage(file);
  }).finally(() => worker.terminate());
}

addEventListener("beforeunload", (event) => {
  if (isSending.value) event.preventDefault();
});
