// The SHA-256 of the host's CA, as the console shows it.

import { send } from "./client";

/** The DER bytes of a PEM's first block. */
export function derOf(pem: string): Uint8Array<ArrayBuffer> {
  const base64 = /-----BEGIN [^-]+-----([^-]+)-----END/.exec(pem)?.[1]?.replace(/\s/g, "") ?? "";
  return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
}

export async function caFingerprint(): Promise<string> {
  const pem = await (await send("GET", "/api/v1/ca.pem")).text();
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", derOf(pem)));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
