// The host's power. Before anything happens it says what becomes of which VM.

import { useState } from "preact/hooks";
import { type Schemas, post } from "../api/client";
import { t } from "../i18n";
import { noteTask, vmList } from "../state/store";
import { FormDialog } from "../ui/dialog";
import { Icon } from "../ui/icons";
import { Card } from "../ui/parts";

type Action = Schemas["HostAction"];

export function HostPower() {
  const [asked, setAsked] = useState<Action | null>(null);
  return (
    <Card title={t("hostpage.power")}>
      <div class="stack">
        <p class="muted">{t("hostpage.power.text")}</p>
        <div class="row">
          <button type="button" class="button" onClick={() => setAsked("restart")}>
            <Icon name="reset" />
            {t("hostpage.power.restart")}
          </button>
          <button type="button" class="button" onClick={() => setAsked("turn-off")}>
            <Icon name="power" />
            {t("hostpage.power.turn-off")}
          </button>
        </div>
      </div>
      {asked ? <Confirm action={asked} close={() => setAsked(null)} /> : null}
    </Card>
  );
}

function Confirm({ action, close }: { action: Action; close: () => void }) {
  const [atOnce, setAtOnce] = useState(false);
  const live = (vmList.value ?? []).filter(({ power }) => power !== "off");
  const names = live.map(({ name }) => name).join(", ");
  async function work(): Promise<void> {
    noteTask(await post("/api/v1/host/power", { body: { action, at_once: atOnce } }));
  }
  return (
    <FormDialog title={t(`hostpage.power.${action}.title`)} submit={t(`hostpage.power.${action}`)} isDangerous close={close} work={work}>
      <ul class="lost">
        {live.length === 0 ? <li>{t("hostpage.power.none")}</li> : <li>{t(atOnce ? "hostpage.power.lost" : "hostpage.power.vms", { names })}</li>}
        <li>{t(action === "restart" ? "hostpage.power.restart.then" : "hostpage.power.turn-off.then")}</li>
      </ul>
      {live.length > 0 ? (
        <label class="check">
          <input type="checkbox" checked={atOnce} onChange={(event) => setAtOnce(event.currentTarget.checked)} />
          {t("hostpage.power.at-once")}
        </label>
      ) : null}
    </FormDialog>
  );
}
