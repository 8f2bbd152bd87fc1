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
