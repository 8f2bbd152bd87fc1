// The host's log: what its vmkernel says, live.

import { useEffect, useRef, useState } from "preact/hooks";
import { get } from "../api/client";
import { t } from "../i18n";
import { has } from "../activity/filter";
import { Icon } from "../ui/icons";
import { Loading } from "../ui/parts";
import { ProblemNotice } from "../ui/problem";
import { type LogLine, joined } from "./lines";

const EVERY = 2000;

function save(lines: readonly LogLine[]): void {
  const file = URL.createObjectURL(new Blob([`${lines.map(({ text }) => text).join("\n")}\n`], { type: "text/plain" }));
  const link = document.createElement("a");
  link.href = file;
  link.download = "host.log";
  link.click();
  setTimeout(() => URL.revokeObjectURL(file), 60_000);
}

/** Asks for what was added since, as long as it is shown and looked at. */
function useLog(): { lines: readonly LogLine[] | null; error: unknown } {
  const [lines, setLines] = useState<readonly LogLine[] | null>(null);
  const [error, setError] = useState<unknown>(null);
  useEffect(() => {
    const over = new AbortController();
    let from = 0;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const look = async (): Promise<void> => {
      try {
        if (document.visibilityState === "visible") {
          const page = await get("/api/v1/host/logs", { query: { from }, signal: over.signal });
          // A host that was restarted begins its log anew.
          const isNew = page.next < from;
          from = isNew ? 0 : page.next;
          setLines((old) => joined(isNew ? [] : (old ?? []), page));
          setError(null);
        }
      } catch (failed) {
        if (over.signal.aborted) return;
        setError(failed);
      }
      if (!over.signal.aborted) timer = setTimeout(() => void look(), EVERY);
    };
    void look();
    return () => {
      over.abort();
      clearTimeout(timer);
    };
  }, []);
  return { lines, error };
}

export function HostLog() {
  const { lines, error } = useLog();
  const [text, setText] = useState("");
  const frame = useRef<HTMLDivElement>(null);
  const isAtEnd = useRef(true);
  const shown = (lines ?? []).filter((line) => has(text, line.text));
  useEffect(() => {
    // Who scrolled up reads something: the end does not pull them away.
    if (isAtEnd.current) frame.current?.scrollTo(0, frame.current.scrollHeight);
  }, [shown.length]);
  if (!lines) return error ? <ProblemNotice error={error} /> : <Loading />;
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
        <span class="grow" />
        <button type="button" class="button" onClick={() => save(lines)}>
          <Icon name="download" />
          {t("hostpage.log.save")}
        </button>
      </div>
      <div
        ref={frame}
        class="host-log"
        role="log"
        aria-label={t("hostpage.log")}
        aria-live="off"
        tabIndex={0}
        onScroll={(event) => {
          const { scrollHeight, scrollTop, clientHeight } = event.currentTarget;
          isAtEnd.current = scrollHeight - scrollTop - clientHeight < 24;
        }}
      >
        {shown.length === 0 ? <p class="muted">{t("activity.none")}</p> : null}
        {shown.map((line) => (
          <div key={line.position}>{line.text}</div>
        ))}
      </div>
      <p class="small muted">{t("hostpage.log.text")}</p>
    </div>
  );
}
