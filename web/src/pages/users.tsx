// Who may do what: users, and tokens for tools.

import { t } from "../i18n";
import { segments } from "../state/router";
import { may } from "../state/session";
import { Tokens } from "../access/tokens";
import { Users } from "../access/users";
import { Head } from "../ui/parts";

export default function Access() {
  // Users are an administrator's; everyone has tokens.
  const showsUsers = may("administrator") && segments.value[1] !== "tokens";
  return (
    <div class="page">
      <Head title={t("nav.users")} />
      <nav class="tabs" aria-label={t("nav.users")}>
        {may("administrator") ? (
          <a href="/users" aria-current={showsUsers ? "page" : undefined}>
            {t("users.title")}
          </a>
        ) : null}
        <a href="/users/tokens" aria-current={showsUsers ? undefined : "page"}>
          {t("tokens.title")}
        </a>
      </nav>
      {showsUsers ? <Users /> : <Tokens />}
    </div>
  );
}
