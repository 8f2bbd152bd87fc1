// What settings mean, without a page.

import type { Schemas } from "../api/client";

type Settings = Schemas["HostSettings"];

/** The entries of a line: separated by commas or spaces. */
export const list = (text: string): string[] => text.split(/[\s,]+/).filter(Boolean);

/** Whether a change moves the host to another address, so that it is on trial. */
export const movesAddress = (before: Settings, after: Settings): boolean =>
  JSON.stringify([before.ipv4, before.ipv6]) !== JSON.stringify([after.ipv4, after.ipv6]);
