// A new password, which the first login demands.

import { useEffect, useRef, useState } from "preact/hooks";
import { t } from "../i18n";
import { changePassword, session } from "../state/session";
import { ProblemNotice } from "../ui/problem";
import { Gate } from "./gate";

export function FirstPassword() {
  return (
    <Gate>
      <section class="card stack" aria-labelledby="change">
        <h1 id="change">{t("password.title")}</h1>
        <p class="muted">{t("password.must")}</p>
        <PasswordForm />
      </section>
    </Gate>
  );
}

export function PasswordForm({ done }: { done?: () => void }) {
  const [current, setCurrent] = useState("");
  const [changed, setChanged] = useState("");
  const [again, setAgain] = useState("");
  const [isBusy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const first = useRef<HTMLInputElement>(null);
  useEffect(() => first.current?.focus(), []);
  const doDiffer = again !== "" && again !== changed;

  async function submit(event: Event): Promise<void> {
    event.preventDefault();
    if (again !== changed) return;
    setBusy(true);
    setError(null);
    try {
      await changePassword(current, changed);
      done?.();
    } catch (failed) {
      setError(failed);
    } finally {
      setBusy(false);
    }
  }

  return (
    <form class="stack" onSubmit={(event) => void submit(event)}>
      <input type="text" name="user" autocomplete="username" value={session.value?.user ?? ""} readOnly hidden />
      <div class="field">
        <label for="current">{t("password.current")}</label>
        <input
          id="current"
          ref={first}
          type="password"
          autocomplete="current-password"
          required
          value={current}
          onInput={(event) => setCurrent(event.currentTarget.value)}
        />
      </div>
      <div class="field">
        <label for="new">{t("password.new")}</label>
        <input
          id="new"
          type="password"
          autocomplete="new-password"
          minLength={10}
          maxLength={256}
          required
          aria-describedby="rule"
          value={changed}
          onInput={(event) => setChanged(event.currentTarget.value)}
        />
        <span class="hint" id="rule">
          {t("password.rule")}
        </span>
      </div>
      <div class="field">
        <label for="again">{t("password.again")}</label>
        <input
          id="again"
          type="password"
          autocomplete="new-password"
          required
          aria-invalid={doDiffer}
          aria-describedby="differ"
          value={again}
          onInput={(event) => setAgain(event.currentTarget.value)}
        />
        <span class="wrong" id="differ" role="status">
          {doDiffer ? t("password.differ") : ""}
        </span>
      </div>
      <ProblemNotice error={error} />
      <button class="button primary" disabled={isBusy || again !== changed}>
        {t("password.submit")}
      </button>
    </form>
  );
}
