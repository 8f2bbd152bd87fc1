// The digest of a file, beside the page: reading and hashing gigabytes must not stop it.

import { Sha256 } from "./sha256";

const PIECE = 4 * 2 ** 20;

onmessage = async ({ data: file }: MessageEvent<File>) => {
  try {
    const hash = new Sha256();
    for (let at = 0; at < file.size; at += PIECE) {
      hash.update(new Uint8Array(await file.slice(at, at + PIECE).arrayBuffer()));
    }
    postMessage({ digest: hash.digest() });
  } catch (error) {
    postMessage({ error: String(error) });
  }
};
