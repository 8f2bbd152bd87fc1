// Who may do what: users, who is logged in, and tokens for tools.

import { Sessions } from "../access/sessions";
import { Tokens } from "../access/tokens";
import { Users } from "../access/users";
import { t } from "../i18n";
import { segments } from "../state/router";
import { may } from "../state/session";
import { Head } from "../ui/parts";

export default function Access() {
  // Users are an administrator's; everyone has tokens and sessions.
  const first = may("administrator") ? "users" : "tokens";
  const wanted = segments.value[1];
  const shown = wanted === "tokens" || wanted === "sessions" ? wanted : first;
  const tab = (name: string, href: string, title: string) => (
    <a href={href} aria-current={shown === name ? "page" : undefined}>
      {title}
    </a>
  );
  return (
    <div class="page">
      <Head title={t("nav.users")} />
      <nav class="tabs" aria-label={t("nav.users")}>
        {may("administrator") ? tab("users", "/users", t("users.title")) : null}
        {tab("tokens", "/users/tokens", t("tokens.title"))}
        {tab("sessions", "/users/sessions", t("sessions.title"))}
      </nav>
      {shown === "users" ? <Users /> : shown === "tokens" ? <Tokens /> : <Sessions />}
    </div>
  );
}
