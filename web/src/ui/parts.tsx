// Small parts that many pages use.

import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { t } from "../i18n";
import { ago, bytes, moment, percent } from "../i18n/format";
import { now } from "../state/clock";
import { Icon, type IconName } from "./icons";

interface HeadProps {
  title: string;
  /** The page above: path and name. */
  up?: { to: string; name: string };
  badge?: ComponentChildren;
  children?: ComponentChildren;
}

/** A page's head: its name, which gets the focus when the page comes, and what can be done. */
export function Head({ title, up, badge, children }: HeadProps) {
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    document.title = `${title} · ${t("app.name")}`;
  }, [title]);
  useEffect(() => {
    // Not at the very first page: there the browser begins at the top by itself.
    if (document.activeElement && document.activeElement !== document.body) heading.current?.focus();
  }, []);
  return (
    <header class="page-head">
      <div class="grow">
        {up ? (
          <a class="up" href={up.to}>
            <Icon name="left" />
            {up.name}
          </a>
        ) : null}
        <div class="row">
          <h1 tabIndex={-1} ref={heading}>
            {title}
          </h1>
          {badge}
        </div>
      </div>
      {children ? <div class="row actions">{children}</div> : null}
    </header>
  );
}

interface CardProps {
  title?: string;
  aside?: ComponentChildren;
  children: ComponentChildren;
  class?: string;
}

export const Card = ({ title, aside, children, class: kind = "" }: CardProps) => (
  <section class={`card ${kind}`} aria-label={title}>
    {title ? (
      <header>
        <h2>{title}</h2>
        {aside}
      </header>
    ) : null}
    <div class="body">{children}</div>
  </section>
);

interface EmptyProps {
  icon: IconName;
  title: string;
  text?: string;
  children?: ComponentChildren;
}

/** Where nothing is yet: what it would be, and how to begin. */
export const Empty = ({ icon, title, text, children }: EmptyProps) => (
  <div class="empty">
    <span class="disc">
      <Icon name={icon} />
    </span>
    <p class="title">{title}</p>
    {text ? <p class="muted">{text}</p> : null}
    {children ? <div class="row">{children}</div> : null}
  </div>
);

/** How full something is. */
export function Meter({ used, of, label }: { used: number; of: number; label: string }) {
  const share = of > 0 ? Math.min(1, used / of) : 0;
  const tone = share > 0.95 ? "bad" : share > 0.85 ? "warn" : "";
  return (
    <div
      class={`meter ${tone}`}
      role="meter"
      aria-label={label}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={Math.round(share * 100)}
      aria-valuetext={`${bytes(used)} / ${bytes(of)} (${percent(share)})`}
    >
      <span style={{ width: `${share * 100}%` }} />
    </div>
  );
}

/** A moment: how long ago, exactly when on hovering. */
export const When = ({ at }: { at: number }) => (
  <time dateTime={new Date(at * 1000).toISOString()} title={moment(at)} class="nowrap" data-volatile>
    {ago(at, now.value)}
  </time>
);

export const Facts = ({ children }: { children: ComponentChildren }) => <dl class="facts">{children}</dl>;

export const Fact = ({ name, children }: { name: string; children: ComponentChildren }) => (
  <div>
    <dt>{name}</dt>
    <dd>{children}</dd>
  </div>
);

export const Loading = () => (
  <p class="muted loading" role="status">
    {t("app.loading")}
  </p>
);
