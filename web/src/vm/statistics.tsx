// Where a VM's time goes: its own code, the host working for it, waiting for a processor, and nothing to do; and why its
// vCPUs left the guest.

import { useEffect, useState } from "preact/hooks";
import { Failed, type Schemas, get } from "../api/client";
import { type Key, t } from "../i18n";
import { number, percent, span } from "../i18n/format";
import { someoneLooks, whileWatched } from "../state/attention";
import { Card, Empty, Loading } from "../ui/parts";
import { ProblemNotice } from "../ui/problem";
import type { Shown } from "./detail";
import { REASONS, type Statistics as Numbers, shares } from "./shares";

const REFRESH = 3000;

export function Statistics({ vm }: Shown) {
  const [numbers, setNumbers] = useState<Numbers | null>(null);
  const [error, setError] = useState<unknown>(null);
  useEffect(() => {
    const ask = (): void => {
      get("/api/v1/vms/{vm}/statistics", { at: { vm: vm.name } }).then(
        (found: Schemas["VmStatistics"]) => {
          setNumbers(found);
          setError(null);
        },
        (failed: unknown) => {
          setNumbers(null);
          setError(failed);
        },
      );
    };
    if (someoneLooks()) ask();
    return whileWatched(REFRESH, ask);
  }, [vm.name, vm.power]);

  const isOff = error instanceof Failed && error.problem.reason === "vm-is-off";
  if (isOff) {
    return (
      <Card title={t("time.title")}>
        <Empty icon="chart" title={t("exits.none")} text={t("exits.none.text")} />
      </Card>
    );
  }
  if (!numbers) return error ? <ProblemNotice error={error} /> : <Loading />;
  return (
    <div class="stack">
      <Time numbers={numbers} />
      <Exits numbers={numbers} />
    </div>
  );
}

function Time({ numbers }: { numbers: Numbers }) {
  const parts = shares(numbers);
  const all = parts.map(({ name, share }) => `${t(`time.${name}` as Key)} ${percent(share)}`).join(", ");
  return (
    <Card title={t("time.title")}>
      <div class="stack">
        <div class="stacked" role="img" aria-label={all} data-volatile>
          {parts.map(({ name, share }) => (
            <span key={name} class={name} style={{ width: `${share * 100}%` }} />
          ))}
        </div>
        <ul class="grid">
          {parts.map(({ name, share, ns }) => (
            <li key={name} class="legend">
              <span class={`swatch ${name}`} />
              <div>
                <p>
                  <strong>{t(`time.${name}` as Key)}</strong>{" "}
                  <span class="muted" data-volatile>
                    {percent(share)} · {span(ns)}
                  </span>
                </p>
                <p class="small muted">{t(`time.${name}.text` as Key)}</p>
              </div>
            </li>
          ))}
        </ul>
      </div>
    </Card>
  );
}

function Exits({ numbers }: { numbers: Numbers }) {
  const { exits, exit_ns: times } = numbers;
  const total = REASONS.reduce((sum, reason) => sum + exits[reason], 0);
  const whole = REASONS.reduce((sum, reason) => sum + times[reason], 0);
  const sorted = [...REASONS].sort((a, b) => times[b] - times[a] || exits[b] - exits[a]);
  return (
    <Card
      title={t("exits.title")}
      aside={
        <span class="muted" data-volatile>
          {t("exits.total", { count: number(total) })}
        </span>
      }
    >
      <p class="muted">{t("exits.text")}</p>
      <ul class="bars">
        {sorted.map((reason) => (
          <li key={reason}>
            <div class="row">
              <strong>{t(`exits.${reason}` as Key)}</strong>
              <span class="grow" />
              <span class="muted" data-volatile>
                {t("exits.count", {
                  count: number(exits[reason]),
                  time: span(times[reason]),
                  mean: span(exits[reason] ? times[reason] / exits[reason] : 0),
                })}
              </span>
            </div>
            <div class="meter">
              <span style={{ width: `${whole ? (times[reason] / whole) * 100 : 0}%` }} />
            </div>
            <p class="small muted">{t(`exits.${reason}.text` as Key)}</p>
          </li>
        ))}
      </ul>
    </Card>
  );
}
