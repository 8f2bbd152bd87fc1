// Tokens: what tools log in with. A token's secret is shown once, when it is made.

import { useId, useState } from "preact/hooks";
import { type Schemas, all, get, post, remove } from "../api/client";
import { t } from "../i18n";
import { moment } from "../i18n/format";
import { now } from "../state/clock";
import { may } from "../state/session";
import { Dialog, FormDialog, ask } from "../ui/dialog";
import { Icon } from "../ui/icons";
import { Empty, IconButton, Loading, Table, When } from "../ui/parts";
import { ProblemNotice } from "../ui/problem";
import { attempt, toast } from "../ui/toast";
import { useList } from "./load";
import { type Role, RoleField } from "./role";

type Token = Schemas["Token"];
type Made = Schemas["MadeToken"];

const loadTokens = (): Promise<Token[]> => all((query) => get("/api/v1/tokens", { query }));
const SOON = 14 * 86_400;

export function Tokens() {
  const { list, error, reload } = useList(loadTokens);
  const [isAsking, setAsking] = useState(false);
  const [made, setMade] = useState<Made | null>(null);
  return (
    <div class="stack">
      <ProblemNotice error={error} />
      <p class="muted">{t("tokens.text")}</p>
      <div class="row">
        <button type="button" class="button" onClick={() => setAsking(true)}>
          <Icon name="plus" />
          {t("tokens.new")}
        </button>
      </div>
      {list ? <TokenList list={list} reload={reload} /> : error ? null : <Loading />}
      {isAsking ? <NewToken close={() => setAsking(false)} show={setMade} reload={reload} /> : null}
      {made ? <Secret made={made} close={() => setMade(null)} /> : null}
    </div>
  );
}

function TokenList({ list, reload }: { list: readonly Token[]; reload: () => Promise<void> }) {
  if (list.length === 0) {
    return (
      <section class="card">
        <Empty icon="key" title={t("tokens.none")} />
      </section>
    );
  }
  const whose = may("administrator") ? [t("tokens.user")] : [];
  const columns = [t("tokens.name"), ...whose, t("users.role"), t("tokens.ends")];
  return (
    <Table label={t("tokens.title")} columns={[...columns, [t("users.made"), "only-wide"]]} hasActions>
      {list.map((token) => (
        <Row key={token.id} token={token} reload={reload} />
      ))}
    </Table>
  );
}

function Row({ token, reload }: { token: Token; reload: () => Promise<void> }) {
  return (
    <tr>
      <td class="wrap-any">
        <strong>{token.name}</strong>
      </td>
      {may("administrator") ? <td>{token.user}</td> : null}
      <td>{t(`users.role.${token.role}`)}</td>
      <td>
        <Ends at={token.expires_at ?? null} />
      </td>
      <td class="only-wide">
        <When at={token.created_at} />
      </td>
      <td>
        <div class="actions">
          <IconButton
            icon="trash"
            label={t("storage.delete", { name: token.name })}
            title={t("action.delete")}
            onClick={() => drop(token, reload)}
          />
        </div>
      </td>
    </tr>
  );
}

function Ends({ at }: { at: number | null }) {
  if (at === null) return <>{t("tokens.never")}</>;
  const left = at - now.value;
  if (left <= 0) return <span class="badge bad">{t("tokens.over")}</span>;
  const time = <span data-volatile>{moment(at)}</span>;
  return left < SOON ? <span class="badge warn">{time}</span> : time;
}

function drop({ id, name }: Token, reload: () => Promise<void>): void {
  ask({
    title: t("storage.delete.title", { name }),
    lost: [t("tokens.delete.lost")],
    verb: t("action.delete"),
    async work() {
      await remove("/api/v1/tokens/{token}", { at: { token: id } });
      toast(t("storage.deleted", { name }));
      await reload();
    },
  });
}

interface NewProps {
  close: () => void;
  show: (made: Made) => void;
  reload: () => Promise<void>;
}

function NewToken({ close, show, reload }: NewProps) {
  const id = useId();
  const [name, setName] = useState("");
  const [days, setDays] = useState(90);
  const [role, setRole] = useState<Role>("viewer");
  async function work(): Promise<void> {
    show(await post("/api/v1/tokens", { body: { name, days, role } }));
    await reload();
  }
  return (
    <FormDialog title={t("tokens.new")} submit={t("wizard.create")} close={close} work={work}>
      <div class="field">
        <label for={id}>{t("tokens.name")}</label>
        <input
          id={id}
          required
          maxLength={64}
          autocomplete="off"
          value={name}
          onInput={(event) => setName(event.currentTarget.value)}
        />
        <p class="hint">{t("tokens.name.hint")}</p>
      </div>
      <div class="field">
        <label for={`${id}-days`}>{t("tokens.days")}</label>
        <input
          id={`${id}-days`}
          type="number"
          required
          min={1}
          max={3650}
          value={days}
          onInput={(event) => setDays(event.currentTarget.valueAsNumber)}
        />
      </div>
      <RoleField value={role} set={setRole} />
    </FormDialog>
  );
}

function Secret({ made, close }: { made: Made; close: () => void }) {
  const copy = (): Promise<boolean> => attempt(() => navigator.clipboard.writeText(made.secret), t("console.copied"));
  return (
    <Dialog title={made.token.name} close={close}>
      <p class="notice warn">{t("tokens.once")}</p>
      <code class="fingerprint" aria-label={t("tokens.secret")} data-volatile>
        {made.secret}
      </code>
      <p class="small muted">
        {t("tokens.use")} <code>Authorization: Bearer …</code>
      </p>
      <footer>
        <button type="button" class="button" onClick={() => void copy()}>
          <Icon name="clone" />
          {t("console.copy")}
        </button>
        <button type="button" class="button primary" onClick={close}>
          {t("action.close")}
        </button>
      </footer>
    </Dialog>
  );
}
