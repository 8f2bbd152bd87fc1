import { expect, test } from "vitest";
import { span } from "./rows";

test("what is on the screen exists, wherever one scrolled to, and little more", () => {
  for (let scrolled = 0; scrolled < 60_000; scrolled += 137) {
    const { from, to } = span(200 - scrolled, 800, 52, 1000);
    const first = Math.max(0, Math.floor((scrolled - 200) / 52));
    const last = Math.min(999, Math.floor((scrolled + 600) / 52));
    if (first < 1000) expect(from).toBeLessThanOrEqual(first);
    expect(to).toBeGreaterThanOrEqual(Math.min(last + 1, 1000));
    expect(to - from).toBeLessThanOrEqual(28);
  }
});

test("a short list and an empty one", () => {
  expect(span(100, 800, 52, 3)).toEqual({ from: 0, to: 3 });
  expect(span(100, 800, 52, 0)).toEqual({ from: 0, to: 0 });
});
