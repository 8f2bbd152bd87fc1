// Uploads: how far each is, how to pause it, how to go on with one that was cut.

import { useId, useState } from "preact/hooks";
import { t } from "../i18n";
import { bytes, duration, percent } from "../i18n/format";
import { may } from "../state/session";
import { ask } from "../ui/dialog";
import { Icon } from "../ui/icons";
import { Card, IconButton } from "../ui/parts";
import { ProblemNotice } from "../ui/problem";
import { attempt } from "../ui/toast";
import { kindOf } from "./files";
import type { Upload } from "./transfer";
import { type Running, dismiss, giveUp, goOn, interrupted, pauseUpload, remembered, resume, running } from "./uploads";

export function UploadList() {
  const live = running.value;
  const cut = interrupted.value;
  if (!may("operator") || live.length + cut.length === 0) return null;
  return (
    <Card title={t("upload.list")}>
      <ul class="list">
        {live.map((upload) => (
          <Line key={upload.id} upload={upload} />
        ))}
        {cut.map((upload) => (
          <Interrupted key={upload.id} upload={upload} />
        ))}
      </ul>
    </Card>
  );
}

function Line({ upload }: { upload: Running }) {
  const { id, state, offset, bytes: size, sha256 } = upload;
  const { rest } = kindOf(upload.name);
  const isDone = state === "done" || state === "unchecked";
  const isOver = isDone || state === "differs";
  const tone = isDone ? "good" : state === "failed" || state === "differs" ? "bad" : "";
  return (
    <li>
      <span class={tone}>
        <Icon name={isDone ? "check" : tone ? "alert" : "upload"} />
      </span>
      <div class="grow stack-small">
        <p class="wrap-any">
          <strong>{rest}</strong>
        </p>
        {isOver ? null : <progress max={size} value={offset} aria-label={t("upload.of", { name: rest })} />}
        <p class="small muted" data-volatile>
          {t(`upload.state.${state}`)} · {t("upload.far", { done: bytes(offset), size: bytes(size), share: percent(offset / size) })}
          {state === "sending" && upload.speed ? <Speed upload={upload} speed={upload.speed} /> : null}
        </p>
        <p class="only-heard" role="status">
          {rest}: {t(`upload.state.${state}`)}
        </p>
        {sha256 ? (
          <p class="small muted wrap-any">
            SHA-256 <code>{sha256}</code>
          </p>
        ) : null}
        {state === "differs" ? <p class="notice bad">{t("upload.differs.text")}</p> : null}
        <ProblemNotice error={upload.error} />
      </div>
      <div class="row">
        {state === "sending" || state === "waiting" ? (
          <button type="button" class="button quiet" onClick={() => pauseUpload(id)}>
            <Icon name="pause" />
            {t("action.pause")}
          </button>
        ) : null}
        {state === "paused" || state === "failed" ? (
          <button type="button" class="button quiet" onClick={() => void resume(id)}>
            <Icon name="play" />
            {t("action.resume")}
          </button>
        ) : null}
        {isOver ? (
          <IconButton icon="close" label={t("action.dismiss")} onClick={() => dismiss(id)} />
        ) : state === "checking" ? null : (
          <GiveUp id={id} name={rest} offset={offset} />
        )}
      </div>
    </li>
  );
}

const Speed = ({ upload, speed }: { upload: Running; speed: number }) => (
  <>
    {" · "}
    {t("upload.speed", { speed: bytes(speed), left: duration((upload.bytes - upload.offset) / Math.max(1, speed)) })}
  </>
);

function GiveUp({ id, name, offset }: { id: string; name: string; offset: number }) {
  const confirm = (): void =>
    ask({
      title: t("upload.drop.title", { name }),
      lost: [t("upload.drop.lost", { size: bytes(offset) })],
      verb: t("upload.drop"),
      work: () => giveUp(id),
    });
  return <IconButton icon="trash" label={t("upload.drop.of", { name })} title={t("upload.drop")} onClick={confirm} />;
}

/** One without its file: a page may not open a file again by itself, so it is to be chosen once more. */
function Interrupted({ upload }: { upload: Upload }) {
  const [wrong, setWrong] = useState("");
  const id = useId();
  const { rest } = kindOf(upload.name);
  const kept = remembered().find((one) => one.id === upload.id);
  async function take(file: File | undefined): Promise<void> {
    if (!file) return;
    if (file.size !== upload.bytes) setWrong(t("upload.other", { size: bytes(upload.bytes) }));
    else await attempt(async () => goOn(upload, file));
  }
  return (
    <li>
      <Icon name="pause" />
      <div class="grow stack-small">
        <p class="wrap-any">
          <strong>{rest}</strong>
        </p>
        <progress max={upload.bytes} value={upload.offset} aria-label={t("upload.of", { name: rest })} />
        <p class="small muted">
          {t("upload.state.interrupted")} ·{" "}
          {t("upload.far", {
            done: bytes(upload.offset),
            size: bytes(upload.bytes),
            share: percent(upload.offset / upload.bytes),
          })}
        </p>
        <p class="small">{kept ? t("upload.again", { file: kept.file }) : t("upload.again.any")}</p>
        {wrong ? (
          <p class="small bad" role="alert">
            {wrong}
          </p>
        ) : null}
      </div>
      <div class="row">
        <label for={id} class="button quiet">
          <Icon name="play" />
          {t("upload.choose")}
        </label>
        <input
          id={id}
          type="file"
          class="only-heard"
          onChange={(event) => {
            void take(event.currentTarget.files?.[0]);
            event.currentTarget.value = "";
          }}
        />
        <GiveUp id={upload.id} name={rest} offset={upload.offset} />
      </div>
    </li>
  );
}
