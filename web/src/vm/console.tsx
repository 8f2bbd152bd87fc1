// A VM's console in the page: live, with what was said before, copy and paste.

import { useEffect, useRef, useState } from "preact/hooks";
import { post, url } from "../api/client";
import { t, word } from "../i18n";
import { number } from "../i18n/format";
import { onReset } from "../state/events";
import { may } from "../state/session";
import { noteTask } from "../state/store";
import { Icon } from "../ui/icons";
import { attempt, toast } from "../ui/toast";
import { type Shown, consoleName } from "./detail";
import { ConsoleLink, type LinkState } from "./link";
import { type Screen, openTerminal } from "./terminal";

const CONSOLE = "/api/v1/vms/{vm}/consoles/{console}";

export function Console({ vm }: Shown) {
  const frame = useRef<HTMLDivElement>(null);
  const screen = useRef<Screen | null>(null);
  const link = useRef<ConsoleLink | null>(null);
  const [state, setState] = useState<LinkState>("connecting");
  const names = vm.consoles.map(({ name }) => name);
  const name = names.includes(consoleName.value) ? consoleName.value : names[0];
  const mayType = may("operator");

  useEffect(() => {
    if (!frame.current || !name) return;
    const opened = openTerminal(frame.current);
    const { terminal } = opened;
    const connected = new ConsoleLink(url(CONSOLE, { at: { vm: vm.name, console: name } }), {
      bytes: (bytes) => terminal.write(bytes),
      gap: (bytes) => terminal.write(`\r\n\x1b[7m ${t("console.gap", { bytes: number(bytes) })} \x1b[0m\r\n`),
      state: setState,
    });
    screen.current = opened;
    link.current = connected;
    const stop = onReset(() => connected.renew());
    const typed = terminal.onData((text) => {
      if (mayType) connected.type(text);
    });
    // Ctrl-Shift-C and Ctrl-Shift-V, as in terminals; Ctrl-C is the guest's.
    terminal.attachCustomKeyEventHandler((event) => {
      if (event.type !== "keydown" || !event.ctrlKey || !event.shiftKey) return true;
      if (event.code === "KeyC") {
        event.preventDefault();
        copy(opened);
        return false;
      }
      return event.code !== "KeyV";
    });
    terminal.focus();
    return () => {
      stop();
      typed.dispose();
      connected.close();
      opened.end();
    };
  }, [vm.name, name]);

  async function paste(): Promise<void> {
    const text = await navigator.clipboard.readText();
    screen.current?.terminal.paste(text);
    screen.current?.terminal.focus();
  }

  return (
    <section class="console" aria-label={t("vm.console.of", { name: vm.name })}>
      <div class="row">
        {names.length > 1 ? (
          <label class="picker">
            {t("console.which")}
            <select
              value={name}
              onChange={(event) => {
                consoleName.value = event.currentTarget.value;
              }}
            >
              {names.map((known) => (
                <option key={known} value={known}>
                  {word("console", known)}
                </option>
              ))}
            </select>
          </label>
        ) : null}
        <span class={`badge lit ${state === "open" ? "good" : "warn"}`} role="status">
          {t(`console.state.${state}`)}
        </span>
        {mayType ? null : <span class="muted small">{t("console.viewer")}</span>}
        <span class="grow" />
        <button type="button" class="button quiet" onClick={() => screen.current && copy(screen.current)}>
          <Icon name="clone" />
          {t("console.copy")}
        </button>
        {mayType ? (
          <button type="button" class="button quiet" onClick={() => void attempt(paste)}>
            <Icon name="edit" />
            {t("console.paste")}
          </button>
        ) : null}
      </div>
      {vm.power === "off" ? <Off name={vm.name} /> : null}
      <div class="terminal" ref={frame} />
      <p class="small muted">{t("console.keys")}</p>
    </section>
  );
}

function copy({ terminal }: Screen): void {
  const text = terminal.getSelection();
  if (!text) {
    toast(t("console.copy.none"));
    return;
  }
  void attempt(() => navigator.clipboard.writeText(text), t("console.copied"));
}

const Off = ({ name }: { name: string }) => (
  <div class="notice">
    <p class="grow">{t("console.off")}</p>
    {may("operator") ? (
      <button
        type="button"
        class="button primary"
        onClick={() =>
          void attempt(async () =>
            noteTask(await post("/api/v1/vms/{vm}/power", { at: { vm: name }, body: { action: "on" } })),
          )
        }
      >
        <Icon name="play" />
        {t("action.on")}
      </button>
    ) : null}
  </div>
);
