// The host itself: who it is, its settings, what its log says, its power.

import { t } from "../i18n";
import { segments } from "../state/router";
import { SupportBundle } from "../host/bundle";
import { Identity } from "../host/identity";
import { HostLog } from "../host/log";
import { HostPower } from "../host/power";
import { HostSettings } from "../host/settings-form";
import { may } from "../state/session";
import { host } from "../state/store";
import { Head } from "../ui/parts";
import "../styles/host.css";

const TABS = ["about", "settings", "log"] as const;

export default function HostPage() {
  const tab = TABS.find((name) => name === segments.value[1]) ?? "about";
  return (
    <div class="page">
      <Head title={t("nav.host")} />
      <nav class="tabs" aria-label={t("nav.host")}>
        {TABS.map((name) => (
          <a key={name} href={name === "about" ? "/host" : `/host/${name}`} aria-current={name === tab ? "page" : undefined}>
            {t(`hostpage.${name}`)}
          </a>
        ))}
      </nav>
      {tab === "log" ? <HostLog /> : null}
      {tab === "settings" ? <HostSettings /> : null}
      {tab === "about" ? (
        <>
          <Identity />
          {may("administrator") && host.value ? (
            <>
              <SupportBundle />
              <HostPower />
            </>
          ) : null}
        </>
      ) : null}
    </div>
  );
}
