// What helps to find a fault, as a file: the host makes it while it is fetched.

import { t } from "../i18n";
import { Icon } from "../ui/icons";
import { Card } from "../ui/parts";

export const SupportBundle = () => (
  <Card title={t("hostpage.bundle")}>
    <div class="stack">
      <p class="muted">{t("hostpage.bundle.text")}</p>
      <div class="row">
        <a class="button" href="/api/v1/host/support-bundle" download="bramble-support.tar">
          <Icon name="download" />
          {t("hostpage.bundle.save")}
        </a>
      </div>
    </div>
  </Card>
);
