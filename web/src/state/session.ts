// Who is logged in.

import { computed, signal } from "@preact/signals";
import { Failed, type Schemas, get, post, remove, setCsrf, whenLoggedOut } from "../api/client";

type Session = Schemas["Session"];
type Role = Schemas["Role"];

/** `undefined`: not asked yet; `null`: nobody. */
export const session = signal<Session | null | undefined>(undefined);
/** The session ended while someone worked: the login page says so. */
export const hasEnded = signal(false);

const RANK: Record<Role, number> = { viewer: 0, operator: 1, administrator: 2 };
export const may = (role: Role): boolean => {
  const mine = session.value?.role;
  return mine !== undefined && RANK[mine] >= RANK[role];
};
export const isAdministrator = computed(() => may("administrator"));

function begin(found: Session): void {
  setCsrf(found.csrf);
  hasEnded.value = false;
  session.value = found;
}

whenLoggedOut(() => {
  hasEnded.value ||= Boolean(session.value);
  setCsrf(null);
  session.value = null;
});

/** Asks who this is. Throws where the host does not answer. */
export async function findSession(): Promise<void> {
  try {
    begin(await get("/api/v1/session"));
  } catch (error) {
    if (!(error instanceof Failed) || error.status !== 401) throw error;
    session.value = null;
  }
}

export async function logIn(user: string, password: string): Promise<void> {
  begin(await post("/api/v1/session", { body: { user, password } }));
}

export async function logOut(): Promise<void> {
  await remove("/api/v1/session").catch((error: unknown) => {
    if (!(error instanceof Failed) || error.status !== 401) throw error;
  });
  setCsrf(null);
  session.value = null;
  hasEnded.value = false;
}

export async function changePassword(current: string, changed: string): Promise<void> {
  await post("/api/v1/session/password", { body: { current, new: changed } });
  await findSession();
}
