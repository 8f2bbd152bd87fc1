// What every test has: a host, someone who is logged in, and a page that must break no rule of its policy.
import { type APIRequestContext, type BrowserContext, type Page, test as base, expect, request } from "@playwright/test";
import { Hostd, PASSWORD } from "./hostd";

export { expect } from "@playwright/test";
export { Hostd, PASSWORD } from "./hostd";

/** The API, by a session of its own. */
export class Api {
  private constructor(
    readonly context: APIRequestContext,
    private readonly csrf: string,
  ) {}

  static async logIn(url: string, user: string, password: string): Promise<Api> {
    const context = await request.newContext({ baseURL: url, ignoreHTTPSErrors: true });
    const answer = await context.post("/api/v1/session", { data: { user, password } });
    expect(answer.status(), await answer.text()).toBe(201);
    return new Api(context, (await answer.json()).csrf);
  }

  /** One request; fails on every status but success. */
  async call(method: string, path: string, data?: unknown, headers: Record<string, string> = {}): Promise<any> {
    const answer = await this.context.fetch(path, {
      timeout: 150_000,
      method,
      headers: { "X-Bramble-CSRF": this.csrf, ...headers },
      ...(data === undefined ? {} : { data }),
    });
    expect(answer.ok(), `${method} ${path}: ${answer.status()} ${await answer.text()}`).toBe(true);
    return answer.headers()["content-type"]?.includes("json") ? answer.json() : answer.body();
  }

  /** Waits for a task that an answer is about. */
  async done(task: { id: string | number }): Promise<void> {
    await expect
      .poll(async () => (await this.call("GET", `/api/v1/tasks/${task.id}`)).state, { timeout: 60_000 })
      .toBe("done");
  }

  /** An object of the datastore with these bytes. */
  async upload(name: string, bytes: Buffer): Promise<void> {
    const upload = await this.call("POST", "/api/v1/uploads", { name, bytes: bytes.length });
    await this.call("PATCH", `/api/v1/uploads/${upload.id}`, bytes, {
      "Content-Type": "application/octet-stream",
      "Upload-Offset": "0",
    });
  }
}

/** A host whose first password is changed to [`PASSWORD`]. */
export async function opened(hostd: Hostd): Promise<Api> {
  const first = await Api.logIn(hostd.url, "admin", hostd.first);
  await first.call("POST", "/api/v1/session/password", { current: hostd.first, new: PASSWORD });
  return Api.logIn(hostd.url, "admin", PASSWORD);
}

/** The same, with a datastore, an image and a firmware. */
export async function furnished(hostd: Hostd): Promise<Api> {
  const api = await opened(hostd);
  const [disk] = (await api.call("GET", "/api/v1/disks")).items;
  await api.done(await api.call("POST", "/api/v1/datastore", { disk: disk.serial }));
  await api.upload("image:debian-12.raw", Buffer.alloc(1 << 20, 7));
  await api.upload("firmware:QEMU_EFI.fd", Buffer.alloc(1 << 16, 9));
  return api;
}

/** Logs in by the page's own form. */
export async function logIn(page: Page, user: string, password: string): Promise<void> {
  await page.getByLabel("User", { exact: true }).fill(user);
  await page.getByLabel("Password", { exact: true }).fill(password);
  await page.getByRole("button", { name: "Log in" }).click();
}

/** Changes the password of the first login by the page's own form. */
export async function choosePassword(page: Page, first: string): Promise<void> {
  await page.getByLabel("Password of now").fill(first);
  await page.getByLabel("New password", { exact: true }).fill(PASSWORD);
  await page.getByLabel("New password, again").fill(PASSWORD);
  await page.getByRole("button", { name: "Change password" }).click();
}

/** Logs out by the menu. */
export async function logOut(page: Page): Promise<void> {
  await page.getByRole("button", { name: "admin" }).click();
  await page.getByRole("button", { name: "Log out" }).click();
  await expect(page.getByRole("heading", { name: "Log in" })).toBeVisible();
}

/** Does something, and sees the news of it. The page itself looks for them, since they go by themselves. */
export async function told(page: Page, text: string, act: () => Promise<void>): Promise<void> {
  await Promise.all([page.getByText(text).waitFor(), act()]);
}

interface ForAll {
  hostd: Hostd;
  api: Api;
  state: Awaited<ReturnType<BrowserContext["storageState"]>>;
}

interface ForEach {
  /** What pages did that their policy forbids. */
  violations: string[];
}

export const test = base.extend<ForEach, ForAll>({
  hostd: [
    async ({}, use) => {
      const hostd = await Hostd.start();
      await use(hostd);
      await hostd.kill();
    },
    { scope: "worker" },
  ],
  api: [async ({ hostd }, use) => use(await furnished(hostd)), { scope: "worker" }],
  state: [async ({ api }, use) => use(await api.context.storageState()), { scope: "worker" }],
  baseURL: async ({ hostd }, use) => use(hostd.url),
  violations: async ({ context }, use) => {
    const violations: string[] = [];
    await context.exposeBinding("bramblePolicy", (_, text: string) => violations.push(text));
    await context.addInitScript(() => {
      addEventListener("securitypolicyviolation", (event) => {
        const told = `${event.effectiveDirective}: ${event.blockedURI} in ${event.sourceFile}:${event.lineNumber}`;
        (globalThis as unknown as { bramblePolicy: (text: string) => void }).bramblePolicy(told);
      });
    });
    await use(violations);
    expect(violations, "the content security policy was broken").toEqual([]);
  },
  // Whoever uses a page has its policy watched.
  page: async ({ page, violations: _ }, use) => use(page),
});

/** The pages that the navigation leads to, and the sides of a VM. */
export async function everyPage(page: Page, vm: string): Promise<string[]> {
  await page.goto(`/vms/${vm}`);
  await settled(page);
  const paths = (name: string) =>
    page
      .getByRole("navigation", { name })
      .getByRole("link")
      .evaluateAll((links) => links.map((link) => new URL((link as HTMLAnchorElement).href).pathname));
  return [...(await paths("Main")), "/vms/new", ...(await paths("Sides of this VM"))];
}

/** Waits until a page has what it shows. */
export async function settled(page: Page): Promise<void> {
  await expect(page.getByRole("heading", { level: 1 })).toBeVisible();
  await expect(page.locator("[aria-busy=true], .loading")).toHaveCount(0);
  await page.waitForLoadState("networkidle");
}
