// The application's frame: navigation, the state of the connection, what is going on, and the page.

import { signal } from "@preact/signals";
import { Component, type ComponentType } from "preact";
import { useEffect, useState } from "preact/hooks";
import { t } from "../i18n";
import { link, startEvents, stopEvents } from "../state/events";
import { at, place, segments } from "../state/router";
import { logOut, may, session } from "../state/session";
import { clear, follow, loadError, runningTasks } from "../state/store";
import { Mark } from "../ui/brand";
import { Dialog, Questions } from "../ui/dialog";
import { Icon } from "../ui/icons";
import { Empty, Head, Loading } from "../ui/parts";
import { Preferences } from "../ui/preferences";
import { ProblemNotice } from "../ui/problem";
import { PasswordForm } from "../pages/password";
import { Toasts, attempt, toast } from "../ui/toast";
import { PAGES, type Page, pageOf } from "./pages";
import "../styles/shell.css";
import "../styles/parts.css";

const isMenuOpen = signal(false);

export function Shell() {
  useEffect(() => {
    const end = follow();
    startEvents();
    return () => {
      stopEvents();
      end();
      clear();
    };
  }, []);
  const path = place.value.path;
  useEffect(() => {
    isMenuOpen.value = false;
    scrollTo(0, 0);
  }, [path]);

  return (
    <div class="shell">
      <a class="skip" href="#content">
        {t("app.skip")}
      </a>
      <TopBar />
      <Navigation />
      <main id="content" tabIndex={-1}>
        <Connection />
        <ProblemNotice error={loadError.value} />
        <Current />
      </main>
      <Toasts />
      <Questions />
    </div>
  );
}

function TopBar() {
  const busy = runningTasks.value.length;
  return (
    <header class="top">
      <button
        type="button"
        class="button quiet icon menu"
        aria-label={t("nav.menu")}
        aria-expanded={isMenuOpen.value}
        aria-controls="nav"
        onClick={() => {
          isMenuOpen.value = !isMenuOpen.value;
        }}
      >
        <Icon name={isMenuOpen.value ? "close" : "menu"} />
      </button>
      <a class="brand" href="/">
        <Mark />
        {t("app.name")}
      </a>
      <span class="grow" />
      {busy ? (
        <a class="busy" href="/tasks">
          <span class="spinner" aria-hidden="true" />
          {t("tasks.running", { count: busy })}
        </a>
      ) : null}
      <User />
    </header>
  );
}

function User() {
  const [isOpen, setOpen] = useState(false);
  const who = session.value;
  return (
    <>
      <button
        type="button"
        class="button quiet"
        aria-haspopup="dialog"
        aria-label={who?.user}
        onClick={() => setOpen(true)}
      >
        <Icon name="users" />
        <span class="user-name">{who?.user}</span>
      </button>
      {isOpen ? <UserDialog close={() => setOpen(false)} /> : null}
    </>
  );
}

function UserDialog({ close }: { close: () => void }) {
  const [changes, setChanges] = useState(false);
  const who = session.value;
  return (
    <Dialog title={who?.user ?? ""} close={close}>
      <p class="muted">{who ? t(`role.${who.role}`) : null}</p>
      {changes ? (
        <PasswordForm
          done={() => {
            close();
            toast(t("password.done"));
          }}
        />
      ) : (
        <div class="stack">
          <div class="row">
            <Preferences />
          </div>
          <footer>
            <button type="button" class="button" onClick={() => setChanges(true)}>
              <Icon name="key" />
              {t("password.submit")}
            </button>
            <button type="button" class="button" onClick={() => void attempt(logOut)}>
              <Icon name="out" />
              {t("session.end")}
            </button>
          </footer>
        </div>
      )}
    </Dialog>
  );
}

function Navigation() {
  const here = segments.value[0] ?? "";
  const shown = PAGES.filter(({ role }) => may(role));
  const list = (group: Page["group"]) => (
    <ul>
      {shown
        .filter((page) => page.group === group)
        .map(({ path, label, icon }) => (
          <li key={path}>
            <a href={path ? at(path) : "/"} aria-current={path === here ? "page" : undefined}>
              <Icon name={icon} />
              {t(label)}
            </a>
          </li>
        ))}
    </ul>
  );
  const hasSettings = shown.some(({ group }) => group === "settings");
  return (
    <nav id="nav" class={isMenuOpen.value ? "nav open" : "nav"} aria-label={t("nav.label")}>
      {list("host")}
      {hasSettings ? <h2 class="small muted">{t("nav.settings")}</h2> : null}
      {list("settings")}
    </nav>
  );
}

/** That the host is away, and that it is back. */
function Connection() {
  const isAway = link.value === "away";
  return (
    <div role="status" aria-live="polite">
      {isAway ? (
        <div class="notice warn connection">
          <span class="spinner" aria-hidden="true" />
          <div>
            <p class="what">{t("link.away")}</p>
            <p>{t("link.away.text")}</p>
          </div>
        </div>
      ) : null}
    </div>
  );
}

function Current() {
  const page = pageOf(segments.value[0]);
  if (!page || !may(page.role)) {
    return (
      <div class="page">
        <Head title={t("page.none")} />
        <Empty icon="search" title={t("page.none.text")}>
          <a class="button" href="/">
            {t("nav.dashboard")}
          </a>
        </Empty>
      </div>
    );
  }
  return (
    <Boundary key={page.path}>
      <Lazy page={page} />
    </Boundary>
  );
}

const loaded = new Map<string, ComponentType>();

function Lazy({ page }: { page: Page }) {
  const [, setReady] = useState(loaded.has(page.path));
  const [error, setError] = useState<unknown>(null);
  useEffect(() => {
    if (loaded.has(page.path)) return;
    page.load().then((module) => {
      loaded.set(page.path, module.default);
      setReady(true);
    }, setError);
  }, [page.path]);
  const Found = loaded.get(page.path);
  if (Found) return <Found />;
  // The host has other files than those that this page was made of: it was updated, or is away.
  if (error) return <Broken text={t("page.stale")} />;
  return <Loading />;
}

const Broken = ({ text }: { text: string }) => (
  <Empty icon="alert" title={t("page.broken")} text={text}>
    <button type="button" class="button primary" onClick={() => location.reload()}>
      {t("action.reload")}
    </button>
  </Empty>
);

/** A defect of one page leaves the frame alone. */
class Boundary extends Component<object, { error: unknown }> {
  override state = { error: null as unknown };
  static override getDerivedStateFromError(error: unknown): { error: unknown } {
    return { error };
  }
  override render() {
    return this.state.error ? <Broken text={String(this.state.error)} /> : this.props.children;
  }
}
