// Dialogs, by the browser's own <dialog>: it keeps the focus inside and gives it back.

import { signal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useId, useRef, useState } from "preact/hooks";
import { t } from "../i18n";
import { IconButton } from "./parts";
import { ProblemNotice } from "./problem";

interface DialogProps {
  title: string;
  close: () => void;
  children: ComponentChildren;
  wide?: boolean;
}

/** Where a form begins. */
const FIELDS = "form input:not([hidden]), form select, form textarea";

export function Dialog({ title, close, children, wide }: DialogProps) {
  const dialog = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => {
    const opened = dialog.current;
    const before = document.activeElement;
    if (opened && !opened.open) opened.showModal();
    // What is asked for comes first; where nothing is, the button that does nothing.
    opened?.querySelector<HTMLElement>(`${FIELDS}, footer .button`)?.focus();
    return () => {
      opened?.close();
      if (before instanceof HTMLElement && before.isConnected) before.focus();
    };
  }, []);
  return (
    <dialog
      ref={dialog}
      class={wide ? "dialog wide" : "dialog"}
      aria-labelledby={id}
      onCancel={(event) => {
        event.preventDefault();
        close();
      }}
      onMouseDown={(event) => {
        if (event.target === dialog.current) close();
      }}
    >
      <div class="inside">
        <header>
          <h2 id={id}>{title}</h2>
          <IconButton icon="close" label={t("action.close")} onClick={close} />
        </header>
        {children}
      </div>
    </dialog>
  );
}

interface FormDialogProps {
  title: string;
  submit: string;
  isDangerous?: boolean;
  isReady?: boolean;
  close: () => void;
  /** What the form is for; when it fails, the dialog stays and says why. */
  work: () => Promise<unknown>;
  children?: ComponentChildren;
}

/** A dialog that asks for something and does it. */
export function FormDialog({ title, submit, isDangerous, isReady = true, close, work, children }: FormDialogProps) {
  const [isBusy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);
  async function go(event: Event): Promise<void> {
    event.preventDefault();
    setBusy(true);
    setError(null);
    try {
      await work();
      close();
    } catch (failed) {
      setError(failed);
      setBusy(false);
    }
  }
  return (
    <Dialog title={title} close={close}>
      <form class="stack" onSubmit={(event) => void go(event)}>
        {children}
        <ProblemNotice error={error} />
        <footer>
          <button type="button" class="button" onClick={close}>
            {t("action.cancel")}
          </button>
          <button class={isDangerous ? "button danger" : "button primary"} disabled={isBusy || !isReady}>
            {submit}
          </button>
        </footer>
      </form>
    </Dialog>
  );
}

export interface Question {
  title: string;
  /** What is lost. Each is a line of its own. */
  lost: readonly string[];
  /** What the button says: the verb, not "OK". */
  verb: string;
  /** To be typed before the button works, for what can't be undone. */
  type?: string;
  work: () => Promise<unknown>;
}

const question = signal<Question | null>(null);

/** Asks before something is lost, and does it when the answer is yes. */
export const ask = (asked: Question): void => {
  question.value = asked;
};

export function Questions() {
  const asked = question.value;
  if (!asked) return null;
  return <Asked key={asked.title} asked={asked} />;
}

function Asked({ asked }: { asked: Question }) {
  const [typed, setTyped] = useState("");
  const id = useId();
  return (
    <FormDialog
      title={asked.title}
      submit={asked.verb}
      isDangerous
      isReady={!asked.type || typed === asked.type}
      close={() => {
        question.value = null;
      }}
      work={asked.work}
    >
      <ul class="lost">
        {asked.lost.map((line) => (
          <li key={line}>{line}</li>
        ))}
      </ul>
      {asked.type ? (
        <div class="field">
          <label for={id}>{t("ask.type", { name: asked.type })}</label>
          <input
            id={id}
            autocomplete="off"
            autocapitalize="none"
            spellcheck={false}
            value={typed}
            onInput={(event) => setTyped(event.currentTarget.value)}
          />
        </div>
      ) : null}
    </FormDialog>
  );
}
