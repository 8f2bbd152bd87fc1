// An event as a sentence.

import { isKey, t, word } from "../i18n";
import type { HostEvent } from "../state/events";
import { at } from "../state/router";
import { taskName } from "./task";

type Data = Record<string, unknown>;

/** What happened, without what it is about. */
export function eventText({ kind, data }: HostEvent): string {
  const more = (data ?? {}) as Data;
  if (kind === "vm.power") return t("event.vm.power", { power: word("power", String(more.power)).toLocaleLowerCase() });
  if (kind === "task") return `${taskName(String(more.what))}: ${word("task.state", String(more.state))}`;
  const key = `event.${kind}`;
  return isKey(key) ? t(key) : kind;
}

/** What it is about: the name of a VM, a user, an object. */
export function eventSubject({ kind, subject, data }: HostEvent): string {
  return kind === "task" ? String((data as Data | undefined)?.target ?? "") : subject;
}

export function EventLine({ event }: { event: HostEvent }) {
  const subject = eventSubject(event);
  const isVm = event.kind.startsWith("vm.") && event.kind !== "vm.removed";
  return (
    <span class="wrap-any">
      {subject ? (
        <>
          {isVm ? <a href={at("vms", subject)}>{subject}</a> : <strong>{subject}</strong>}{" "}
        </>
      ) : null}
      {eventText(event)}
    </span>
  );
}
