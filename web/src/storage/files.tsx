// Images, installers, firmware and what else the datastore keeps as objects: uploaded by dropping them here.

import { signal } from "@preact/signals";
import { useId, useRef, useState } from "preact/hooks";
import { post, remove, url } from "../api/client";
import { t, word } from "../i18n";
import { bytes } from "../i18n/format";
import { may } from "../state/session";
import { hasNoDatastore } from "../state/store";
import { ended } from "../state/tasks";
import { FormDialog, ask } from "../ui/dialog";
import { Icon } from "../ui/icons";
import { Empty, IconButton, Loading, Table } from "../ui/parts";
import { toast, toastProblem } from "../ui/toast";
import { type StoredObject, loadStorage, objects } from "./stored";
import { UPLOAD_KINDS } from "./transfer";
import { NewUploads } from "./new-uploads";
import { belongsTo, goOn } from "./uploads";
import { NameField } from "./volumes";

/** The word before `:` says what an object is. */
export function kindOf(name: string): { kind: string; rest: string } {
  const at = name.indexOf(":");
  return at < 0 ? { kind: "", rest: name } : { kind: name.slice(0, at), rest: name.slice(at + 1) };
}

const showsAll = signal(false);
const isUseful = ({ name }: StoredObject): boolean => (UPLOAD_KINDS as readonly string[]).includes(kindOf(name).kind);

export function Files() {
  const [chosen, setChosen] = useState<readonly File[]>([]);
  const [imported, setImported] = useState<StoredObject | null>(null);
  const list = objects.value;
  if (!list) return <Loading />;
  const shown = showsAll.value ? list : list.filter(isUseful);
  return (
    <div class="stack">
      {may("operator") ? <Drop take={(files) => setChosen(leftOf(files))} /> : null}
      <label class="check">
        <input
          type="checkbox"
          checked={showsAll.value}
          onChange={(event) => {
            showsAll.value = event.currentTarget.checked;
          }}
        />
        {t("file.all")}
      </label>
      {shown.length === 0 ? (
        <section class="card">
          <Empty icon="box" title={t("file.none")} text={t("file.none.text")} />
        </section>
      ) : (
        <Table
          label={t("storage.tab.files")}
          columns={[t("storage.name"), t("file.kind"), [t("storage.size"), "number"]]}
          hasActions
        >
          {shown.map((object) => (
            <Row key={object.name} object={object} choose={setImported} />
          ))}
        </Table>
      )}
      {chosen.length > 0 ? <NewUploads files={chosen} close={() => setChosen([])} /> : null}
      {imported ? <Import object={imported} close={() => setImported(null)} /> : null}
    </div>
  );
}

/** A file whose upload was cut goes on at once; the others are to be named first. */
function leftOf(files: readonly File[]): File[] {
  return files.filter((file) => {
    const upload = belongsTo(file);
    if (upload) goOn(upload, file);
    return !upload;
  });
}

function Drop({ take }: { take: (files: readonly File[]) => void }) {
  const [isOver, setOver] = useState(false);
  const input = useRef<HTMLInputElement>(null);
  const id = useId();
  return (
    <div
      class={isOver ? "drop over" : "drop"}
      onDragOver={(event) => {
        event.preventDefault();
        setOver(true);
      }}
      onDragLeave={() => setOver(false)}
      onDrop={(event) => {
        event.preventDefault();
        setOver(false);
        take([...(event.dataTransfer?.files ?? [])]);
      }}
    >
      <Icon name="upload" />
      <p>
        <label for={id} class="button">
          {t("file.choose")}
        </label>
        <input
          ref={input}
          id={id}
          type="file"
          multiple
          class="only-heard"
          onChange={(event) => {
            take([...(event.currentTarget.files ?? [])]);
            event.currentTarget.value = "";
          }}
        />
      </p>
      <p class="muted only-wide">{t("file.drop")}</p>
      <p class="small muted">{t("file.drop.text")}</p>
    </div>
  );
}

function Row({ object, choose }: { object: StoredObject; choose: (object: StoredObject) => void }) {
  const { name } = object;
  const { kind, rest } = kindOf(name);
  const canImport = may("operator") && !hasNoDatastore.value && (kind === "image" || kind === "iso");
  return (
    <tr>
      <td class="wrap-any">{rest}</td>
      <td class="nowrap">{word("file.kind", kind)}</td>
      <td class="number">{bytes(object.bytes)}</td>
      <td>
        <div class="actions">
          {canImport ? (
            <button type="button" class="button quiet" aria-label={t("import.of", { name: rest })} onClick={() => choose(object)}>
              <Icon name="disk" />
              <span class="only-wide">{t("import.verb")}</span>
            </button>
          ) : null}
          {may("operator") ? (
            <a
              class="button quiet icon"
              href={url("/api/v1/objects/{object}", { at: { object: name } })}
              download={rest}
              aria-label={t("file.download", { name: rest })}
              title={t("file.download.verb")}
            >
              <Icon name="download" />
            </a>
          ) : null}
          {may("administrator") ? (
            <IconButton
              icon="trash"
              label={t("storage.delete", { name: rest })}
              title={t("action.delete")}
              onClick={() => drop(object)}
            />
          ) : null}
        </div>
      </td>
    </tr>
  );
}

function drop({ name, bytes: size }: StoredObject): void {
  const { rest } = kindOf(name);
  ask({
    title: t("storage.delete.title", { name: rest }),
    lost: [t("file.delete.lost", { size: bytes(size) }), t("file.delete.kept")],
    verb: t("action.delete"),
    async work() {
      await remove("/api/v1/objects/{object}", { at: { object: name } });
      toast(t("storage.deleted", { name: rest }));
      await loadStorage();
    },
  });
}

/** What a volume made of a file is called: its name without the ending. */
export const volumeName = (name: string): string => kindOf(name).rest.replace(/\.(qcow2|raw|img|iso)$/i, "") || "volume";

function Import({ object, close }: { object: StoredObject; close: () => void }) {
  const [name, setName] = useState(volumeName(object.name));
  async function work(): Promise<void> {
    const task = await post("/api/v1/imports", { body: { object: object.name, volume: name } });
    toast(t("import.begun", { name }));
    // It is a task: the dialog closes, and its end is said wherever the user is by then.
    void ended(task).then(() => {
      toast(t("import.done", { name }));
      return loadStorage();
    }, toastProblem);
  }
  return (
    <FormDialog
      title={t("import.of", { name: kindOf(object.name).rest })}
      submit={t("import.verb")}
      isReady={name !== ""}
      close={close}
      work={work}
    >
      <NameField value={name} set={setName} />
      <p class="muted">{t("import.text")}</p>
    </FormDialog>
  );
}
