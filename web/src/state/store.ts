// What the host has, as far as this page was told: loaded once, kept true by events.

import { computed, signal } from "@preact/signals";
import { Failed, type Schemas, all, get } from "../api/client";
import { type HostEvent, onEvent, onReset } from "./events";

export type Vm = Schemas["Vm"];
export type Host = Schemas["HostState"];
export type Datastore = Schemas["Datastore"];
export type Task = Schemas["Task"];

export const vms = signal<ReadonlyMap<string, Vm> | null>(null);
export const host = signal<Host | null>(null);
export const datastore = signal<Datastore | null>(null);
export const tasks = signal<readonly Task[] | null>(null);
export const events = signal<readonly HostEvent[]>([]);
/** Why the last attempt to load failed. */
export const loadError = signal<unknown>(null);

const EVENTS_KEPT = 500;
const TASKS_KEPT = 500;

export const vmList = computed(() =>
  vms.value ? [...vms.value.values()].sort((a, b) => a.name.localeCompare(b.name, "en", { numeric: true })) : null,
);
export const runningTasks = computed(() => (tasks.value ?? []).filter((task) => task.state === "running"));
export const hasNoDatastore = computed(() => datastore.value?.is_volatile === true);

/** Seconds since 1970 on the host, at the time of the last answer. */
export const hostNow = (): number => Math.max(host.value?.now ?? 0, events.value[0]?.at ?? 0);

const LOADS: (() => Promise<void>)[] = [
  async () => {
    host.value = await get("/api/v1/host");
  },
  async () => {
    const list = await all((query) => get("/api/v1/vms", { query }));
    vms.value = new Map(list.map((vm) => [vm.name, vm]));
  },
  async () => {
    datastore.value = await get("/api/v1/datastore");
  },
  async () => {
    tasks.value = (await get("/api/v1/tasks", { query: { limit: 100 } })).items;
  },
];
const [loadHost, , loadDatastore] = LOADS as [() => Promise<void>, unknown, () => Promise<void>];

function note(error: unknown): void {
  // That nobody answers is said by the banner.
  if (!(error instanceof Failed && (error.isOffline || error.status === 401))) loadError.value = error;
}

export async function loadAll(): Promise<void> {
  const results = await Promise.allSettled(LOADS.map((load) => load()));
  const failed = results.find((result) => result.status === "rejected");
  loadError.value = null;
  if (failed) note(failed.reason);
}

/** Asks again for what no event tells: memory, uptime. */
export const refreshHost = (): Promise<void> => loadHost().catch(note);

let soon: ReturnType<typeof setTimeout> | undefined;
/** Once for many events. */
function refreshHostSoon(): void {
  soon ??= setTimeout(() => {
    soon = undefined;
    void refreshHost();
  }, 400);
}

export function clear(): void {
  vms.value = host.value = datastore.value = tasks.value = null;
  events.value = [];
}

function change(name: string, vm: Vm | undefined): void {
  if (!vms.value) return;
  const next = new Map(vms.value);
  if (vm) next.set(name, vm);
  else next.delete(name);
  vms.value = next;
}

/** Takes a VM as it was just told; one that is gone meanwhile stays gone. */
export function noteVm(vm: Vm): void {
  if (vms.value?.has(vm.name)) change(vm.name, vm);
}

export async function reloadVm(name: string): Promise<void> {
  try {
    change(name, await get("/api/v1/vms/{vm}", { at: { vm: name } }));
  } catch (error) {
    if (error instanceof Failed && error.status === 404) change(name, undefined);
    else note(error);
  }
}

/** Takes a task as it is told. That it began may be heard after its end: an answer and an event overtake each other. */
export function noteTask(task: Task): void {
  const known = tasks.value?.find(({ id }) => id === task.id);
  if (known && known.state !== "running" && task.state === "running") return;
  const others = (tasks.value ?? []).filter(({ id }) => id !== task.id);
  const place = (tasks.value ?? []).findIndex(({ id }) => id === task.id);
  if (place < 0) others.unshift(task);
  else others.splice(place, 0, task);
  tasks.value = others.slice(0, TASKS_KEPT);
}

function take(event: HostEvent): void {
  events.value = [event, ...events.value.slice(0, EVENTS_KEPT - 1)];
  const { kind, subject, data } = event;
  if (kind === "vm.removed") change(subject, undefined);
  else if (kind === "task" && data) noteTask(data as Task);
  else if (kind === "datastore") loadDatastore().catch(note);
  else if (kind === "vm.added" && data) {
    change(subject, data as Vm);
    refreshHostSoon();
  } else if (kind.startsWith("vm.")) {
    if (data) change(subject, data as Vm);
    else void reloadVm(subject);
    if (kind === "vm.power") refreshHostSoon();
  }
}

/** Follows the events until the function that it gives is called. */
export function follow(): () => void {
  const ends = [onEvent(take), onReset(() => void loadAll())];
  return () => {
    for (const end of ends) end();
  };
}
