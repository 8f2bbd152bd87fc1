// A VM's configuration, to be changed. What a running VM can't take on waits for its next start.

import { useEffect, useId, useState } from "preact/hooks";
import { Failed, type Schemas, all, get, post, put } from "../api/client";
import { t, word } from "../i18n";
import { parseSize } from "../i18n/format";
import { may } from "../state/session";
import { ask } from "../ui/dialog";
import { useDraft } from "../ui/draft";
import { Icon } from "../ui/icons";
import { Card, IconButton } from "../ui/parts";
import { ProblemNotice } from "../ui/problem";
import { toast } from "../ui/toast";
import type { Detail, Shown } from "./detail";
import { diskName, isReadOnly } from "./disk";

type Configuration = Schemas["VmConfiguration"];
type Disk = Configuration["disk"][number];
const MIB = 2 ** 20;

export function Settings(shown: Shown) {
  const { vm, tag, reload } = shown;
  const { wanted, set, hasChanged, ...draft } = useDraft<Configuration>(vm.configuration, tag);
  const [isBusy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const waiting = vm.power === "off" ? [] : vm.waits_for_start;
  const isFixed = vm.origin === "boot" || !may("administrator");

  async function submit(event: Event): Promise<void> {
    event.preventDefault();
    setBusy(true);
    setError(null);
    try {
      await put("/api/v1/vms/{vm}", { at: { vm: vm.name }, body: wanted, headers: { "If-Match": draft.tag } });
      draft.saved();
      toast(t(vm.power === "off" ? "settings.saved" : "settings.saved.later"));
      reload();
    } catch (failed) {
      setError(failed);
      // Someone else changed it: Undo is to show what is there now.
      if (failed instanceof Failed && failed.status === 412) reload();
    }
    setBusy(false);
  }

  return (
    <form class="stack" onSubmit={(event) => void submit(event)}>
      {vm.origin === "boot" ? <p class="notice">{t("vm.origin.boot")}</p> : null}
      {waiting.length > 0 ? (
        <p class="notice" role="status">
          {t("settings.waiting", { fields: waiting.map((field) => word("settings.field", field)).join(", ") })}
        </p>
      ) : null}
      <fieldset class="stack" disabled={isFixed || isBusy}>
        <legend class="only-heard">{t("vm.tab.settings")}</legend>
        <Size wanted={wanted} set={set} />
        <div class="halves">
          <Disks wanted={wanted} set={set} />
          <Cards wanted={wanted} set={set} />
        </div>
      </fieldset>
      {vm.configuration.boot.firmware ? <Variables vm={vm} /> : null}
      {draft.isOvertaken && !isBusy ? <p class="notice warn">{t("settings.overtaken")}</p> : null}
      <ProblemNotice error={error} />
      {isFixed ? null : (
        <div class="row">
          {vm.power === "off" ? null : <span class="muted">{t("settings.later")}</span>}
          <span class="grow" />
          <button type="button" class="button" disabled={!hasChanged} onClick={draft.undo}>
            {t("action.undo")}
          </button>
          <button class="button primary" disabled={!hasChanged || isBusy}>
            {t("action.save")}
          </button>
        </div>
      )}
    </form>
  );
}

/** What the firmware keeps, made as it is in a new VM. */
function Variables({ vm }: { vm: Detail }) {
  if (!may("operator")) return null;
  const reset = (): void =>
    ask({
      title: t("settings.variables.title", { name: vm.name }),
      lost: [t("settings.variables.lost"), t("settings.variables.kept")],
      verb: t("settings.variables.reset"),
      work: async () => {
        await post("/api/v1/vms/{vm}/firmware/reset", { at: { vm: vm.name } });
        toast(t("settings.variables.done"));
      },
    });
  return (
    <Card title={t("settings.variables")}>
      <div class="row">
        <p class="grow muted">{t(vm.power === "off" ? "settings.variables.text" : "settings.variables.runs")}</p>
        <button type="button" class="button" disabled={vm.power !== "off"} onClick={reset}>
          <Icon name="reset" />
          {t("settings.variables.reset")}
        </button>
      </div>
    </Card>
  );
}

interface PartProps {
  wanted: Configuration;
  set: (change: Partial<Configuration>) => void;
}

function Size({ wanted, set }: PartProps) {
  const id = useId();
  const numbers: [string, string, number, number, number, (value: number) => void][] = [
    ["vcpus", t("vm.vcpus"), wanted.vcpus, 1, 8, (vcpus) => set({ vcpus })],
    ["memory", t("settings.memory"), parseSize(wanted.memory) / MIB, 2, 261_120, (size) => set({ memory: `${size}MiB` })],
    ["order", t("settings.order"), wanted.start_order ?? 0, 0, 1_000_000, (start_order) => set({ start_order })],
    ["delay", t("settings.delay"), wanted.start_delay ?? 0, 0, 3600, (start_delay) => set({ start_delay })],
  ];
  return (
    <Card title={t("vm.machine")}>
      <div class="fields">
        {numbers.map(([key, label, value, min, max, change]) => (
          <div class="field" key={key}>
            <label for={id + key}>{label}</label>
            <input
              id={id + key}
              type="number"
              min={min}
              max={max}
              step={key === "memory" ? 2 : 1}
              value={value}
              required
              onInput={(event) => {
                // An empty field is on its way to a number.
                const { valueAsNumber: number } = event.currentTarget;
                if (!Number.isNaN(number)) change(number);
              }}
            />
          </div>
        ))}
      </div>
      <div class="stack checks">
        {wanted.boot.kernel ? (
          <div class="field">
            <label for={`${id}line`}>{t("vm.command_line")}</label>
            <input
              id={`${id}line`}
              class="mono"
              maxLength={2047}
              spellcheck={false}
              value={wanted.boot.command_line ?? ""}
              onInput={(event) =>
                set({ boot: { ...wanted.boot, command_line: event.currentTarget.value || null } })
              }
            />
          </div>
        ) : null}
        <label class="check">
          <input
            type="checkbox"
            checked={wanted.autostart !== false}
            onChange={(event) => set({ autostart: event.currentTarget.checked })}
          />
          {t("vm.autostart.yes")}
        </label>
      </div>
    </Card>
  );
}

function Disks({ wanted, set }: PartProps) {
  const [volumes, setVolumes] = useState<Schemas["Volume"][]>([]);
  useEffect(() => {
    all((query) => get("/api/v1/volumes", { query })).then(setVolumes, () => setVolumes([]));
  }, []);
  const used = new Set(wanted.disk.map(({ volume }) => volume));
  const free = volumes.filter(({ name, in_use }) => !in_use && !used.has(name));
  const put = (disk: Disk[]): void => set({ disk });
  return (
    <Card title={t("vm.disks")}>
      <ul class="list">
        {wanted.disk.map((disk, index) => (
          <li key={index}>
            <Icon name="disk" />
            <span class="grow wrap-any">{diskName(disk)}</span>
            <label class="check small">
              <input
                type="checkbox"
                checked={isReadOnly(disk)}
                disabled={disk.iso != null}
                onChange={(event) =>
                  put(wanted.disk.with(index, { ...disk, read_only: event.currentTarget.checked }))
                }
              />
              {t("disk.read_only")}
            </label>
            <IconButton
              icon="close"
              label={t("settings.disk.remove", { number: index + 1 })}
              onClick={() => put(wanted.disk.filter((_, other) => other !== index))}
            />
          </li>
        ))}
      </ul>
      {wanted.disk.length === 0 ? <p class="muted">{t("vm.disks.none")}</p> : null}
      {free.length > 0 ? (
        <select
          aria-label={t("settings.disk.add")}
          value=""
          onChange={(event) => {
            put([...wanted.disk, { volume: event.currentTarget.value, read_only: false }]);
            event.currentTarget.value = "";
          }}
        >
          <option value="">{t("settings.disk.add")}</option>
          {free.map(({ id, name }) => (
            <option key={id} value={name}>
              {name}
            </option>
          ))}
        </select>
      ) : null}
    </Card>
  );
}

function Cards({ wanted, set }: PartProps) {
  return (
    <Card title={t("vm.nics")}>
      <ul class="list">
        {wanted.nic.map((nic, index) => (
          <li key={index}>
            <Icon name="network" />
            <span class="grow">
              {t("vm.nic", { number: index + 1 })} <span class="muted mono small">{nic.mac ?? t("vm.nic.mac")}</span>
            </span>
            <IconButton
              icon="close"
              label={t("settings.nic.remove", { number: index + 1 })}
              onClick={() => set({ nic: wanted.nic.filter((_, other) => other !== index) })}
            />
          </li>
        ))}
      </ul>
      {wanted.nic.length < 14 ? (
        <button type="button" class="button" onClick={() => set({ nic: [...wanted.nic, {}] })}>
          <Icon name="plus" />
          {t("settings.nic.add")}
        </button>
      ) : null}
    </Card>
  );
}
