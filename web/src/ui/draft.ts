// A form over what the host has. What was typed stays until it is saved or undone, whoever changes the host meanwhile.

import { useEffect, useState } from "preact/hooks";
import { t } from "../i18n";
import { guardLeaving } from "../state/router";

export interface Draft<T> {
  wanted: T;
  set: (change: Partial<T>) => void;
  /** Of what was shown when the change began: the host refuses a change of what is something else by now. */
  tag: string;
  hasChanged: boolean;
  /** Someone else was faster. */
  isOvertaken: boolean;
  /** It is what the host has now. */
  saved: () => void;
  undo: () => void;
}

/** Begins with what is there; asks before the page is left with something that is not saved. */
export function useDraft<T extends object>(present: T, tag: string): Draft<T> {
  const [draft, setDraft] = useState({ wanted: present, of: present, tag });
  const hasChanged = JSON.stringify(draft.wanted) !== JSON.stringify(draft.of);
  const undo = (): void => setDraft({ wanted: present, of: present, tag });
  useEffect(() => {
    if (!hasChanged && draft.tag !== tag) undo();
  }, [tag, hasChanged]);
  useEffect(() => {
    guardLeaving(hasChanged ? () => confirm(t("settings.leave")) : null);
    return () => guardLeaving(null);
  }, [hasChanged]);
  return {
    wanted: draft.wanted,
    set: (change) => setDraft((before) => ({ ...before, wanted: { ...before.wanted, ...change } })),
    tag: draft.tag,
    hasChanged,
    isOvertaken: hasChanged && draft.tag !== tag,
    saved: () => setDraft((before) => ({ ...before, of: before.wanted })),
    undo,
  };
}
