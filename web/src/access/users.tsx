// Users: made, given another role or password, deleted.

import { useId, useState } from "preact/hooks";
import { type Schemas, all, get, patch, post, remove } from "../api/client";
import { t } from "../i18n";
import { session } from "../state/session";
import { FormDialog, ask } from "../ui/dialog";
import { Icon } from "../ui/icons";
import { IconButton, Loading, Table, When } from "../ui/parts";
import { ProblemNotice } from "../ui/problem";
import { toast } from "../ui/toast";
import { useList } from "./load";
import { type Role, RoleField } from "./role";

type User = Schemas["User"];
type Asked = { kind: "new" } | { kind: "role" | "password"; user: User };

const loadUsers = (): Promise<User[]> => all((query) => get("/api/v1/users", { query }));

export function Users() {
  const { list, error, reload } = useList(loadUsers);
  const [asked, setAsked] = useState<Asked | null>(null);
  const close = (): void => setAsked(null);
  return (
    <div class="stack">
      <ProblemNotice error={error} />
      <div class="row">
        <button type="button" class="button" onClick={() => setAsked({ kind: "new" })}>
          <Icon name="plus" />
          {t("users.new")}
        </button>
      </div>
      {list ? (
        <Table
          label={t("users.title")}
          columns={[t("users.name"), t("users.role"), [t("users.made"), "only-wide"]]}
          hasActions
        >
          {list.map((user) => (
            <Row key={user.name} user={user} choose={setAsked} reload={reload} />
          ))}
        </Table>
      ) : error ? null : (
        <Loading />
      )}
      <p class="small muted">{t("users.lock")}</p>
      {asked?.kind === "new" ? <NewUser close={close} reload={reload} /> : null}
      {asked?.kind === "role" ? <ChangeRole user={asked.user} close={close} reload={reload} /> : null}
      {asked?.kind === "password" ? <ResetPassword user={asked.user} close={close} reload={reload} /> : null}
    </div>
  );
}

function Row({ user, choose, reload }: { user: User; choose: (asked: Asked) => void; reload: () => Promise<void> }) {
  const { name, role } = user;
  const isMe = session.value?.user === name;
  return (
    <tr>
      <td>
        <span class="row">
          <strong class="wrap-any">{name}</strong>
          {isMe ? <span class="badge">{t("users.you")}</span> : null}
          {user.must_change_password ? <span class="badge warn">{t("users.must")}</span> : null}
        </span>
      </td>
      <td>{t(`users.role.${role}`)}</td>
      <td class="only-wide">
        <When at={user.created_at} />
      </td>
      <td>
        <div class="actions">
          <IconButton
            icon="edit"
            label={t("users.role.of", { name })}
            title={t("users.role.change")}
            onClick={() => choose({ kind: "role", user })}
          />
          <IconButton
            icon="key"
            label={t("users.reset.of", { name })}
            title={t("users.reset")}
            onClick={() => choose({ kind: "password", user })}
          />
          <IconButton
            icon="trash"
            label={t("storage.delete", { name })}
            title={t("action.delete")}
            onClick={() => drop(user, reload)}
          />
        </div>
      </td>
    </tr>
  );
}

function drop({ name }: User, reload: () => Promise<void>): void {
  ask({
    title: t("storage.delete.title", { name }),
    lost: [t("users.delete.lost"), t("users.delete.tokens")],
    verb: t("action.delete"),
    async work() {
      await remove("/api/v1/users/{user}", { at: { user: name } });
      toast(t("storage.deleted", { name }));
      await reload();
    },
  });
}

export function PasswordField({ value, set }: { value: string; set: (password: string) => void }) {
  const id = useId();
  return (
    <div class="field">
      <label for={id}>{t("users.password")}</label>
      <input
        id={id}
        type="password"
        autocomplete="new-password"
        required
        minLength={10}
        maxLength={256}
        value={value}
        onInput={(event) => set(event.currentTarget.value)}
      />
      <p class="hint">{t("users.password.rule")}</p>
    </div>
  );
}

interface DialogProps {
  close: () => void;
  reload: () => Promise<void>;
}

function NewUser({ close, reload }: DialogProps) {
  const id = useId();
  const [name, setName] = useState("");
  const [password, setPassword] = useState("");
  const [role, setRole] = useState<Role>("viewer");
  async function work(): Promise<void> {
    await post("/api/v1/users", { body: { name, password, role } });
    toast(t("users.new.done", { name }));
    await reload();
  }
  return (
    <FormDialog title={t("users.new")} submit={t("wizard.create")} close={close} work={work}>
      <div class="field">
        <label for={id}>{t("users.name")}</label>
        <input
          id={id}
          required
          maxLength={32}
          pattern="[a-z0-9._\-]{1,32}"
          autocomplete="off"
          autocapitalize="none"
          spellcheck={false}
          value={name}
          onInput={(event) => setName(event.currentTarget.value)}
        />
        <p class="hint">{t("users.name.rule")}</p>
      </div>
      <PasswordField value={password} set={setPassword} />
      <RoleField value={role} set={setRole} />
    </FormDialog>
  );
}

function ChangeRole({ user, close, reload }: DialogProps & { user: User }) {
  const [role, setRole] = useState<Role>(user.role);
  async function work(): Promise<void> {
    await patch("/api/v1/users/{user}", { at: { user: user.name }, body: { role } });
    toast(t("users.role.done", { name: user.name }));
    await reload();
  }
  return (
    <FormDialog
      title={t("users.role.of", { name: user.name })}
      submit={t("action.save")}
      isReady={role !== user.role}
      close={close}
      work={work}
    >
      <RoleField value={role} set={setRole} />
      <p class="muted small">{t("users.role.text")}</p>
    </FormDialog>
  );
}

function ResetPassword({ user, close, reload }: DialogProps & { user: User }) {
  const [password, setPassword] = useState("");
  async function work(): Promise<void> {
    await patch("/api/v1/users/{user}", { at: { user: user.name }, body: { password } });
    toast(t("users.reset.done", { name: user.name }));
    await reload();
  }
  return (
    <FormDialog title={t("users.reset.of", { name: user.name })} submit={t("users.reset")} close={close} work={work}>
      <PasswordField value={password} set={setPassword} />
      <p class="muted">{t("users.reset.text")}</p>
    </FormDialog>
  );
}
