// What dropped files become: each with its kind and its name, to be confirmed.

import { useId, useState } from "preact/hooks";
import { t, word } from "../i18n";
import { bytes } from "../i18n/format";
import { FormDialog } from "../ui/dialog";
import { objects } from "./stored";
import { UPLOAD_KINDS, isGoodName, nameOf } from "./transfer";
import { begin } from "./uploads";

interface Draft {
  file: File;
  kind: string;
  name: string;
}

function wrongOf({ file, kind, name }: Draft, others: readonly Draft[]): string | null {
  if (file.size === 0) return t("file.empty");
  if (!isGoodName(name)) return t("file.name.rule");
  const object = `${kind}:${name}`;
  const isTaken = objects.value?.some((one) => one.name === object) || others.some((one) => `${one.kind}:${one.name}` === object);
  return isTaken ? t("file.name.taken") : null;
}

export function NewUploads({ files, close }: { files: readonly File[]; close: () => void }) {
  const [drafts, setDrafts] = useState<readonly Draft[]>(files.map((file) => ({ file, ...nameOf(file.name) })));
  const wrongs = drafts.map((draft, at) => wrongOf(draft, drafts.slice(0, at)));
  const set = (at: number, to: Partial<Draft>): void =>
    setDrafts(drafts.map((draft, index) => (index === at ? { ...draft, ...to } : draft)));
  async function work(): Promise<void> {
    let rest = drafts;
    while (rest[0]) {
      await begin(`${rest[0].kind}:${rest[0].name}`, rest[0].file);
      // When one fails, those before it are not begun again.
      rest = rest.slice(1);
      if (rest.length > 0) setDrafts(rest);
    }
  }
  return (
    <FormDialog title={t("upload.title")} submit={t("upload.verb")} isReady={wrongs.every((wrong) => !wrong)} close={close} work={work}>
      {drafts.map((draft, at) => (
        <DraftFields key={draft.file.name} draft={draft} wrong={wrongs[at] ?? null} set={(to) => set(at, to)} />
      ))}
    </FormDialog>
  );
}

function DraftFields({ draft, wrong, set }: { draft: Draft; wrong: string | null; set: (to: Partial<Draft>) => void }) {
  const id = useId();
  return (
    <fieldset class="draft">
      <legend class="wrap-any">
        {draft.file.name} ({bytes(draft.file.size)})
      </legend>
      <div class="field">
        <label for={`${id}-kind`}>{t("file.kind")}</label>
        <select id={`${id}-kind`} value={draft.kind} onChange={(event) => set({ kind: event.currentTarget.value })}>
          {UPLOAD_KINDS.map((kind) => (
            <option key={kind} value={kind}>
              {word("file.kind", kind)}
            </option>
          ))}
        </select>
      </div>
      <div class="field">
        <label for={`${id}-name`}>{t("storage.name")}</label>
        <input
          id={`${id}-name`}
          autocomplete="off"
          spellcheck={false}
          value={draft.name}
          aria-invalid={wrong ? "true" : undefined}
          aria-describedby={wrong ? `${id}-wrong` : undefined}
          onInput={(event) => set({ name: event.currentTarget.value })}
        />
        {wrong ? (
          <p class="wrong" id={`${id}-wrong`}>
            {wrong}
          </p>
        ) : null}
      </div>
    </fieldset>
  );
}
