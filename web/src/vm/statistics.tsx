// Where a VM's time goes: how often its vCPUs left the guest, and why.

import { useEffect } from "preact/hooks";
import { type Key, t } from "../i18n";
import { number, percent } from "../i18n/format";
import { reloadVm } from "../state/store";
import { Card, Empty } from "../ui/parts";
import type { Detail, Shown } from "./detail";

type Reason = keyof Detail["exits"];
const REASONS: readonly Reason[] = ["wait", "interrupt", "device", "memory", "register", "call", "other"];
const REFRESH = 3000;

export function Statistics({ vm }: Shown) {
  useEffect(() => {
    const timer = setInterval(() => {
      if (document.visibilityState === "visible") void reloadVm(vm.name);
    }, REFRESH);
    return () => clearInterval(timer);
  }, [vm.name]);
  const total = REASONS.reduce((sum, reason) => sum + vm.exits[reason], 0);
  if (total === 0) {
    return (
      <Card title={t("exits.title")}>
        <Empty icon="chart" title={t("exits.none")} text={t("exits.none.text")} />
      </Card>
    );
  }
  const sorted = [...REASONS].sort((a, b) => vm.exits[b] - vm.exits[a]);
  return (
    <Card title={t("exits.title")} aside={<span class="muted" data-volatile>{t("exits.total", { count: number(total) })}</span>}>
      <p class="muted">{t("exits.text")}</p>
      <ul class="bars">
        {sorted.map((reason) => (
          <li key={reason}>
            <div class="row">
              <strong>{t(`exits.${reason}` as Key)}</strong>
              <span class="grow" />
              <span data-volatile>
                {number(vm.exits[reason])} · {percent(vm.exits[reason] / total)}
              </span>
            </div>
            <div class="meter">
              <span style={{ width: `${(vm.exits[reason] / total) * 100}%` }} />
            </div>
            <p class="small muted">{t(`exits.${reason}.text` as Key)}</p>
          </li>
        ))}
      </ul>
    </Card>
  );
}
