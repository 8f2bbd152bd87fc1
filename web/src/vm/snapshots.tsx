// A VM's snapshots, as the tree that they are.

import { useEffect, useId, useState } from "preact/hooks";
import { type Schemas, all, get, post, remove } from "../api/client";
import { t } from "../i18n";
import { may } from "../state/session";
import { FormDialog, ask } from "../ui/dialog";
import { Icon } from "../ui/icons";
import { Card, Empty, IconButton, Loading, When } from "../ui/parts";
import { ProblemNotice } from "../ui/problem";
import { toast } from "../ui/toast";
import type { Shown } from "./detail";
import { type Branch, tree } from "./tree";

type Snapshot = Schemas["Snapshot"];

export function Snapshots({ vm }: Shown) {
  const [list, setList] = useState<Snapshot[] | null>(null);
  const [error, setError] = useState<unknown>(null);
  const [isTaking, setTaking] = useState(false);
  const path = { vm: vm.name };
  const load = (): Promise<void> =>
    all((query) => get("/api/v1/vms/{vm}/snapshots", { at: path, query })).then(setList, setError);
  useEffect(() => void load(), [vm.name]);

  const revert = (snapshot: Snapshot): void =>
    ask({
      title: t("snapshot.revert.title", { name: snapshot.name }),
      lost: [t("snapshot.revert.lost", { vm: vm.name }), t("snapshot.revert.instead")],
      verb: t("snapshot.revert"),
      work: async () => {
        await post("/api/v1/vms/{vm}/snapshots/{snapshot}/revert", { at: { ...path, snapshot: snapshot.id } });
        toast(t("snapshot.revert.done", { name: snapshot.name }));
        await load();
      },
    });
  const drop = (snapshot: Snapshot): void =>
    ask({
      title: t("snapshot.delete.title", { name: snapshot.name }),
      lost: [t("snapshot.delete.lost")],
      verb: t("action.delete"),
      work: async () => {
        await remove("/api/v1/vms/{vm}/snapshots/{snapshot}", { at: { ...path, snapshot: snapshot.id } });
        await load();
      },
    });

  const take = may("operator") ? (
    <button type="button" class="button" onClick={() => setTaking(true)}>
      <Icon name="camera" />
      {t("snapshot.take")}
    </button>
  ) : null;
  return (
    <Card title={t("vm.tab.snapshots")} aside={list?.length ? take : null}>
      <ProblemNotice error={error} />
      {!list && !error ? <Loading /> : null}
      {list?.length === 0 ? (
        <Empty icon="camera" title={t("snapshot.none")} text={t("snapshot.none.text")}>
          {take}
        </Empty>
      ) : null}
      {list?.length ? (
        <Branches branches={tree(list)} isOff={vm.power === "off"} revert={revert} drop={drop} />
      ) : null}
      {isTaking ? <TakeDialog vm={vm.name} close={() => setTaking(false)} done={load} /> : null}
    </Card>
  );
}

interface BranchesProps {
  branches: readonly Branch<Snapshot>[];
  isOff: boolean;
  revert: (snapshot: Snapshot) => void;
  drop: (snapshot: Snapshot) => void;
}

function Branches({ branches, isOff, revert, drop }: BranchesProps) {
  return (
    <ul class="tree">
      {branches.map(({ item, children }) => (
        <li key={item.id}>
          <div class="knot">
            <Icon name="camera" />
            <div class="grow">
              <p class="row">
                <strong class="wrap-any">{item.name}</strong>
                {item.is_current ? <span class="badge good">{t("snapshot.current")}</span> : null}
              </p>
              <p class="small muted">
                <When at={item.created_at} />
              </p>
            </div>
            {may("operator") ? (
              <>
                <button
                  type="button"
                  class="button quiet"
                  disabled={!isOff}
                  title={isOff ? undefined : t("snapshot.revert.runs")}
                  onClick={() => revert(item)}
                >
                  {t("snapshot.revert")}
                </button>
                <IconButton icon="trash" label={`${t("action.delete")}: ${item.name}`} onClick={() => drop(item)} />
              </>
            ) : null}
          </div>
          {children.length > 0 ? <Branches branches={children} isOff={isOff} revert={revert} drop={drop} /> : null}
        </li>
      ))}
    </ul>
  );
}

function TakeDialog({ vm, close, done }: { vm: string; close: () => void; done: () => Promise<void> }) {
  const [name, setName] = useState("");
  const id = useId();
  return (
    <FormDialog
      title={t("snapshot.take")}
      submit={t("snapshot.take")}
      isReady={name.trim() !== ""}
      close={close}
      work={async () => {
        await post("/api/v1/vms/{vm}/snapshots", { at: { vm }, body: { name: name.trim() } });
        toast(t("snapshot.taken", { name: name.trim() }));
        await done();
      }}
    >
      <p class="muted">{t("snapshot.what")}</p>
      <div class="field">
        <label for={id}>{t("snapshot.name")}</label>
        <input
          id={id}
          maxLength={64}
          autocomplete="off"
          value={name}
          onInput={(event) => setName(event.currentTarget.value)}
        />
      </div>
    </FormDialog>
  );
}
