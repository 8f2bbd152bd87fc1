// Volumes: the disks of VMs. Made, grown, cloned, deleted.

import { useId, useState } from "preact/hooks";
import { patch, post, remove } from "../api/client";
import { t } from "../i18n";
import { bytes, number } from "../i18n/format";
import { may } from "../state/session";
import { hasNoDatastore } from "../state/store";
import { FormDialog, ask } from "../ui/dialog";
import { Icon } from "../ui/icons";
import { Empty, IconButton, Loading, Table } from "../ui/parts";
import { toast } from "../ui/toast";
import { type Volume, loadStorage, volumes } from "./stored";

const GIB = 2 ** 30;
type Asked = { kind: "new" } | { kind: "clone" | "resize"; volume: Volume };

export function Volumes() {
  const [asked, setAsked] = useState<Asked | null>(null);
  const list = volumes.value;
  if (!list) return <Loading />;
  const close = (): void => setAsked(null);
  const make =
    may("operator") && !hasNoDatastore.value ? (
      <button type="button" class="button" onClick={() => setAsked({ kind: "new" })}>
        <Icon name="plus" />
        {t("volume.new")}
      </button>
    ) : null;
  return (
    <>
      {list.length === 0 ? (
        <section class="card">
          <Empty icon="disk" title={t("volume.none")} text={t("volume.none.text")}>
            {make}
          </Empty>
        </section>
      ) : (
        <div class="stack">
          <div class="row">{make}</div>
          <VolumeList list={list} choose={setAsked} />
        </div>
      )}
      {asked?.kind === "new" ? <NewVolume close={close} /> : null}
      {asked?.kind === "clone" ? <Clone volume={asked.volume} close={close} /> : null}
      {asked?.kind === "resize" ? <Resize volume={asked.volume} close={close} /> : null}
    </>
  );
}

function VolumeList({ list, choose }: { list: readonly Volume[]; choose: (asked: Asked) => void }) {
  const numbers: [string, string][] = [
    [t("storage.size"), "number"],
    [t("volume.snapshots"), "number only-wide"],
  ];
  return (
    <Table label={t("storage.tab.volumes")} columns={[t("storage.name"), ...numbers, t("volume.use")]} hasActions>
      {list.map((volume) => (
        <tr key={volume.id}>
          <td class="wrap-any">{volume.name}</td>
          <td class="number">{bytes(volume.bytes)}</td>
          <td class="number only-wide">{number(volume.snapshots)}</td>
          <td>
            <span class={volume.in_use ? "badge good" : "badge"}>{t(volume.in_use ? "volume.used" : "volume.free")}</span>
          </td>
          <td>
            <div class="actions">
              <Actions volume={volume} choose={choose} />
            </div>
          </td>
        </tr>
      ))}
    </Table>
  );
}

function Actions({ volume, choose }: { volume: Volume; choose: (asked: Asked) => void }) {
  const { name } = volume;
  return (
    <>
      {may("operator") ? (
        <IconButton
          icon="clone"
          label={t("volume.clone.of", { name })}
          title={t("volume.clone")}
          onClick={() => choose({ kind: "clone", volume })}
        />
      ) : null}
      {may("administrator") ? (
        <>
          <IconButton
            icon="edit"
            label={t("volume.resize.of", { name })}
            title={t("volume.resize")}
            onClick={() => choose({ kind: "resize", volume })}
          />
          <IconButton
            icon="trash"
            label={t("storage.delete", { name })}
            title={volume.in_use ? t("volume.delete.used") : t("action.delete")}
            disabled={volume.in_use}
            onClick={() => drop(volume)}
          />
        </>
      ) : null}
    </>
  );
}

function drop({ id, name, bytes: size, snapshots }: Volume): void {
  const lost = [t("volume.delete.lost", { size: bytes(size) })];
  if (snapshots > 0) lost.push(t("volume.delete.lost.snapshots", { count: snapshots }));
  ask({
    title: t("storage.delete.title", { name }),
    lost,
    verb: t("action.delete"),
    type: name,
    async work() {
      await remove("/api/v1/volumes/{volume}", { at: { volume: id } });
      toast(t("storage.deleted", { name }));
      await loadStorage();
    },
  });
}

interface NameProps {
  value: string;
  set: (name: string) => void;
  hint?: string;
}

export function NameField({ value, set, hint }: NameProps) {
  const id = useId();
  return (
    <div class="field">
      <label for={id}>{t("storage.name")}</label>
      <input
        id={id}
        required
        maxLength={64}
        autocomplete="off"
        spellcheck={false}
        value={value}
        onInput={(event) => set(event.currentTarget.value)}
      />
      <p class="hint">{hint ?? t("volume.name.rule")}</p>
    </div>
  );
}

function SizeField({ value, set, hint }: { value: number; set: (gib: number) => void; hint: string }) {
  const id = useId();
  return (
    <div class="field">
      <label for={id}>{t("volume.size")}</label>
      <input
        id={id}
        type="number"
        required
        min={0.001}
        step="any"
        value={value}
        onInput={(event) => set(event.currentTarget.valueAsNumber)}
      />
      <p class="hint">{hint}</p>
    </div>
  );
}

/** A volume's size is a multiple of 512. */
const sectors = (gib: number): number => Math.round((gib * GIB) / 512) * 512;

function NewVolume({ close }: { close: () => void }) {
  const [name, setName] = useState("");
  const [size, setSize] = useState(16);
  async function work(): Promise<void> {
    await post("/api/v1/volumes", { body: { name, bytes: sectors(size) } });
    toast(t("volume.made", { name }));
    await loadStorage();
  }
  return (
    <FormDialog title={t("volume.new")} submit={t("wizard.create")} isReady={name !== "" && size > 0} close={close} work={work}>
      <NameField value={name} set={setName} />
      <SizeField value={size} set={setSize} hint={t("wizard.disk.text")} />
    </FormDialog>
  );
}

function Clone({ volume, close }: { volume: Volume; close: () => void }) {
  const [name, setName] = useState(`${volume.name}-2`);
  async function work(): Promise<void> {
    await post("/api/v1/volumes", { body: { name, source: volume.id } });
    toast(t("volume.made", { name }));
    await loadStorage();
  }
  return (
    <FormDialog title={t("volume.clone.of", { name: volume.name })} submit={t("volume.clone")} isReady={name !== ""} close={close} work={work}>
      <NameField value={name} set={setName} />
      <p class="muted">{t("volume.clone.text")}</p>
    </FormDialog>
  );
}

function Resize({ volume, close }: { volume: Volume; close: () => void }) {
  const [size, setSize] = useState(Math.round((volume.bytes / GIB) * 1000) / 1000);
  const wanted = sectors(size);
  const shrinks = wanted < volume.bytes;
  async function work(): Promise<void> {
    await patch("/api/v1/volumes/{volume}", { at: { volume: volume.id }, body: { bytes: wanted } });
    toast(t("volume.resized", { name: volume.name, size: bytes(wanted) }));
    await loadStorage();
  }
  return (
    <FormDialog
      title={t("volume.resize.of", { name: volume.name })}
      submit={t(shrinks ? "volume.shrink" : "volume.resize")}
      isDangerous={shrinks}
      isReady={size > 0}
      close={close}
      work={work}
    >
      <SizeField value={size} set={setSize} hint={t("volume.size.now", { size: bytes(volume.bytes) })} />
      {shrinks && size > 0 ? (
        <p class="notice bad" role="alert">
          {t("volume.shrink.lost", { size: bytes(wanted) })}
        </p>
      ) : null}
    </FormDialog>
  );
}
