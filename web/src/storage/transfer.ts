// An upload in pieces that survives cuts: after each failure the host is asked how far it is, and it goes on from there.
//
// What can fail is given from outside (`Wire`), so that tests cut it where they want.

import { Failed, type Schemas } from "../api/client";

export type Upload = Schemas["Upload"];

/** What an upload needs of the host and of the world. */
export interface Wire {
  show(id: string): Promise<Upload>;
  send(id: string, offset: number, piece: Blob, signal: AbortSignal): Promise<Upload>;
  /** The size of a finished object, or `undefined` where there is none of that name. */
  objectBytes(name: string): Promise<number | undefined>;
  pause(milliseconds: number, signal: AbortSignal): Promise<void>;
}

export interface Progress {
  offset: number;
  /** The host does not answer, or asks to wait; it is tried again. */
  isWaiting: boolean;
}

export const PIECE = 4 * 2 ** 20;
const WAITS = [500, 1000, 2000, 4000, 8000];

/** Reasons after which the host's own word on how far it is leads on. */
const GOES_ON = new Set(["bad-offset", "upload-cut", "upload-too-slow", "upload-busy"]);

/** Whether trying again may help: nobody answered, the host is busy or restarting, or a piece was cut. */
export function mayGoOn(error: unknown): boolean {
  if (!(error instanceof Failed)) return false;
  return error.isOffline || error.status >= 500 || error.status === 429 || GOES_ON.has(error.problem.reason);
}

/**
 * Sends what the host does not have yet of a file. Gives the SHA-256 that the host computed; `undefined` where the answer
 * to the last piece was lost and the object is there.
 */
export async function transfer(
  wire: Wire,
  begun: Upload,
  file: Blob,
  tell: (progress: Progress) => void,
  signal: AbortSignal,
): Promise<string | undefined> {
  let { offset } = begun;
  let failures = 0;
  let mustAsk = false;
  let mayBeDone = false;
  for (;;) {
    signal.throwIfAborted();
    try {
      if (mustAsk) ({ offset } = await wire.show(begun.id));
      mustAsk = false;
      tell({ offset, isWaiting: false });
      const piece = file.slice(offset, offset + PIECE);
      mayBeDone = offset + piece.size === begun.bytes;
      const now = await wire.send(begun.id, offset, piece, signal);
      failures = 0;
      ({ offset } = now);
      tell({ offset, isWaiting: false });
      if (now.sha256) return now.sha256;
    } catch (error) {
      signal.throwIfAborted();
      // The last piece arrived and its answer did not: the upload is gone because it has become the object.
      const isGone = error instanceof Failed && error.problem.reason === "no-such-upload";
      if (isGone && mayBeDone && (await wire.objectBytes(begun.name)) === begun.bytes) return undefined;
      if (!mayGoOn(error)) throw error;
      mustAsk = true;
      tell({ offset, isWaiting: true });
      await wire.pause(WAITS[Math.min(failures, WAITS.length - 1)] ?? 0, signal);
      failures += 1;
    }
  }
}

const KINDS: readonly [RegExp, string][] = [
  [/\.iso$/i, "iso"],
  [/\.(fd|fw)$/i, "firmware"],
];
export const UPLOAD_KINDS = ["image", "iso", "firmware"] as const;
const NAME_BYTES = 48;

const length = (text: string): number => new TextEncoder().encode(text).length;

/** What an object made of a file is called: the kind of it, and a name that the host takes. */
export function nameOf(fileName: string): { kind: string; name: string } {
  const kind = KINDS.find(([pattern]) => pattern.test(fileName))?.[1] ?? "image";
  // Control characters, `/` and `:` can't be in a name.
  let name = fileName.replace(/[\u0000-\u001f\u007f-\u009f/:]/g, "-").trim();
  while (length(name) > NAME_BYTES) name = [...name].slice(0, -1).join("");
  return { kind, name: name || "file" };
}

export const isGoodName = (name: string): boolean =>
  name.length > 0 && length(name) <= NAME_BYTES && !/[\u0000-\u001f\u007f-\u009f/:]/.test(name);

/** What is remembered of a file whose upload is not whole, so that the same one is known again after a reload. */
export interface Remembered {
  id: string;
  file: string;
  bytes: number;
  modified: number;
}

type FileFacts = Pick<File, "name" | "size" | "lastModified">;

export const isSame = (kept: Remembered, file: FileFacts): boolean =>
  kept.file === file.name && kept.bytes === file.size && kept.modified === file.lastModified;
