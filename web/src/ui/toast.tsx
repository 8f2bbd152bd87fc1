// Short news at the edge of the page, said to screen readers too.

import { signal } from "@preact/signals";
import { t } from "../i18n";
import { Icon } from "./icons";
import { IconButton } from "./parts";
import { troubleOf } from "./problem";

interface Toast {
  id: number;
  tone: "good" | "bad";
  text: string;
  remedy?: string;
}

const toasts = signal<readonly Toast[]>([]);
const STAYS = 6000;
let next = 0;

const drop = (id: number): void => {
  toasts.value = toasts.value.filter((toast) => toast.id !== id);
};

export function toast(text: string): void {
  const id = next++;
  toasts.value = [...toasts.value.slice(-3), { id, tone: "good", text }];
  setTimeout(() => drop(id), STAYS);
}

/** What failed stays until it was read. */
export function toastProblem(error: unknown): void {
  const { what, remedy } = troubleOf(error);
  toasts.value = [...toasts.value.slice(-3), { id: next++, tone: "bad", text: what, remedy }];
}

/** Does something that may fail, and says so if it does. */
export async function attempt(work: () => Promise<unknown>, done?: string): Promise<boolean> {
  try {
    await work();
    if (done) toast(done);
    return true;
  } catch (error) {
    toastProblem(error);
    return false;
  }
}

export const Toasts = () => (
  <div class="toasts" role="status" aria-live="polite">
    {toasts.value.map(({ id, tone, text, remedy }) => (
      <div key={id} class={`toast ${tone}`}>
        <Icon name={tone === "good" ? "check" : "alert"} />
        <div class="grow">
          <p>{text}</p>
          {remedy ? <p class="muted">{remedy}</p> : null}
        </div>
        <IconButton icon="close" label={t("action.dismiss")} onClick={() => drop(id)} />
      </div>
    ))}
  </div>
);
