// The audit log: who did what, newest first, and all of it as a file that shows by its digests that nothing is missing.

import { useEffect, useState } from "preact/hooks";
import { type Schemas, get } from "../api/client";
import { t } from "../i18n";
import { moment } from "../i18n/format";
import { onReset } from "../state/events";
import { Icon } from "../ui/icons";
import { Empty, Loading, Table } from "../ui/parts";
import { ProblemNotice } from "../ui/problem";
import { attempt } from "../ui/toast";
import { has, pageBefore, readEntry } from "./filter";
import "../styles/activity.css";

type Entry = Schemas["AuditEntry"];
const SIZE = 100;

const page = (from: number, limit: number) => get("/api/v1/audit", { query: { from, limit } });

/** The entries before a number; the newest ones where there is none. */
async function entriesBefore(first?: number): Promise<Entry[]> {
  const wanted = pageBefore(first ?? (await page(1, 1)).last + 1, SIZE);
  return wanted ? (await page(wanted.from, wanted.limit)).items : [];
}

/** All entries, one JSON text a line: `hash` of each is `before` of the next. */
async function download(): Promise<void> {
  const lines: string[] = [];
  for (let from: number | null | undefined = 1; from; ) {
    const some: Schemas["AuditPage"] = await page(from, 200);
    lines.push(...some.items.map((entry) => JSON.stringify(entry)));
    from = some.next;
  }
  const file = URL.createObjectURL(new Blob([`${lines.join("\n")}\n`], { type: "application/x-ndjson" }));
  const link = document.createElement("a");
  link.href = file;
  link.download = "audit.jsonl";
  link.click();
  setTimeout(() => URL.revokeObjectURL(file), 60_000);
}

export function Audit() {
  const [entries, setEntries] = useState<readonly Entry[] | null>(null);
  const [error, setError] = useState<unknown>(null);
  const [text, setText] = useState("");
  const [onlyRefused, setOnlyRefused] = useState(false);
  const load = (before?: number): Promise<void> =>
    entriesBefore(before).then((found) => {
      setEntries((old) => (before === undefined ? found : [...found, ...(old ?? [])]));
      setError(null);
    }, setError);
  useEffect(() => {
    void load();
    return onReset(() => void load());
  }, []);
  if (!entries) return error ? <ProblemNotice error={error} /> : <Loading />;
  const first = entries[0]?.number ?? 1;
  const shown = entries.filter((entry) => (!onlyRefused || readEntry(entry).refused) && has(text, entry.text));
  return (
    <div class="stack">
      <ProblemNotice error={error} />
      <div class="row filter">
        <input
          type="search"
          aria-label={t("activity.find")}
          placeholder={t("activity.find")}
          value={text}
          onInput={(event) => setText(event.currentTarget.value)}
        />
        <label class="check">
          <input type="checkbox" checked={onlyRefused} onChange={(event) => setOnlyRefused(event.currentTarget.checked)} />
          {t("audit.refused.only")}
        </label>
        <span class="grow" />
        <button type="button" class="button" onClick={() => void load()}>
          <Icon name="reset" />
          {t("audit.refresh")}
        </button>
        <button type="button" class="button" onClick={() => void attempt(download)}>
          <Icon name="download" />
          {t("audit.export")}
        </button>
      </div>
      <p class="only-heard" role="status">
        {t("activity.found", { count: shown.length })}
      </p>
      <Entries entries={shown} />
      {first > 1 ? (
        <div class="row">
          <button type="button" class="button" onClick={() => void load(first)}>
            {t("audit.older")}
          </button>
        </div>
      ) : null}
      <p class="small muted">{t("audit.text")}</p>
    </div>
  );
}

function Entries({ entries }: { entries: readonly Entry[] }) {
  if (entries.length === 0) {
    return (
      <section class="card">
        <Empty icon="search" title={t("activity.none")} />
      </section>
    );
  }
  const columns = [t("audit.when"), t("audit.who"), t("audit.what"), t("audit.target"), t("audit.change")];
  return (
    <Table label={t("audit.title")} columns={columns}>
      {[...entries].reverse().map((entry) => (
        <Row key={entry.number} entry={entry} />
      ))}
    </Table>
  );
}

function Row({ entry }: { entry: Entry }) {
  const { who, from, by, what, target, before, after, refused, count } = readEntry(entry);
  return (
    <tr>
      <td class="nowrap" data-volatile>
        {moment(entry.at)}
      </td>
      <td>
        <strong>{who}</strong>
        <br />
        <span class="small muted" data-volatile>
          {from} {by}
        </span>
      </td>
      <td>
        <code>{what}</code> {count && count > 1 ? <span class="badge">× {count}</span> : null}
        {refused ? (
          <>
            <br />
            <span class="badge bad">{t("audit.refused", { why: refused })}</span>
          </>
        ) : null}
      </td>
      <td class="wrap-any" data-volatile>
        {target}
      </td>
      <td>
        {before === undefined && after === undefined ? null : (
          <details class="small">
            <summary>{t("audit.show")}</summary>
            {before === undefined ? null : <Told label={t("audit.before")} value={before} />}
            {after === undefined ? null : <Told label={t("audit.after")} value={after} />}
          </details>
        )}
      </td>
    </tr>
  );
}

const Told = ({ label, value }: { label: string; value: unknown }) => (
  <div>
    <span class="muted">{label}</span>
    <pre class="told">{JSON.stringify(value, null, 1)}</pre>
  </div>
);
