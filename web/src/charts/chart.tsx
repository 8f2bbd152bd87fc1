// A chart by uPlot, in the colours of the page.

import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { t } from "../i18n";
import { clock } from "../i18n/format";
import { theme } from "../state/theme";
import { colour } from "../ui/colour";
import { type History, type Plot, columns, roundUp } from "./series";

const HEIGHT = 190;
const FONT = "12px system-ui, sans-serif";

/** Round steps of bytes. */
const STEPS = [0, 1, 2, 3, 4].flatMap((power) => [1, 2, 5, 10, 20, 50, 100, 200, 500].map((step) => step * 1024 ** power));

const last = (chart: uPlot): void => chart.setLegend({ idx: Math.max(0, (chart.data[0]?.length ?? 0) - 1) }, false);

function options(plot: Plot, box: HTMLElement, group: string): uPlot.Options {
  const axis = { stroke: colour("--text-2"), font: FONT, ticks: { show: false } };
  const grid = { stroke: colour("--line"), width: 1 };
  return {
    width: box.clientWidth,
    height: HEIGHT,
    cursor: { sync: { key: group }, y: false, points: { size: 6 } },
    // Without a pointer over it the legend tells the last value.
    hooks: { setCursor: [(chart) => chart.cursor.idx == null && last(chart)] },
    scales: {
      y: { range: (_chart, _low, high) => [0, plot.most ?? roundUp(high)] },
    },
    axes: [
      { ...axis, grid: { show: false }, values: (_chart, ticks) => ticks.map(clock), space: 90, size: 34 },
      { ...axis, grid, size: 74, values: (_chart, ticks) => ticks.map(plot.show), space: 34, incrs: plot.most ? [0.25, 0.5] : STEPS },
    ],
    series: [
      { label: t("chart.time"), value: (_chart, value) => (value == null ? "—" : clock(value)) },
      ...plot.lines.map(({ label, colour: name }) => ({
        label: t(label),
        stroke: colour(name),
        fill: plot.lines.length === 1 ? `color-mix(in srgb, ${colour(name)} 13%, transparent)` : "",
        width: 1.5,
        points: { show: false },
        value: (_chart: uPlot, value: number | null) => (value == null ? "—" : plot.show(value)),
      })),
    ],
  };
}

/** What a screen reader says of it. */
function summary(history: History, plot: Plot): string {
  const [, ...values] = columns(history, plot);
  return plot.lines
    .map(({ label }, index) => {
      const line = values[index] ?? [];
      const most = line.reduce((high, value) => Math.max(high, value), 0);
      return t("chart.summary", { name: t(label), now: plot.show(line.at(-1) ?? 0), most: plot.show(most) });
    })
    .join(" ");
}

interface ChartProps {
  history: History;
  plot: Plot;
  /** Charts of a group share the cursor. */
  group: string;
}

export function Chart({ history, plot, group }: ChartProps) {
  const box = useRef<HTMLDivElement>(null);
  const chart = useRef<uPlot | null>(null);
  const data = columns(history, plot);
  const look = theme.value;

  useEffect(() => {
    const parent = box.current;
    if (!parent) return;
    const make = (): void => {
      chart.current?.destroy();
      chart.current = new uPlot(options(plot, parent, group), columns(history, plot), parent);
    };
    make();
    const watch = new ResizeObserver(() => chart.current?.setSize({ width: parent.clientWidth, height: HEIGHT }));
    watch.observe(parent);
    const scheme = matchMedia("(prefers-color-scheme: dark)");
    scheme.addEventListener("change", make);
    return () => {
      watch.disconnect();
      scheme.removeEventListener("change", make);
      chart.current?.destroy();
      chart.current = null;
    };
  }, [plot, look, t("chart.time")]);
  useEffect(() => {
    chart.current?.setData(data);
    if (chart.current?.cursor.idx == null && chart.current) last(chart.current);
  }, [history]);

  return (
    <figure class="chart" data-volatile>
      <figcaption class="only-heard">{summary(history, plot)}</figcaption>
      <div ref={box} aria-hidden="true" />
    </figure>
  );
}
