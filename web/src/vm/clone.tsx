// A VM made of this one: of what it has now, or of a snapshot.

import { useEffect, useId, useState } from "preact/hooks";
import { type Schemas, all, get, post } from "../api/client";
import { t } from "../i18n";
import { at, go } from "../state/router";
import { may } from "../state/session";
import { vms } from "../state/store";
import { ended } from "../state/tasks";
import { FormDialog } from "../ui/dialog";
import { Icon } from "../ui/icons";
import { toast } from "../ui/toast";
import type { Detail } from "./detail";
import { isName, nameFrom } from "./plan";

const taken = (name: string): boolean => vms.value?.has(name) ?? false;

export function Clone({ vm }: { vm: Detail }) {
  const [isOpen, setOpen] = useState(false);
  if (!may("administrator") || vm.origin === "boot") return null;
  return (
    <>
      <button type="button" class="button" onClick={() => setOpen(true)}>
        <Icon name="clone" />
        {t("vm.clone")}
      </button>
      {isOpen ? <CloneDialog vm={vm} close={() => setOpen(false)} /> : null}
    </>
  );
}

function CloneDialog({ vm, close }: { vm: Detail; close: () => void }) {
  const [name, setName] = useState(() => nameFrom(`vm:${vm.name}-clone`, taken));
  const [snapshot, setSnapshot] = useState("");
  const [snapshots, setSnapshots] = useState<Schemas["Snapshot"][]>([]);
  const id = useId();
  useEffect(() => {
    // Without them what the VM has now can still be cloned.
    all((query) => get("/api/v1/vms/{vm}/snapshots", { at: { vm: vm.name }, query })).then(setSnapshots, () => {});
  }, [vm.name]);
  const isTaken = taken(name);
  const isBad = !isName(name) || isTaken;
  return (
    <FormDialog
      title={t("vm.clone.title", { name: vm.name })}
      submit={t("vm.clone")}
      isReady={!isBad}
      close={close}
      work={async () => {
        const body = { name, ...(snapshot ? { snapshot: Number(snapshot) } : {}) };
        await ended(await post("/api/v1/vms/{vm}/clone", { at: { vm: vm.name }, body }));
        toast(t("vm.clone.done", { name }));
        go(at("vms", name));
      }}
    >
      <p class="muted">{t("vm.clone.text")}</p>
      <div class="field">
        <label for={`${id}name`}>{t("vm.name")}</label>
        <input
          id={`${id}name`}
          maxLength={32}
          autocomplete="off"
          autocapitalize="none"
          spellcheck={false}
          aria-invalid={isBad}
          aria-describedby={`${id}rule`}
          value={name}
          onInput={(event) => setName(event.currentTarget.value)}
        />
        <span class={isBad ? "wrong" : "hint"} id={`${id}rule`}>
          {t(isTaken ? "wizard.name.taken" : "wizard.name.rule")}
        </span>
      </div>
      <div class="field">
        <label for={`${id}of`}>{t("vm.clone.of")}</label>
        <select id={`${id}of`} value={snapshot} onChange={(event) => setSnapshot(event.currentTarget.value)}>
          <option value="">{t("vm.clone.now")}</option>
          {snapshots.map((known) => (
            <option key={known.id} value={String(known.id)}>
              {known.name}
            </option>
          ))}
        </select>
      </div>
    </FormDialog>
  );
}
