// The host's clock as this page shows it: one tick for every "… ago".

import { computed, signal } from "@preact/signals";
import { host } from "./store";

const TICK = 5000;
const local = (): number => Math.floor(Date.now() / 1000);
const ticks = signal(local());

/** How far the host's clock is ahead of this browser's; a host without a clock may be years behind. */
const ahead = computed(() => (host.value ? host.value.now - local() : 0));

/** Seconds since 1970 on the host. */
export const now = computed(() => ticks.value + ahead.value);

setInterval(() => {
  if (document.visibilityState === "visible") ticks.value = local();
}, TICK);
