// The host's events, by one WebSocket for all tabs of this browser.
//
// One tab holds a lock and with it the connection; it tells the others by a broadcast channel. When it closes, the lock
// goes to another tab, which goes on after the last event that it saw: none is lost, none comes twice.

import { signal } from "@preact/signals";
import { Failed, type Schemas, get } from "../api/client";
import { findSession } from "./session";

export type HostEvent = Schemas["Event"];
/** `starting`: not yet; `live`: events come; `away`: the host does not answer. */
export type Link = "starting" | "live" | "away";
export const link = signal<Link>("starting");

type Message = { event: HostEvent } | { link: Link } | { ask: true };

const LOCK = "bramble.events";
const WAITS = [500, 1000, 2000, 4000, 8000];
const HEARTBEAT = 15_000;
/** So often something is said to the host, which has no meaning there: one that was restarted answers it by the end of the
 * connection, which it does not know. Without it nobody would notice. */
const SPEAK = 3000;
const HEARTBEAT_WITHIN = 10_000;

type Watcher = (event: HostEvent) => void;
const watchers = new Set<Watcher>();
const comebacks = new Set<() => void>();

/** Calls for each event; gives back how to end that. */
export function onEvent(call: Watcher): () => void {
  watchers.add(call);
  return () => watchers.delete(call);
}

/** Calls when everything is to be asked for anew: at the start, and when events were missed. */
export function onReset(call: () => void): () => void {
  comebacks.add(call);
  return () => comebacks.delete(call);
}

let last = 0;
let channel: BroadcastChannel | undefined;
let end: AbortController | undefined;

function reset(): void {
  for (const call of comebacks) call();
}

function take(event: HostEvent): void {
  if (event.kind === "reset") {
    last = event.id;
    reset();
    return;
  }
  if (event.id <= last) return;
  last = event.id;
  for (const call of watchers) call(event);
}

function show(now: Link): void {
  const before = link.value;
  link.value = now;
  if (now === "live" && before !== "live") reset();
}

function tell(message: Message): void {
  channel?.postMessage(message);
}

/** Begins to listen. */
export function startEvents(): void {
  if (end) return;
  end = new AbortController();
  const { signal: over } = end;
  channel = new BroadcastChannel(LOCK);
  channel.onmessage = ({ data }: MessageEvent<Message>) => {
    if ("event" in data) take(data.event);
    else if ("link" in data) show(data.link);
    else if (leads) tell({ link: link.value });
  };
  tell({ ask: true });
  navigator.locks
    .request(LOCK, { signal: over }, () => lead(over))
    .catch((error: unknown) => {
      if (!over.aborted) throw error;
    });
}

/** Ends it: the session is over. */
export function stopEvents(): void {
  end?.abort();
  channel?.close();
  end = channel = undefined;
  leads = false;
  last = 0;
  link.value = "starting";
}

let leads = false;

async function lead(over: AbortSignal): Promise<void> {
  leads = true;
  for (let failed = 0; !over.aborted; failed += 1) {
    const wasOpen = await connection(over);
    if (over.aborted) return;
    if (wasOpen) failed = 0;
    show("away");
    tell({ link: "away" });
    // A refusal does not show in a WebSocket: who is not logged in any more is told by this.
    await findSession().catch((error: unknown) => {
      if (!(error instanceof Failed)) throw error;
    });
    await pause(WAITS[Math.min(failed, WAITS.length - 1)] ?? 0, over);
  }
}

/** One connection, from its start to its end; whether it ever was open. */
function connection(over: AbortSignal): Promise<boolean> {
  return new Promise((resolve) => {
    const address = new URL("/api/v1/events", location.href);
    address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
    if (last) address.searchParams.set("after", String(last));
    const socket = new WebSocket(address);
    let wasOpen = false;
    // A network that is gone says nothing: the connection is taken for dead when a small question is not answered.
    const heartbeat = setInterval(() => {
      const within = AbortSignal.timeout(HEARTBEAT_WITHIN);
      get("/api/v1", { signal: within }).catch(() => finish());
    }, HEARTBEAT);
    const speaking = setInterval(() => {
      if (socket.readyState === WebSocket.OPEN) socket.send("");
    }, SPEAK);
    const finish = (): void => {
      clearInterval(heartbeat);
      clearInterval(speaking);
      over.removeEventListener("abort", finish);
      removeEventListener("offline", finish);
      socket.onclose = socket.onmessage = socket.onopen = null;
      socket.close();
      resolve(wasOpen);
    };
    over.addEventListener("abort", finish);
    addEventListener("offline", finish);
    socket.onclose = finish;
    socket.onopen = () => {
      wasOpen = true;
      show("live");
      tell({ link: "live" });
    };
    socket.onmessage = ({ data }: MessageEvent<string>) => {
      const event = JSON.parse(data) as HostEvent;
      take(event);
      tell({ event });
    };
  });
}

/** Waits; shorter when the network is back or someone looks. */
function pause(time: number, over: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(finish, time);
    function finish(): void {
      clearTimeout(timer);
      removeEventListener("online", finish);
      document.removeEventListener("visibilitychange", finish);
      over.removeEventListener("abort", finish);
      resolve();
    }
    addEventListener("online", finish);
    document.addEventListener("visibilitychange", finish);
    over.addEventListener("abort", finish);
  });
}
