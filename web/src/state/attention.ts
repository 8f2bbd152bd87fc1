// Whether someone looks at the page. What asks the host again and again asks this first: a page that is left alone lets
// the session end as if it were closed.

const WITHIN = 10 * 60 * 1000;
let last = performance.now();

for (const kind of ["pointerdown", "pointermove", "keydown", "wheel", "touchstart", "focus"]) {
  addEventListener(
    kind,
    () => {
      last = performance.now();
    },
    { passive: true, capture: true },
  );
}

export const someoneLooks = (): boolean =>
  document.visibilityState === "visible" && performance.now() - last < WITHIN;

/** Calls every so many milliseconds while someone looks; gives back how to end that. */
export function whileWatched(every: number, call: () => void): () => void {
  const timer = setInterval(() => {
    if (someoneLooks()) call();
  }, every);
  return () => clearInterval(timer);
}
