// The choice of a role.

import { useId } from "preact/hooks";
import type { Schemas } from "../api/client";
import { t } from "../i18n";
import { may } from "../state/session";

export type Role = Schemas["Role"];
const ROLES: readonly Role[] = ["viewer", "operator", "administrator"];

/** Nobody gives more than they may. */
export function RoleField({ value, set }: { value: Role; set: (role: Role) => void }) {
  const name = useId();
  return (
    <fieldset class="stack-small">
      <legend>{t("users.role")}</legend>
      {ROLES.filter(may).map((role) => (
        <label key={role} class="choice">
          <input type="radio" name={name} checked={value === role} onChange={() => set(role)} />
          <span>{t(`role.${role}`)}</span>
        </label>
      ))}
    </fieldset>
  );
}
