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

interface TableProps {
  label: string;
  /** Names of the columns, and their classes where they have some. */
  columns: readonly (string | [name: string, kind: string])[];
  /** Whether a last column has what can be done with a row. */
  hasActions?: boolean;
  /** In a card that has the name as its title. */
  isInside?: boolean;
  /** Its rows. */
  children: ComponentChildren;
}

/** A table, which scrolls by itself where it is too wide. */
export function Table({ label, columns, hasActions, isInside, children }: TableProps) {
  const table = (
    <table>
      <thead>
        <tr>
          {columns.map((column) => {
            const [name, kind] = typeof column === "string" ? [column] : column;
            return (
              <th key={name} scope="col" class={kind}>
                {name}
              </th>
            );
          })}
          {hasActions ? (
            <th scope="col">
              <span class="only-heard">{t("vm.actions")}</span>
            </th>
          ) : null}
        </tr>
      </thead>
      <tbody>{children}</tbody>
    </table>
  );
  if (isInside) {
    return (
      <div class="table-frame" role="group" aria-label={label} tabIndex={0}>
        {table}
      </div>
    );
  }
  return (
    <section class="card table-frame" aria-label={label} tabIndex={0}>
      {table}
    </section>
  );
}

interface IconButtonProps {
  icon: IconName;
  /** What it does, and with what: for those who hear it. */
  label: string;
  /** The same for those who see it beside the other, or why it can't be pressed. */
  title?: string;
  disabled?: boolean;
  onClick: () => void;
}

export const IconButton = ({ icon, label, ...rest }: IconButtonProps) => (
  <button type="button" class="button quiet icon" aria-label={label} {...rest}>
    <Icon name={icon} />
  </button>
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
      style={{ "--share": `${share * 100}%` }}
    />
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
