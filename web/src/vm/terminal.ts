// A terminal of xterm.js that a strict content security policy lets live.

import { FitAddon } from "@xterm/addon-fit";
import { Terminal } from "@xterm/xterm";
import "@xterm/xterm/css/xterm.css";
import { colour } from "../ui/colour";

/** xterm.js writes rules into <style> elements, which the policy forbids. Its document gives it an element whose text goes
 * to a style sheet made by a script, which is allowed. */
function ruled(): HTMLElement {
  const element = document.createElement("template");
  const sheet = new CSSStyleSheet();
  document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
  Object.defineProperty(element, "textContent", {
    set: (text: string) => sheet.replaceSync(text),
    get: () => "",
  });
  const { remove } = element;
  element.remove = () => {
    document.adoptedStyleSheets = document.adoptedStyleSheets.filter((other) => other !== sheet);
    remove.call(element);
  };
  return element;
}

const strict = new Proxy(document, {
  get(target, name) {
    if (name === "createElement") {
      return (kind: string) => (kind === "style" ? ruled() : target.createElement(kind));
    }
    const value: unknown = Reflect.get(target, name, target);
    return typeof value === "function" ? value.bind(target) : value;
  },
  set: (target, name, value) => Reflect.set(target, name, value, target),
});

export interface Screen {
  terminal: Terminal;
  end: () => void;
}

/** Puts a terminal into `parent`, as large as that is. */
export function openTerminal(parent: HTMLElement): Screen {
  const terminal = new Terminal({
    documentOverride: strict,
    fontFamily: getComputedStyle(parent).getPropertyValue("--mono"),
    fontSize: 14,
    scrollback: 5000,
    cursorBlink: !matchMedia("(prefers-reduced-motion: reduce)").matches,
    screenReaderMode: localStorage.getItem("bramble.screenReader") === "yes",
    theme: {
      background: colour("--terminal"),
      foreground: colour("--terminal-text"),
      cursor: colour("--terminal-text"),
      selectionBackground: "#7d337080",
    },
  });
  const fit = new FitAddon();
  terminal.loadAddon(fit);
  terminal.open(parent);
  const watch = new ResizeObserver(() => fit.fit());
  watch.observe(parent);
  fit.fit();
  return {
    terminal,
    end: () => {
      watch.disconnect();
      terminal.dispose();
    },
  };
}
