// What the page does while the host and other people do something.
import { Api, Hostd, PASSWORD, choosePassword, expect, furnished, logIn, test } from "./fixtures";

test("hostd is killed while a console is open: the page says so, and goes on by itself", async ({ page }) => {
  let hostd = await Hostd.start();
  try {
    await furnished(hostd);
    await page.goto(`${hostd.url}/vms/web/console`);
    await logIn(page, "admin", PASSWORD);
    await expect(page.getByText("Live", { exact: true })).toBeVisible();
    await hostd.kill();
    await expect(page.getByText("The host does not answer").first()).toBeVisible();
    await expect(page.getByText("Reconnecting")).toBeVisible();
    // A PC's host keeps nothing: its sessions are gone, as after a restart of the whole host.
    hostd = await Hostd.start(hostd.port);
    await expect(page.getByText("Your session has ended. Log in to go on where you were.")).toBeVisible();
    await logIn(page, "admin", hostd.first);
    await choosePassword(page, hostd.first);
    await expect(page.getByText("Live", { exact: true })).toBeVisible();
    await expect(page.locator(".xterm-rows")).toContainText("Welcome to web");
    await expect(page.getByText("The host does not answer")).toHaveCount(0);
  } finally {
    await hostd.kill();
  }
});

test.describe(() => {
  test.use({ storageState: ({ state }, use) => use(state) });

  test("eight tabs stay alive, one after the other closes, and the last still hears", async ({ context, api }) => {
    await api.call("POST", "/api/v1/vms", { name: "tabs", vcpus: 1, memory: "128MiB", boot: { firmware: "QEMU_EFI.fd" } });
    const tabs = [];
    for (let tab = 0; tab < 8; tab += 1) {
      const page = await context.newPage();
      // Half of them hold a console open, too.
      await page.goto(tab % 2 ? "/vms/tabs" : "/vms/tabs/console");
      await expect(page.getByRole("heading", { level: 1 })).toHaveText("tabs");
      await expect(page.getByRole("button", { name: "Power on", exact: true }).first()).toBeVisible();
      tabs.push(page);
    }
    await api.done(await api.call("POST", "/api/v1/vms/tabs/power", { action: "on" }));
    for (const page of tabs) await expect(page.getByRole("button", { name: "Power off", exact: true })).toBeVisible();
    // The first has the connection; with it gone, another takes it.
    for (const page of tabs.splice(0, 7)) await page.close();
    await api.done(await api.call("POST", "/api/v1/vms/tabs/power", { action: "off" }));
    for (const page of tabs) await expect(page.getByRole("button", { name: "Power on", exact: true })).toBeVisible();
  });

  test("a user who is removed is logged out in the page", async ({ browser, hostd, api }) => {
    await api.call("POST", "/api/v1/users", { name: "olga", role: "operator", password: "some words to change" });
    const first = await Api.logIn(hostd.url, "olga", "some words to change");
    await first.call("POST", "/api/v1/session/password", { current: "some words to change", new: PASSWORD });
    const page = await (await browser.newContext({ storageState: { cookies: [], origins: [] } })).newPage();
    await page.goto(`${hostd.url}/vms`);
    await logIn(page, "olga", PASSWORD);
    await expect(page.getByRole("heading", { level: 1 })).toContainText("Virtual machines");
    await api.call("DELETE", "/api/v1/users/olga");
    // Nobody touches the page: the host ends its connection when it looks whether the login still stands.
    await expect(page.getByText("Your session has ended.")).toBeVisible();
    await page.context().close();
  });

  test("a session is ended, and a lock-out, by an administrator", async ({ browser, page, hostd, api }) => {
    await api.call("POST", "/api/v1/users", { name: "otto", role: "viewer", password: "some words to change" });
    const first = await Api.logIn(hostd.url, "otto", "some words to change");
    await first.call("POST", "/api/v1/session/password", { current: "some words to change", new: PASSWORD });
    await first.call("DELETE", "/api/v1/session");
    const his = await (await browser.newContext({ storageState: { cookies: [], origins: [] } })).newPage();
    await his.goto(`${hostd.url}/users/sessions`);
    await logIn(his, "otto", PASSWORD);
    // One's own, and nobody else's; it ends by logging out.
    await expect(his.getByText("This one")).toBeVisible();
    await expect(his.getByRole("cell", { name: "admin" })).toHaveCount(0);

    await page.goto("/users/sessions");
    await page.getByRole("button", { name: "End the session of otto from 127.0.0.1" }).click();
    await page.getByRole("button", { name: "End the session", exact: true }).last().click();
    await expect(page.getByText("The session of otto has ended.")).toBeVisible();
    await his.reload();
    await expect(his.getByRole("heading", { name: "Log in" })).toBeVisible();

    // The first wait is over before a slow page shows it; each further guess doubles it.
    const waits = async (): Promise<number> => {
      await his.request.post(`${hostd.url}/api/v1/session`, { data: { user: "otto", password: "a guess" } });
      return (await api.call("GET", "/api/v1/lock-outs")).items[0]?.seconds ?? 0;
    };
    await expect.poll(waits, { timeout: 60_000 }).toBeGreaterThan(12);
    await page.reload();
    await page.getByRole("button", { name: "Have otto from 127.0.0.1 wait no more" }).click();
    await expect(page.getByText("otto can try again.")).toBeVisible();
    await expect(page.getByText("Nobody has to wait")).toBeVisible();
    await his.context().close();
  });
});
