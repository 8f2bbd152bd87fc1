// What a new VM boots: firmware, or a kernel. Most people never look here.

import { useId } from "preact/hooks";
import { t } from "../i18n";
import { Card } from "../ui/parts";
import { type BootBy, bare, offered } from "./plan";
import { type PartProps, ofKind } from "./wizard";

const WAYS: readonly BootBy[] = ["firmware", "kernel"];

export function BootFields({ wishes, set, objects }: PartProps) {
  const firmware = ofKind(objects, "firmware", "file").map(({ name }) => bare(name));
  const files = ofKind(objects, "file").map(({ name }) => bare(name));
  const summary = wishes.bootBy === "firmware" ? wishes.firmware || t("wizard.boot.missing") : wishes.kernel;
  const isMissing = wishes.bootBy === "firmware" ? wishes.firmware === "" : wishes.kernel === "";
  return (
    <Card class="boot">
      <details open={isMissing}>
        <summary>
          <strong>{t("wizard.boot")}</strong> <span class="muted">{summary}</span>
        </summary>
        <div class="stack">
          <div class="row" role="radiogroup" aria-label={t("wizard.boot")}>
            {WAYS.map((way) => (
              <label key={way} class="check">
                <input
                  type="radio"
                  name="boot"
                  checked={wishes.bootBy === way}
                  onChange={() => set({ bootBy: way })}
                />
                {t(`wizard.boot.${way}`)}
              </label>
            ))}
          </div>
          {wishes.bootBy === "firmware" ? (
            <Choice
              label={t("vm.firmware")}
              names={firmware}
              value={wishes.firmware}
              missing={t("wizard.boot.firmware.none")}
              choose={(name) => set({ firmware: name })}
            />
          ) : (
            <KernelFields wishes={wishes} set={set} files={files} />
          )}
        </div>
      </details>
    </Card>
  );
}

function KernelFields({ wishes, set, files }: Pick<PartProps, "wishes" | "set"> & { files: string[] }) {
  const id = useId();
  return (
    <>
      <Choice
        label={t("vm.kernel")}
        names={files}
        value={wishes.kernel}
        missing={t("wizard.boot.kernel.none")}
        choose={(kernel) => set({ kernel })}
      />
      {files.length > 0 ? (
        <Choice
          label={t("wizard.initrd")}
          names={["", ...files]}
          value={wishes.initrd}
          missing=""
          choose={(initrd) => set({ initrd })}
        />
      ) : null}
      <div class="field">
        <label for={id}>{t("vm.command_line")}</label>
        <input
          id={id}
          class="mono"
          maxLength={2047}
          spellcheck={false}
          placeholder="console=ttyAMA0 root=/dev/vda1"
          value={wishes.commandLine}
          onInput={(event) => set({ commandLine: event.currentTarget.value })}
        />
      </div>
    </>
  );
}

interface ChoiceProps {
  label: string;
  names: readonly string[];
  value: string;
  missing: string;
  choose: (name: string) => void;
}

function Choice({ label, names, value, missing, choose }: ChoiceProps) {
  const id = useId();
  if (names.length === 0) {
    return (
      <p class="notice warn">
        <span>
          {missing} <a href="/storage">{t("wizard.upload")}</a>
        </span>
      </p>
    );
  }
  return (
    <div class="field">
      <label for={id}>{label}</label>
      <select id={id} value={value} onChange={(event) => choose(event.currentTarget.value)}>
        {offered(names, value).map((name) => (
          <option key={name} value={name}>
            {name || "—"}
          </option>
        ))}
      </select>
    </div>
  );
}
