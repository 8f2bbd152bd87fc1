// What the host used.

import { get } from "../api/client";
import { Charts } from "../charts/history";
import { t } from "../i18n";
import { Head } from "../ui/parts";

export default function Performance() {
  return (
    <div class="page">
      <Head title={t("nav.performance")} />
      <Charts of="host" load={(query) => get("/api/v1/host/history", { query })} empty="chart.none.host" />
    </div>
  );
}
