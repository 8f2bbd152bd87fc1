// The first page: who are you, and is this the host that you think it is?

import { useEffect, useRef, useState } from "preact/hooks";
import { caFingerprint } from "../api/fingerprint";
import { t } from "../i18n";
import { hasEnded, logIn } from "../state/session";
import { ProblemNotice } from "../ui/problem";
import { Gate } from "./gate";

export function Login() {
  const [user, setUser] = useState("admin");
  const [password, setPassword] = useState("");
  const [isShown, setShown] = useState(false);
  const [isBusy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const field = useRef<HTMLInputElement>(null);
  useEffect(() => field.current?.focus(), []);

  async function submit(event: Event): Promise<void> {
    event.preventDefault();
    setBusy(true);
    setError(null);
    try {
      await logIn(user, password);
    } catch (failed) {
      setError(failed);
      setBusy(false);
      field.current?.select();
    }
  }

  return (
    <Gate>
      <section class="card stack" aria-labelledby="login">
        <h1 id="login">{t("login.title")}</h1>
        {hasEnded.value ? <p class="notice">{t("login.over")}</p> : null}
        <form onSubmit={(event) => void submit(event)}>
          <div class="field">
            <label for="user">{t("login.user")}</label>
            <input
              id="user"
              autocomplete="username"
              autocapitalize="none"
              spellcheck={false}
              required
              value={user}
              onInput={(event) => setUser(event.currentTarget.value)}
            />
          </div>
          <div class="field">
            <label for="password">{t("login.password")}</label>
            <div class="with-button">
              <input
                id="password"
                ref={field}
                type={(isShown ? "text" : "password") as "password"}
                autocomplete="current-password"
                required
                value={password}
                onInput={(event) => setPassword(event.currentTarget.value)}
              />
              <button
                type="button"
                class="button icon"
                aria-pressed={isShown}
                aria-label={t(isShown ? "login.hide" : "login.show")}
                onClick={() => setShown(!isShown)}
              >
                <svg viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="1.8" aria-hidden="true">
                  <path d="M2.5 12S6 5.5 12 5.5 21.5 12 21.5 12 18 18.5 12 18.5 2.5 12 2.5 12z" />
                  {isShown ? <path d="M4 4l16 16" /> : <circle cx="12" cy="12" r="3" />}
                </svg>
              </button>
            </div>
          </div>
          <ProblemNotice error={error} />
          <button class="button primary" disabled={isBusy}>
            {t(isBusy ? "login.busy" : "login.submit")}
          </button>
        </form>
        <p class="small muted">{t("login.first")}</p>
        <Fingerprint />
      </section>
    </Gate>
  );
}

function Fingerprint() {
  const [hex, setHex] = useState<string | null>(null);
  const isEncrypted = location.protocol === "https:";
  useEffect(() => {
    // Without a CA there is nothing to compare.
    if (isEncrypted) caFingerprint().then(setHex, () => setHex(null));
  }, []);
  if (!isEncrypted) return <p class="notice warn small">{t("fingerprint.plain")}</p>;
  return (
    <details>
      <summary>{t("fingerprint.title")}</summary>
      <div>
        <p>{t("fingerprint.why")}</p>
        <code class="fingerprint" aria-label={t("fingerprint.label")}>
          {hex ?? "…"}
        </code>
        <p>{t("fingerprint.same")}</p>
        <a href="/api/v1/ca.pem" download="bramble-ca.pem">
          {t("fingerprint.trust")}
        </a>
      </div>
    </details>
  );
}
