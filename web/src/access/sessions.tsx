// Sessions: who is logged in with a browser; for administrators also who has to wait after wrong passwords.

import { type Schemas, all, get, remove } from "../api/client";
import { t } from "../i18n";
import { duration } from "../i18n/format";
import { may } from "../state/session";
import { ask } from "../ui/dialog";
import { Empty, IconButton, Loading, Table, When } from "../ui/parts";
import { ProblemNotice } from "../ui/problem";
import { attempt, toast } from "../ui/toast";
import { useList } from "./load";

type Session = Schemas["OpenSession"];
type LockOut = Schemas["LockOut"];

const loadSessions = (): Promise<Session[]> => all((query) => get("/api/v1/sessions", { query }));
const loadLockOuts = (): Promise<LockOut[]> => all((query) => get("/api/v1/lock-outs", { query }));

export function Sessions() {
  const { list, error, reload } = useList(loadSessions);
  return (
    <div class="stack">
      <ProblemNotice error={error} />
      <p class="muted">{t("sessions.text")}</p>
      {list ? (
        <Table
          label={t("sessions.title")}
          columns={[t("tokens.user"), t("sessions.from"), t("sessions.used"), [t("sessions.began"), "only-wide"]]}
          hasActions
        >
          {list.map((session) => (
            <SessionRow key={session.id} session={session} reload={reload} />
          ))}
        </Table>
      ) : error ? null : (
        <Loading />
      )}
      {may("administrator") ? <LockOuts /> : null}
    </div>
  );
}

function SessionRow({ session, reload }: { session: Session; reload: () => Promise<void> }) {
  const { id, user, from } = session;
  function end(): void {
    ask({
      title: t("sessions.end.title", { user, from }),
      lost: [t("sessions.end.lost")],
      verb: t("sessions.end"),
      async work() {
        await remove("/api/v1/sessions/{session}", { at: { session: id } });
        toast(t("sessions.ended", { user }));
        await reload();
      },
    });
  }
  return (
    <tr>
      <td>
        <span class="row">
          <strong class="wrap-any">{user}</strong>
          {session.is_own ? <span class="badge">{t("sessions.own")}</span> : null}
        </span>
      </td>
      <td class="wrap-any">{from}</td>
      <td>
        <When at={session.used_at} />
      </td>
      <td class="only-wide">
        <When at={session.began_at} />
      </td>
      <td>
        <div class="actions">
          {session.is_own ? null : (
            <IconButton
              icon="close"
              label={t("sessions.end.of", { user, from })}
              title={t("sessions.end")}
              onClick={end}
            />
          )}
        </div>
      </td>
    </tr>
  );
}

function LockOuts() {
  const { list, error, reload } = useList(loadLockOuts);
  return (
    <section class="stack">
      <h2>{t("lockouts.title")}</h2>
      <ProblemNotice error={error} />
      {list && list.length > 0 ? (
        <Table
          label={t("lockouts.title")}
          columns={[t("tokens.user"), t("sessions.from"), t("lockouts.wrong"), t("lockouts.left")]}
          hasActions
        >
          {list.map((lockOut) => (
            <LockOutRow key={lockOut.id} lockOut={lockOut} reload={reload} />
          ))}
        </Table>
      ) : list ? (
        <section class="card">
          <Empty icon="check" title={t("lockouts.none")} />
        </section>
      ) : null}
    </section>
  );
}

function LockOutRow({ lockOut, reload }: { lockOut: LockOut; reload: () => Promise<void> }) {
  const { id, user, from } = lockOut;
  async function clear(): Promise<void> {
    await remove("/api/v1/lock-outs/{lock_out}", { at: { lock_out: id } });
    await reload();
  }
  return (
    <tr>
      <td class="wrap-any">
        <strong>{user}</strong>
      </td>
      <td class="wrap-any">{from}</td>
      <td>{lockOut.wrong}</td>
      <td data-volatile>{duration(lockOut.seconds)}</td>
      <td>
        <div class="actions">
          <IconButton
            icon="key"
            label={t("lockouts.clear.of", { user, from })}
            title={t("lockouts.clear")}
            onClick={() => void attempt(clear, t("lockouts.cleared", { user }))}
          />
        </div>
      </td>
    </tr>
  );
}
