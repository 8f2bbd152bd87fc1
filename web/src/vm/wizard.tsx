// A new VM: from an image, from an installer's ISO, or from nothing. One page; everything has a value that works.

import { useEffect, useId, useState } from "preact/hooks";
import { type Schemas, all, get } from "../api/client";
import { t } from "../i18n";
import { bytes } from "../i18n/format";
import { at, go } from "../state/router";
import { may } from "../state/session";
import { hasNoDatastore, host, vms } from "../state/store";
import { Icon } from "../ui/icons";
import { Card, Empty, Head, Loading } from "../ui/parts";
import { ProblemNotice } from "../ui/problem";
import { BootFields } from "./boot";
import { type Step, make, stepsOf } from "./make";
import { type Source, type Wishes, bare, bestBoot, isName, nameFrom } from "./plan";

type Objects = readonly Schemas["Object"][];
const SOURCES: readonly Source[] = ["image", "iso", "nothing"];
const MEMORY = [256, 512, 1024, 2048, 4096, 8192, 16384, 32768];
const MIB = 2 ** 20;

const taken = (name: string): boolean => vms.value?.has(name) ?? false;
export const ofKind = (objects: Objects, ...kinds: string[]): Objects =>
  objects.filter(({ name }) => kinds.some((kind) => name.startsWith(`${kind}:`)));

function first(objects: Objects): Wishes {
  const images = ofKind(objects, "image");
  const isos = ofKind(objects, "iso");
  const source: Source = images.length ? "image" : isos.length ? "iso" : "nothing";
  const object = images[0]?.name ?? isos[0]?.name ?? "";
  const names = (kind: string): string[] => ofKind(objects, kind).map(({ name }) => bare(name));
  const free = host.value?.free_bytes ?? Infinity;
  return {
    source,
    object,
    name: nameFrom(object || "vm:vm", taken),
    vcpus: Math.min(2, host.value?.pes ?? 2),
    memoryMiB: free >= 2048 * MIB ? 1024 : free >= 1024 * MIB ? 512 : 256,
    diskGiB: source === "image" ? 0 : 8,
    ...bestBoot(names("firmware"), names("file")),
    commandLine: "console=ttyAMA0 root=/dev/vda1 rw",
    hasCard: true,
    autostart: true,
  };
}

export function Wizard() {
  const [objects, setObjects] = useState<Objects | null>(null);
  const [error, setError] = useState<unknown>(null);
  useEffect(() => {
    all((query) => get("/api/v1/objects", { query })).then(setObjects, setError);
  }, []);
  const isReady = objects && host.value && vms.value;
  return (
    <div class="page narrow">
      <Head title={t("vm.new")} up={{ to: "/vms", name: t("nav.vms") }} />
      <ProblemNotice error={error} />
      {!may("administrator") ? <Empty icon="vm" title={t("wizard.role")} /> : null}
      {may("administrator") && isReady ? <Start objects={objects} /> : null}
      {!isReady && !error ? <Loading /> : null}
    </div>
  );
}

function Start({ objects }: { objects: Objects }) {
  if (hasNoDatastore.value) {
    return (
      <Card>
        <Empty icon="disk" title={t("datastore.none")} text={t("wizard.datastore")}>
          <a class="button primary" href="/storage">
            {t("datastore.make")}
          </a>
        </Empty>
      </Card>
    );
  }
  return <Form objects={objects} />;
}

function Form({ objects }: { objects: Objects }) {
  const [wishes, setWishes] = useState<Wishes>(() => first(objects));
  const [starts, setStarts] = useState(true);
  const [step, setStep] = useState<Step | null>(null);
  const [error, setError] = useState<unknown>(null);
  const [done] = useState(() => new Set<Step>());
  const set = (change: Partial<Wishes>): void => setWishes((before) => ({ ...before, ...change }));
  const steps = stepsOf(wishes, starts);
  const isBusy = step !== null && error === null;
  const boots = wishes.bootBy === "firmware" ? wishes.firmware !== "" : wishes.kernel !== "";
  const isReady =
    isName(wishes.name) && (!taken(wishes.name) || done.has("vm")) && boots && (wishes.source === "nothing" || wishes.object !== "");

  async function submit(event: Event): Promise<void> {
    event.preventDefault();
    setError(null);
    try {
      await make(wishes, steps, done, setStep);
      go(at("vms", wishes.name, "console"));
    } catch (failed) {
      setError(failed);
    }
  }

  return (
    <form class="stack" onSubmit={(event) => void submit(event)}>
      <fieldset class="stack" disabled={isBusy || done.size > 0}>
        <legend class="only-heard">{t("vm.new")}</legend>
        <SourceCard wishes={wishes} set={set} objects={objects} />
        <SizeCard wishes={wishes} set={set} />
        <BootFields wishes={wishes} set={set} objects={objects} />
      </fieldset>
      {step ? <Progress steps={steps} now={step} done={done} failed={error !== null} /> : null}
      <ProblemNotice error={error} />
      {error && done.size > 0 ? <p class="muted">{t("wizard.again.text")}</p> : null}
      <div class="row">
        <label class="check">
          <input
            type="checkbox"
            checked={starts}
            disabled={isBusy}
            onChange={(event) => setStarts(event.currentTarget.checked)}
          />
          {t("wizard.start")}
        </label>
        <span class="grow" />
        <a class="button" href="/vms">
          {t("action.cancel")}
        </a>
        <button class="button primary" disabled={isBusy || !isReady}>
          {t(error && done.size > 0 ? "wizard.again" : "wizard.create")}
        </button>
      </div>
    </form>
  );
}

export interface PartProps {
  wishes: Wishes;
  set: (change: Partial<Wishes>) => void;
  objects: Objects;
}

function SourceCard({ wishes, set, objects }: PartProps) {
  const id = useId();
  const choose = (source: Source): void => {
    const object = source === "nothing" ? "" : (ofKind(objects, source)[0]?.name ?? "");
    set({ source, object, name: nameFrom(object || "vm:vm", taken), diskGiB: source === "image" ? 0 : 8 });
  };
  const list = wishes.source === "nothing" ? [] : ofKind(objects, wishes.source);
  return (
    <Card title={t("wizard.source")}>
      <div class="stack">
        <div class="choices" role="radiogroup" aria-label={t("wizard.source")}>
          {SOURCES.map((source) => (
            <label key={source} class="choice">
              <input
                type="radio"
                name="source"
                checked={wishes.source === source}
                onChange={() => choose(source)}
              />
              <span>
                <span class="title">{t(`wizard.source.${source}`)}</span>
                <br />
                <span class="small muted">{t(`wizard.source.${source}.text`)}</span>
              </span>
            </label>
          ))}
        </div>
        {list.length > 0 ? (
          <div class="field">
            <label for={id}>{t(wishes.source === "iso" ? "wizard.iso" : "wizard.image")}</label>
            <select
              id={id}
              value={wishes.object}
              onChange={(event) => {
                const object = event.currentTarget.value;
                set({ object, name: nameFrom(object, taken) });
              }}
            >
              {list.map(({ name, bytes: size }) => (
                <option key={name} value={name}>
                  {bare(name)} ({bytes(size)})
                </option>
              ))}
            </select>
          </div>
        ) : null}
        {wishes.source !== "nothing" && list.length === 0 ? (
          <p class="notice">
            <span>
              {t("wizard.source.missing")} <a href="/storage">{t("wizard.upload")}</a>
            </span>
          </p>
        ) : null}
      </div>
    </Card>
  );
}

function SizeCard({ wishes, set }: Omit<PartProps, "objects">) {
  const id = useId();
  const isTaken = taken(wishes.name);
  const isBad = wishes.name !== "" && (!isName(wishes.name) || isTaken);
  const free = host.value?.free_bytes ?? 0;
  return (
    <Card title={t("wizard.size")}>
      <div class="fields">
        <div class="field">
          <label for={`${id}name`}>{t("vm.name")}</label>
          <input
            id={`${id}name`}
            required
            maxLength={32}
            autocomplete="off"
            autocapitalize="none"
            spellcheck={false}
            aria-invalid={isBad}
            aria-describedby={`${id}rule`}
            value={wishes.name}
            onInput={(event) => set({ name: event.currentTarget.value })}
          />
          <span class={isBad ? "wrong" : "hint"} id={`${id}rule`}>
            {t(isTaken ? "wizard.name.taken" : "wizard.name.rule")}
          </span>
        </div>
        <div class="field">
          <label for={`${id}vcpus`}>{t("vm.vcpus")}</label>
          <input
            id={`${id}vcpus`}
            type="number"
            min={1}
            max={8}
            required
            value={wishes.vcpus}
            onInput={(event) => {
              // An empty field is on its way to a number.
              const { valueAsNumber: vcpus } = event.currentTarget;
              if (!Number.isNaN(vcpus)) set({ vcpus });
            }}
          />
          <span class="hint">{t("wizard.vcpus", { count: host.value?.pes ?? 0 })}</span>
        </div>
        <div class="field">
          <label for={`${id}memory`}>{t("vm.memory")}</label>
          <select
            id={`${id}memory`}
            value={wishes.memoryMiB}
            onChange={(event) => set({ memoryMiB: Number(event.currentTarget.value) })}
          >
            {MEMORY.map((size) => (
              <option key={size} value={size} disabled={size * MIB > free}>
                {bytes(size * MIB)}
              </option>
            ))}
          </select>
          <span class="hint" data-volatile>
            {t("wizard.memory", { size: bytes(free) })}
          </span>
        </div>
        <div class="field">
          <label for={`${id}disk`}>{t("wizard.disk")}</label>
          <input
            id={`${id}disk`}
            type="number"
            min={wishes.source === "image" ? 0 : 1}
            max={65536}
            value={wishes.diskGiB}
            onInput={(event) => set({ diskGiB: event.currentTarget.valueAsNumber || 0 })}
          />
          <span class="hint">{t(wishes.source === "image" ? "wizard.disk.image" : "wizard.disk.text")}</span>
        </div>
      </div>
      <div class="row checks">
        <label class="check">
          <input
            type="checkbox"
            checked={wishes.hasCard}
            onChange={(event) => set({ hasCard: event.currentTarget.checked })}
          />
          {t("wizard.card")}
        </label>
        <label class="check">
          <input
            type="checkbox"
            checked={wishes.autostart}
            onChange={(event) => set({ autostart: event.currentTarget.checked })}
          />
          {t("vm.autostart.yes")}
        </label>
      </div>
    </Card>
  );
}

function Progress({ steps, now, done, failed }: { steps: Step[]; now: Step; done: Set<Step>; failed: boolean }) {
  return (
    <ol class="progress-steps" aria-live="polite">
      {steps.map((step) => (
        <li key={step} class={done.has(step) ? "done" : step === now && failed ? "failed" : ""}>
          {done.has(step) ? <Icon name="check" /> : null}
          {step === now && !failed && !done.has(step) ? <span class="spinner" aria-hidden="true" /> : null}
          {step === now && failed ? <Icon name="alert" /> : null}
          {t(`wizard.step.${step}`)}
        </li>
      ))}
    </ol>
  );
}
