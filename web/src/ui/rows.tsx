// Rows of one height, of which only those on the screen exist: a thousand scroll as ten do.

import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";

interface RowsProps<T> {
  items: readonly T[];
  /** Height of a row in CSS pixels; the style sheet gives it to the row as well. */
  height: number;
  label: string;
  head: ComponentChildren;
  keyOf: (item: T) => string;
  row: (item: T) => ComponentChildren;
  class?: string;
}

/** Rows beyond the edges that exist too, so that a quick scroll shows no gap. */
const SPARE = 4;

/** Which rows are to exist, for a list whose top is `top` pixels below the window's. */
export function span(top: number, windowHeight: number, height: number, count: number): { from: number; to: number } {
  const first = Math.floor(-top / height) - SPARE;
  // In steps, so that most scrolls change nothing.
  const from = Math.max(0, Math.min(count, first - (((first % SPARE) + SPARE) % SPARE)));
  const to = Math.min(count, Math.max(from, from + Math.ceil(windowHeight / height) + 3 * SPARE));
  return { from, to };
}

export function Rows<T>({ items, height, label, head, keyOf, row, class: kind = "" }: RowsProps<T>) {
  const body = useRef<HTMLDivElement>(null);
  const [shown, setShown] = useState({ from: 0, to: Math.min(items.length, 3 * SPARE) });
  useEffect(() => {
    let frame = 0;
    const look = (): void => {
      frame = 0;
      const top = body.current?.getBoundingClientRect().top ?? 0;
      const next = span(top, innerHeight, height, items.length);
      setShown((before) => (before.from === next.from && before.to === next.to ? before : next));
    };
    const soon = (): void => {
      frame ||= requestAnimationFrame(look);
    };
    look();
    addEventListener("scroll", soon, { passive: true });
    addEventListener("resize", soon, { passive: true });
    return () => {
      cancelAnimationFrame(frame);
      removeEventListener("scroll", soon);
      removeEventListener("resize", soon);
    };
  }, [items.length, height]);

  const { from, to } = shown;
  return (
    <div class={`rows ${kind}`} role="table" aria-label={label} aria-rowcount={items.length + 1}>
      <div class="rows-head" role="row" aria-rowindex={1}>
        {head}
      </div>
      <div ref={body} class="rows-body" role="rowgroup" style={{ height: `${items.length * height}px` }}>
        <div role="presentation" style={{ transform: `translateY(${from * height}px)` }}>
          {items.slice(from, to).map((item, index) => (
            <div key={keyOf(item)} class="rows-row" role="row" aria-rowindex={from + index + 2}>
              {row(item)}
            </div>
          ))}
        </div>
      </div>
    </div>
  );
}
