// What the host or a VM used: live, and as far back as hostd remembers.

import { useEffect, useState } from "preact/hooks";
import { type Key, t } from "../i18n";
import { duration } from "../i18n/format";
import { someoneLooks } from "../state/attention";
import { Card, Empty, Loading } from "../ui/parts";
import { ProblemNotice } from "../ui/problem";
import { Chart } from "./chart";
import { type History, PLOTS } from "./series";
import "../styles/charts.css";

const SPANS = [120, 600, 3600];

interface Props {
  /** Names what it is of: another one begins anew. */
  of: string;
  load: (query: { seconds: number; step?: number }) => Promise<History>;
  empty: Key;
}

/** Seconds between two questions: often while each value is a second, seldom for hours. */
const every = (seconds: number): number => Math.max(2, seconds / 120);

export function Charts({ of, load, empty }: Props) {
  const [seconds, setSeconds] = useState(SPANS[0] ?? 120);
  const [history, setHistory] = useState<History | null>(null);
  const [error, setError] = useState<unknown>(null);
  useEffect(() => {
    let isOver = false;
    const ask = (): void => {
      if (!someoneLooks()) return;
      load({ seconds, step: Math.ceil(seconds / 240) }).then(
        (found) => {
          if (isOver) return;
          setHistory(found);
          setError(null);
        },
        (failed: unknown) => {
          if (!isOver) setError(failed);
        },
      );
    };
    ask();
    const timer = setInterval(ask, every(seconds) * 1000);
    return () => {
      isOver = true;
      clearInterval(timer);
    };
  }, [of, seconds]);

  if (!history) return error ? <ProblemNotice error={error} /> : <Loading />;
  const spans = SPANS.filter((span) => span <= history.remembered_seconds);
  if (history.remembered_seconds > (spans.at(-1) ?? 0)) spans.push(history.remembered_seconds);
  return (
    <div class="stack">
      <div class="segments" role="radiogroup" aria-label={t("chart.span")}>
        {spans.map((span) => (
          <label key={span}>
            <input type="radio" name={`span-${of}`} checked={span === seconds} onChange={() => setSeconds(span)} />
            <span>{duration(span)}</span>
          </label>
        ))}
      </div>
      {error ? <ProblemNotice error={error} /> : null}
      {history.cpu_permille.length === 0 ? (
        <Card>
          <Empty icon="chart" title={t("chart.none")} text={t(empty)} />
        </Card>
      ) : (
        <div class="halves">
          {PLOTS.map((plot) => (
            <Card key={plot.title} title={t(plot.title)}>
              <Chart history={history} plot={plot} group={of} />
            </Card>
          ))}
        </div>
      )}
    </div>
  );
}
