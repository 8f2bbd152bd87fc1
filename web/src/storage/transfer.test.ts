// An upload comes through whatever is cut: pieces, answers, the host itself.

import { expect, test } from "vitest";
import { Failed } from "../api/client";
import { PIECE, type Progress, type Upload, type Wire, isSame, nameOf, transfer } from "./transfer";

const failed = (status: number, reason: string): Failed =>
  new Failed({ type: "", title: "", status, reason, detail: reason, remedy: "" });

/** A host that keeps what it got, and fails as the script says: one entry for each piece. */
class Host implements Wire {
  got = new Uint8Array();
  done = false;
  asked = 0;
  waits: number[] = [];
  constructor(
    readonly bytes: number,
    private readonly script: ("ok" | "lost-answer" | "half" | "away" | "busy" | "refused")[] = [],
  ) {}

  upload(): Upload {
    return { id: "1", name: "image:a", bytes: this.bytes, offset: this.got.length };
  }
  async show(): Promise<Upload> {
    this.asked += 1;
    if (this.done) throw failed(404, "no-such-upload");
    return this.upload();
  }
  async send(_id: string, offset: number, piece: Blob): Promise<Upload> {
    const what = this.script.shift() ?? "ok";
    if (this.done) throw failed(404, "no-such-upload");
    if (what === "away") throw failed(0, "offline");
    if (what === "busy") throw failed(409, "upload-busy");
    if (what === "refused") throw failed(422, "upload-too-long");
    if (offset !== this.got.length) throw failed(409, "bad-offset");
    const data = new Uint8Array(await piece.arrayBuffer());
    const kept = what === "half" ? data.subarray(0, data.length >> 1) : data;
    this.got = new Uint8Array(Buffer.concat([this.got, kept]));
    if (this.got.length === this.bytes) this.done = true;
    if (what !== "ok") throw failed(what === "half" ? 400 : 0, what === "half" ? "upload-cut" : "offline");
    return { ...this.upload(), sha256: this.done ? "digest" : null };
  }
  async objectBytes(): Promise<number | undefined> {
    return this.done ? this.bytes : undefined;
  }
  async pause(milliseconds: number): Promise<void> {
    this.waits.push(milliseconds);
  }
}

const data = Uint8Array.from({ length: 2 * PIECE + 100 }, (_, at) => at % 251);
const file = new Blob([data]);

async function run(host: Host, signal = new AbortController().signal) {
  const told: Progress[] = [];
  const sha = await transfer(host, host.upload(), file, (progress) => told.push(progress), signal);
  return { sha, told };
}

test("all pieces, in order", async () => {
  const host = new Host(data.length);
  const { sha, told } = await run(host);
  expect(sha).toBe("digest");
  expect(Buffer.compare(host.got, data)).toBe(0);
  expect(told.at(-1)).toEqual({ offset: data.length, isWaiting: false });
});

test("a piece that was cut, an answer that was lost, a host that was away and one that is busy", async () => {
  const host = new Host(data.length, ["half", "away", "away", "busy", "lost-answer", "ok"]);
  const { sha, told } = await run(host);
  expect(sha).toBe("digest");
  expect(Buffer.compare(host.got, data)).toBe(0);
  expect(told.some(({ isWaiting }) => isWaiting)).toBe(true);
  expect(host.waits).toEqual([500, 1000, 2000, 4000, 8000]);
});

test("the answer to the last piece is lost: the object is there", async () => {
  const host = new Host(data.length, ["ok", "ok", "lost-answer"]);
  expect((await run(host)).sha).toBeUndefined();
  expect(Buffer.compare(host.got, data)).toBe(0);
});

test("it goes on where an earlier page was", async () => {
  const host = new Host(data.length);
  host.got = data.slice(0, 1234);
  await run(host);
  expect(Buffer.compare(host.got, data)).toBe(0);
});

test("what was given up elsewhere fails, and so does a refusal", async () => {
  const gone = new Host(data.length);
  gone.done = true;
  await expect(run(gone)).rejects.toMatchObject({ problem: { reason: "no-such-upload" } });
  await expect(run(new Host(data.length, ["refused"]))).rejects.toMatchObject({ status: 422 });
});

test("a pause ends it at once, and nothing is sent after it", async () => {
  const abort = new AbortController();
  abort.abort();
  const host = new Host(data.length);
  await expect(run(host, abort.signal)).rejects.toThrow();
  expect(host.got.length).toBe(0);
});

test("names that the host takes", () => {
  expect(nameOf("debian-13.iso")).toEqual({ kind: "iso", name: "debian-13.iso" });
  expect(nameOf("QEMU_EFI.fd")).toEqual({ kind: "firmware", name: "QEMU_EFI.fd" });
  expect(nameOf("a/b:c\u0007.qcow2")).toEqual({ kind: "image", name: "a-b-c-.qcow2" });
  expect(new TextEncoder().encode(nameOf("あ".repeat(30)).name).length).toBe(48);
});

test("a file is known again by name, size and time", () => {
  const kept = { id: "1", file: "a.iso", bytes: 5, modified: 7 };
  expect(isSame(kept, { name: "a.iso", size: 5, lastModified: 7 })).toBe(true);
  expect(isSame(kept, { name: "a.iso", size: 6, lastModified: 7 })).toBe(false);
});
