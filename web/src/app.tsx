// Which of the three: log in, change the password, or the application, which is loaded only then.

import type { ComponentType } from "preact";
import { useEffect, useState } from "preact/hooks";
import { t } from "./i18n";
import { Login } from "./pages/login";
import { FirstPassword } from "./pages/password";
import { findSession, session } from "./state/session";
import { ProblemNotice } from "./ui/problem";

const AGAIN_AFTER = 3000;

export function App() {
  const [error, setError] = useState<unknown>(null);
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const ask = (): void => {
      findSession().then(
        () => setError(null),
        (failed: unknown) => {
          setError(failed);
          timer = setTimeout(ask, AGAIN_AFTER);
        },
      );
    };
    ask();
    return () => clearTimeout(timer);
  }, []);

  const who = session.value;
  if (who === null) return <Login />;
  if (who?.must_change_password) return <FirstPassword />;
  if (who) return <Shell />;
  return (
    <div class="gate" aria-busy="true">
      <main>{error ? <ProblemNotice error={error} /> : <p class="muted">{t("app.loading")}</p>}</main>
    </div>
  );
}

function Shell() {
  const [Loaded, setLoaded] = useState<ComponentType | null>(null);
  useEffect(() => {
    void import("./shell/shell").then(({ Shell: shell }) => setLoaded(() => shell));
  }, []);
  return Loaded ? <Loaded /> : null;
}
