// The digest is the one that others compute, however the bytes come.

import { createHash } from "node:crypto";
import { expect, test } from "vitest";
import { Sha256 } from "./sha256";

const bytes = (length: number): Uint8Array => Uint8Array.from({ length }, (_, at) => (at * 31 + (at >> 7)) & 0xff);
const truth = (data: Uint8Array): string => createHash("sha256").update(data).digest("hex");

test("every length around the ends of blocks", () => {
  for (const length of [0, 1, 55, 56, 57, 63, 64, 65, 119, 120, 127, 128, 129, 1000]) {
    const data = bytes(length);
    expect([length, new Sha256().update(data).digest()]).toEqual([length, truth(data)]);
  }
});

test("pieces of any size give what all at once gives", () => {
  const data = bytes(5000);
  for (const piece of [1, 7, 63, 64, 65, 1000]) {
    const hash = new Sha256();
    for (let at = 0; at < data.length; at += piece) hash.update(data.subarray(at, at + piece));
    expect([piece, hash.digest()]).toEqual([piece, truth(data)]);
  }
});
