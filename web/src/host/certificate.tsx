// The host's own certificate, and how it is made anew.

import { useCallback, useEffect, useState } from "preact/hooks";
import { type Schemas, get, post } from "../api/client";
import { t } from "../i18n";
import { moment } from "../i18n/format";
import { may } from "../state/session";
import { Card, Fact, Facts } from "../ui/parts";
import { attempt } from "../ui/toast";

export function Certificate() {
  const [certificate, setCertificate] = useState<Schemas["HostCertificate"] | null>(null);
  const load = useCallback(() => get("/api/v1/host/certificate").then(setCertificate, () => setCertificate(null)), []);
  useEffect(() => void load(), [load]);
  if (!certificate) return null;
  const renew = async (): Promise<void> => {
    await attempt(() => post("/api/v1/host/certificate/renew"), t("hostset.certificate.renewed"));
    await load();
  };
  return (
    <Card title={t("hostset.certificate")}>
      <div class="stack">
        <Facts>
          <Fact name={t("hostset.certificate.names")}>
            <span class="mono wrap-any">{certificate.names.join(", ")}</span>
          </Fact>
          <Fact name={t("hostset.certificate.from")}>
            <span data-volatile>{moment(certificate.valid_from)}</span>
          </Fact>
          <Fact name={t("hostset.certificate.until")}>
            <span data-volatile>{moment(certificate.valid_until)}</span>
          </Fact>
          <Fact name="SHA-256">
            <code class="wrap-any" data-volatile>
              {certificate.sha256}
            </code>
          </Fact>
        </Facts>
        {may("administrator") ? (
          <div class="row">
            <button type="button" class="button" onClick={() => void renew()}>
              {t("hostset.certificate.renew")}
            </button>
            <span class="muted">{t("hostset.certificate.text")}</span>
          </div>
        ) : null}
      </div>
    </Card>
  );
}
