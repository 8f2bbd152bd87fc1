// The host's disks, and how one becomes the datastore.

import { useState } from "preact/hooks";
import { post } from "../api/client";
import { t } from "../i18n";
import { bytes } from "../i18n/format";
import { may } from "../state/session";
import { datastore, hasNoDatastore } from "../state/store";
import { ended } from "../state/tasks";
import { FormDialog, ask } from "../ui/dialog";
import { Icon } from "../ui/icons";
import { Empty, Loading } from "../ui/parts";
import { toast } from "../ui/toast";
import { type Disk, disks, loadStorage } from "./stored";

const TONES: Partial<Record<Disk["state"], string>> = { blank: "good", datastore: "good", unreadable: "bad", foreign: "warn" };

/** How a disk can become the datastore: in its free space, by erasing it, or not. */
export function waysOf({ state, free_bytes, read_only }: Disk): readonly ("free" | "erase")[] {
  if (read_only || state === "unreadable" || state === "datastore") return [];
  // On a blank disk both are the same, and nothing is lost.
  if (state === "blank") return ["free"];
  return free_bytes > 0 ? ["free", "erase"] : ["erase"];
}

export function Disks() {
  const list = disks.value;
  if (!list) return <Loading />;
  if (list.length === 0) {
    return (
      <section class="card">
        <Empty icon="disk" title={t("disks.none")} text={t("disks.none.text")} />
      </section>
    );
  }
  return (
    <div class="stack">
      {hasNoDatastore.value ? (
        <div class="stack-small">
          <h2>{t("datastore.make")}</h2>
          <p class="muted">{t(may("administrator") ? "disks.make.text" : "disks.make.role")}</p>
        </div>
      ) : null}
      <ul class="grid disks">
        {list.map((disk) => (
          <li key={disk.serial} class="card">
            <DiskCard disk={disk} />
          </li>
        ))}
      </ul>
    </div>
  );
}

function DiskCard({ disk }: { disk: Disk }) {
  const [isAsking, setAsking] = useState(false);
  const canMake = hasNoDatastore.value && may("administrator");
  const ways = canMake ? waysOf(disk) : [];
  return (
    <div class="body stack">
      <div class="row">
        <Icon name="disk" />
        <h3 class="grow wrap-any">{disk.serial}</h3>
        <span class={`badge ${TONES[disk.state] ?? ""}`}>{t(`disks.state.${disk.state}`)}</span>
      </div>
      <p>
        {bytes(disk.bytes)}
        {disk.free_bytes > 0 ? ` · ${t("disks.free", { size: bytes(disk.free_bytes) })}` : ""}
        {disk.read_only ? ` · ${t("disk.read_only")}` : ""}
      </p>
      <p class="small muted">{t(`disks.state.${disk.state}.text`)}</p>
      {datastore.value?.disk === disk.serial && !hasNoDatastore.value ? null : ways.length > 0 ? (
        <div class="row">
          {ways.includes("free") ? (
            <button type="button" class="button primary" onClick={() => setAsking(true)}>
              {t(disk.state === "blank" ? "disks.use.blank" : "disks.use.free", { size: bytes(disk.free_bytes) })}
            </button>
          ) : null}
          {ways.includes("erase") ? (
            <button type="button" class="button" onClick={() => erase(disk)}>
              {t("disks.erase")}
            </button>
          ) : null}
        </div>
      ) : null}
      {isAsking ? <UseFree disk={disk} close={() => setAsking(false)} /> : null}
    </div>
  );
}

async function make(disk: string, erased?: string): Promise<void> {
  await ended(await post("/api/v1/datastore", { body: { disk, erase_disk: erased } }));
  toast(t("disks.made"));
  await loadStorage();
}

function UseFree({ disk, close }: { disk: Disk; close: () => void }) {
  return (
    <FormDialog title={t("datastore.make")} submit={t("datastore.make")} close={close} work={() => make(disk.serial)}>
      <p>{t("disks.use.text", { size: bytes(disk.free_bytes), disk: disk.serial })}</p>
      <p class="muted">{t(disk.state === "blank" ? "disks.use.blank.text" : "disks.use.kept")}</p>
    </FormDialog>
  );
}

function erase(disk: Disk): void {
  ask({
    title: t("disks.erase.title", { disk: disk.serial }),
    lost: [t("disks.erase.lost", { size: bytes(disk.bytes) }), t(`disks.state.${disk.state}.text`)],
    verb: t("disks.erase"),
    type: disk.serial,
    work: () => make(disk.serial, disk.serial),
  });
}
