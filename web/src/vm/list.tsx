// All VMs: found by name and state, powered from the row.

import { signal } from "@preact/signals";
import { t, word } from "../i18n";
import { bytes, number } from "../i18n/format";
import { at } from "../state/router";
import { may } from "../state/session";
import { type Vm, vmList } from "../state/store";
import { Icon } from "../ui/icons";
import { Empty, Head, Loading, Meter } from "../ui/parts";
import { Rows } from "../ui/rows";
import { ICONS, actionName, actionsOf, badgeClass, power } from "./power";

const ROW = 56;
const wanted = signal("");
const state = signal("all");
const STATES = ["all", "running", "paused", "off"] as const;

/** Those that the search and the state leave. */
export function chosen(all: readonly Vm[], text: string, power: string): Vm[] {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  return all.filter(
    (vm) => (power === "all" || vm.power === power) && words.every((word) => vm.name.includes(word)),
  );
}

export function VmList() {
  const all = vmList.value;
  if (!all) {
    return (
      <div class="page">
        <Head title={t("nav.vms")} />
        <Loading />
      </div>
    );
  }
  const shown = chosen(all, wanted.value, state.value);
  return (
    <div class="page">
      <Head title={t("nav.vms")} badge={<span class="badge">{number(all.length)}</span>}>
        {may("administrator") ? (
          <a class="button primary" href="/vms/new">
            <Icon name="plus" />
            {t("vm.new")}
          </a>
        ) : null}
      </Head>
      {all.length === 0 ? (
        <section class="card">
          <Empty icon="vm" title={t("vm.none")} text={t("vm.none.text")} />
        </section>
      ) : (
        <>
          <Filter />
          <p class="only-heard" role="status">
            {t("vm.found", { count: shown.length })}
          </p>
          <section class="card">
            {shown.length === 0 ? (
              <Empty icon="search" title={t("vm.found.none")} />
            ) : (
              <Rows
                class="vm-rows"
                items={shown}
                height={ROW}
                label={t("nav.vms")}
                keyOf={(vm) => vm.name}
                head={<Columns />}
                row={cells}
              />
            )}
          </section>
        </>
      )}
    </div>
  );
}

const Filter = () => (
  <div class="row filter" role="search">
    <input
      type="search"
      placeholder={t("vm.search")}
      aria-label={t("vm.search")}
      value={wanted.value}
      onInput={(event) => {
        wanted.value = event.currentTarget.value;
      }}
    />
    <select
      aria-label={t("vm.state")}
      value={state.value}
      onChange={(event) => {
        state.value = event.currentTarget.value;
      }}
    >
      {STATES.map((name) => (
        <option key={name} value={name}>
          {name === "all" ? t("vm.state.all") : t(`power.${name}`)}
        </option>
      ))}
    </select>
  </div>
);

const Columns = () => (
  <>
    <span role="columnheader">{t("vm.name")}</span>
    <span role="columnheader">{t("vm.state")}</span>
    <span role="columnheader" class="only-wide number">
      {t("vm.vcpus")}
    </span>
    <span role="columnheader" class="only-wide">
      {t("vm.memory")}
    </span>
    <span role="columnheader" class="end">
      <span class="only-heard">{t("vm.actions")}</span>
    </span>
  </>
);

/** A row's cells. No components, and few elements: a quick scroll makes thirty rows in one frame. */
function cells(vm: Vm) {
  const { name, memory_bytes: memory } = vm;
  const [first] = actionsOf(vm.power);
  return (
    <>
      <span role="cell" class="cut">
        <a href={at("vms", name)}>{name}</a>
      </span>
      <span role="cell" class={badgeClass(vm.power)}>
        {word("power", vm.power)}
      </span>
      <span role="cell" class="only-wide number">
        {vm.vcpus}
      </span>
      <span role="cell" class="only-wide memory">
        {Meter({ used: vm.touched_bytes, of: memory, label: t("vm.memory") })}
        {bytes(memory)}
      </span>
      <span role="cell" class="end">
        <a
          class="button quiet icon"
          href={at("vms", name, "console")}
          aria-label={t("vm.console.of", { name })}
          title={t("vm.tab.console")}
        >
          {Icon({ name: "terminal" })}
        </a>
        {first && may("operator") ? (
          <button
            type="button"
            class="button quiet icon"
            aria-label={`${actionName(first)}: ${name}`}
            title={actionName(first)}
            onClick={() => power(name, first)}
          >
            {Icon({ name: ICONS[first] })}
          </button>
        ) : null}
      </span>
    </>
  );
}
