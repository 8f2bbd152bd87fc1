// Who the host is: its software, its clock, its certificate authority.

import { useEffect, useState } from "preact/hooks";
import { caFingerprint } from "../api/fingerprint";
import { t } from "../i18n";
import { bytes, duration, moment, number } from "../i18n/format";
import { host } from "../state/store";
import { Icon } from "../ui/icons";
import { Card, Fact, Facts, Loading } from "../ui/parts";

/** The browser has no digests on a plain connection that is not to this machine. */
const isSecure = location.protocol === "https:";

export function Identity() {
  const state = host.value;
  if (!state) return <Loading />;
  return (
    <>
      <Card title={t("hostpage.about")}>
        <Facts>
          <Fact name={t("hostpage.version")}>{state.version}</Fact>
          <Fact name={t("hostpage.uptime")}>
            <span data-volatile>{duration(state.uptime_seconds)}</span>
          </Fact>
          <Fact name={t("hostpage.time")}>
            <span data-volatile>{moment(state.now)}</span>{" "}
            <span class={state.is_synchronized ? "badge good" : "badge warn"}>
              {t(state.is_synchronized ? "hostpage.synchronized" : "hostpage.unsynchronized")}
            </span>
          </Fact>
          <Fact name={t("host.pes")}>{number(state.pes)}</Fact>
          <Fact name={t("hostpage.memory")}>{bytes(state.host_bytes)}</Fact>
          <Fact name={t("hostpage.hostd")}>
            <span data-volatile>
              {t("hostpage.hostd.of", { used: bytes(state.hostd_touched_bytes), size: bytes(state.hostd_bytes) })}
            </span>
          </Fact>
          <Fact name={t("hostpage.generation")}>
            {number(state.generation)}
            {state.last_end ? ` (${state.last_end})` : ""}
          </Fact>
        </Facts>
      </Card>
      <Authority />
    </>
  );
}

function Authority() {
  const [digest, setDigest] = useState("");
  useEffect(() => {
    if (isSecure) caFingerprint().then(setDigest, () => setDigest(""));
  }, []);
  return (
    <Card title={t("hostpage.ca")}>
      {isSecure ? (
        <div class="stack">
          <p class="muted">{t("hostpage.ca.text")}</p>
          <code class="fingerprint" aria-label={t("fingerprint.label")} data-volatile>
            {digest || "…"}
          </code>
          <div class="row">
            <a class="button" href="/api/v1/ca.pem" download="bramble-ca.pem">
              <Icon name="download" />
              {t("fingerprint.trust")}
            </a>
          </div>
        </div>
      ) : (
        <p class="notice warn">{t("fingerprint.plain")}</p>
      )}
    </Card>
  );
}
