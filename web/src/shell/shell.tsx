// The application's frame.

import { t } from "../i18n";
import { logOut, session } from "../state/session";

export function Shell() {
  return (
    <>
      <a href="#content">{t("app.skip")}</a>
      <main id="content">
        {session.value?.user} <button onClick={() => void logOut()}>{t("session.end")}</button>
      </main>
    </>
  );
}
