// The parts of a VM's time.

import type { Schemas } from "../api/client";

export type Statistics = Schemas["VmStatistics"];
export type Reason = keyof Statistics["exits"];
export const REASONS: readonly Reason[] = ["wait", "interrupt", "device", "memory", "register", "call", "other"];

export interface Part {
  name: "guest" | "host" | "ready" | "idle";
  ns: number;
  share: number;
}

export function shares(of: Statistics): Part[] {
  const all = of.guest_ns + of.host_ns + of.ready_ns + of.idle_ns;
  const part = (name: Part["name"], ns: number): Part => ({ name, ns, share: all > 0 ? ns / all : 0 });
  return [part("guest", of.guest_ns), part("host", of.host_ns), part("ready", of.ready_ns), part("idle", of.idle_ns)];
}
