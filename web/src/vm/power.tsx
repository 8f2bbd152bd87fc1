// A VM's power: what it is, and what can be asked of it.

import { post } from "../api/client";
import { type Key, t, word } from "../i18n";
import { may } from "../state/session";
import { type Vm, noteTask } from "../state/store";
import { ask } from "../ui/dialog";
import { Icon, type IconName } from "../ui/icons";
import { attempt } from "../ui/toast";
import type { Schemas } from "../api/client";

export type Action = Schemas["PowerAction"];

const TONES: Record<string, string> = { running: "good", paused: "warn", stopping: "warn" };

export const badgeClass = (power: string): string => `badge lit ${TONES[power] ?? ""}`;

export const PowerBadge = ({ power }: { power: string }) => <span class={badgeClass(power)}>{word("power", power)}</span>;

/** What makes sense now; the first is what most people want. */
export function actionsOf(power: string): readonly Action[] {
  if (power === "off") return ["on"];
  if (power === "paused") return ["resume", "off"];
  if (power === "running") return ["shut-down", "pause", "reset", "off"];
  return ["off"];
}

export const ICONS: Record<Action, IconName> = {
  on: "play",
  resume: "play",
  "shut-down": "power",
  pause: "pause",
  reset: "reset",
  off: "stop",
};

export const actionName = (action: Action): string => t(`action.${action}` as Key);

async function order(vm: string, action: Action): Promise<void> {
  noteTask(await post("/api/v1/vms/{vm}/power", { at: { vm }, body: { action } }));
}

/** Does it; asks first where something is lost. */
export function power(vm: string, action: Action): void {
  if (action !== "off" && action !== "reset") {
    void attempt(() => order(vm, action));
    return;
  }
  ask({
    title: t(action === "off" ? "ask.off" : "ask.reset", { name: vm }),
    lost: [t("ask.off.lost"), t("ask.off.instead")],
    verb: actionName(action),
    work: () => order(vm, action),
  });
}

export function PowerButtons({ vm }: { vm: Pick<Vm, "name" | "power"> }) {
  if (!may("operator")) return null;
  return (
    <>
      {actionsOf(vm.power).map((action, index) => (
        <button
          key={action}
          type="button"
          class={index === 0 && vm.power !== "running" ? "button primary" : "button"}
          onClick={() => power(vm.name, action)}
        >
          <Icon name={ICONS[action]} />
          {actionName(action)}
        </button>
      ))}
    </>
  );
}
