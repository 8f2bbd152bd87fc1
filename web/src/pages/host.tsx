// The host itself: who it is, what its log says, its power.

import { t } from "../i18n";
import { segments } from "../state/router";
import { Identity } from "../host/identity";
import { HostLog } from "../host/log";
import { HostPower } from "../host/power";
import { may } from "../state/session";
import { host } from "../state/store";
import { Head } from "../ui/parts";
import "../styles/host.css";

export default function HostPage() {
  const showsLog = segments.value[1] === "log";
  return (
    <div class="page">
      <Head title={t("nav.host")} />
      <nav class="tabs" aria-label={t("nav.host")}>
        <a href="/host" aria-current={showsLog ? undefined : "page"}>
          {t("hostpage.about")}
        </a>
        <a href="/host/log" aria-current={showsLog ? "page" : undefined}>
          {t("hostpage.log")}
        </a>
      </nav>
      {showsLog ? (
        <HostLog />
      ) : (
        <>
          <Identity />
          {may("administrator") && host.value ? <HostPower /> : null}
        </>
      )}
    </div>
  );
}
