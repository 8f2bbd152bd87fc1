// Where the user is: the address bar is the only truth, so every place has a link.

import { computed, signal } from "@preact/signals";

interface Place {
  path: string;
  query: URLSearchParams;
}

const here = (): Place => ({
  path: location.pathname.replace(/\/+$/, "") || "/",
  query: new URLSearchParams(location.search),
});

export const place = signal<Place>(here());
export const segments = computed(() => place.value.path.split("/").filter(Boolean).map(decode));

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** May a page be left? Set by one that holds what is not saved yet. */
let mayLeave: () => boolean = () => true;
export const guardLeaving = (guard: (() => boolean) | null): void => {
  mayLeave = guard ?? (() => true);
};

export function go(to: string, { replace = false } = {}): void {
  if (to === location.pathname + location.search) return;
  if (!mayLeave()) return;
  history[replace ? "replaceState" : "pushState"](null, "", to);
  place.value = here();
}

/** A path with its parts made safe for an address. */
export const at = (...parts: string[]): string => `/${parts.map(encodeURIComponent).join("/")}`;

/** Follows the back button and plain clicks on links of this page. */
export function startRouter(): void {
  addEventListener("popstate", () => {
    place.value = here();
  });
  document.addEventListener("click", (event) => {
    if (event.defaultPrevented || event.button !== 0) return;
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    const link = (event.target as Element | null)?.closest?.("a");
    if (!link || link.origin !== location.origin || link.target || link.hasAttribute("download")) return;
    if (link.pathname.startsWith("/api/") || link.hash) return;
    event.preventDefault();
    go(link.pathname + link.search);
  });
}
