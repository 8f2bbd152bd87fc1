// Carries a plan out, step by step. After a failure it goes on where it stood.

import { get, patch, post } from "../api/client";
import { noteTask } from "../state/store";
import { ended } from "../state/tasks";
import { type Wishes, configuration } from "./plan";

export type Step = "volume" | "grow" | "vm" | "start";
export type Report = (step: Step) => void;

const GIB = 2 ** 30;

/** The steps of a plan, in order. */
export function stepsOf(wishes: Wishes, starts: boolean): Step[] {
  const steps: Step[] = ["volume"];
  if (wishes.source === "image" && wishes.diskGiB > 0) steps.push("grow");
  steps.push("vm");
  if (starts) steps.push("start");
  return steps;
}

async function volumeId(name: string): Promise<{ id: number; bytes: number } | undefined> {
  const { items } = await get("/api/v1/volumes", { query: { limit: 1000 } });
  return items.find((volume) => volume.name === name);
}

const WORK: Record<Step, (wishes: Wishes) => Promise<void>> = {
  async volume(wishes) {
    const { name, object } = wishes;
    if (wishes.source === "image") await ended(await post("/api/v1/imports", { body: { object, volume: name } }));
    else await post("/api/v1/volumes", { body: { name, bytes: wishes.diskGiB * GIB } });
  },
  async grow(wishes) {
    const found = await volumeId(wishes.name);
    const bytes = wishes.diskGiB * GIB;
    if (found && found.bytes < bytes) await patch("/api/v1/volumes/{volume}", { at: { volume: found.id }, body: { bytes } });
  },
  async vm(wishes) {
    await post("/api/v1/vms", { body: configuration(wishes) });
  },
  async start(wishes) {
    noteTask(await post("/api/v1/vms/{vm}/power", { at: { vm: wishes.name }, body: { action: "on" } }));
  },
};

/** Does what is not done yet; `done` remembers it over attempts. */
export async function make(wishes: Wishes, steps: readonly Step[], done: Set<Step>, report: Report): Promise<void> {
  for (const step of steps) {
    if (done.has(step)) continue;
    report(step);
    await WORK[step](wishes);
    done.add(step);
  }
}

