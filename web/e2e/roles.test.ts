// A viewer sees everything and changes nothing: no page offers it, and the host refuses each operation.
import { Api, PASSWORD, everyPage, expect, logIn, settled, test } from "./fixtures";

/** What changes something, in English. */
const CHANGES =
  /^(New |Make |Create|Clone|Delete|Power|Shut|Reset|Pause|Resume|Take|Revert|Upload|Import|Paste|Save|Restart|Turn|Attach|Detach|Add|Remove)/;
/** One's own; anyone may. */
const OWN = /^(New token|Create token|Make a token)/;

test("a viewer cannot change anything", async ({ page, hostd, api }) => {
  const user = { name: "vera", role: "viewer", password: "some words to change" };
  await api.call("POST", "/api/v1/users", user);
  const first = await Api.logIn(hostd.url, "vera", user.password);
  await first.call("POST", "/api/v1/session/password", { current: user.password, new: PASSWORD });
  await page.goto("/");
  await logIn(page, "vera", PASSWORD);
  await expect(page.getByRole("navigation", { name: "Main" })).toBeVisible();

  for (const path of await everyPage(page, "web")) {
    await page.goto(path);
    await settled(page);
    for (const role of ["button", "link"] as const) {
      const names = await page.getByRole("main").getByRole(role, { disabled: false }).evaluateAll((found) =>
        found.map((element) => element.getAttribute("aria-label") ?? element.textContent ?? ""),
      );
      const offered = names.map((name) => name.trim()).filter((name) => CHANGES.test(name) && !OWN.test(name));
      expect(offered, `${role}s of ${path}`).toEqual([]);
    }
  }

  // Whatever a page of theirs asks for, the host refuses.
  const description = await api.call("GET", "/api/v1/openapi.json");
  const changes = Object.entries<Record<string, { "x-role"?: string }>>(description.paths).flatMap(([path, item]) =>
    Object.entries(item)
      .filter(([method, operation]) => method !== "get" && /operator|administrator/.test(operation["x-role"] ?? ""))
      .map(([method]) => ({ method: method.toUpperCase(), path: path.replace(/\{\w+\}/g, "1") })),
  );
  expect(changes.length).toBeGreaterThan(20);
  const statuses = await page.evaluate(async (all) => {
    const session = await (await fetch("/api/v1/session")).json();
    const headers = { "X-Bramble-CSRF": session.csrf, "Content-Type": "application/json" };
    const told: string[] = [];
    for (const { method, path } of all) {
      const answer = await fetch(path, { method, headers, body: "{}" });
      const { reason } = await answer.json();
      told.push(`${method} ${path}: ${answer.status} ${reason}`);
    }
    return told;
  }, changes);
  expect(statuses.filter((status) => !status.endsWith(": 403 role-too-low"))).toEqual([]);

  // The console is seen, and not typed into.
  await page.goto("/vms/web/console");
  await expect(page.locator(".xterm-rows")).toContainText("login: ");
  const body = String(await api.call("GET", "/api/v1/vms/web/consoles/uart"));
  await page.locator(".xterm").click();
  await page.keyboard.type("typed by vera");
  await page.reload();
  await expect(page.locator(".xterm-rows")).toContainText("login: ");
  expect(String(await api.call("GET", "/api/v1/vms/web/consoles/uart"))).toBe(body);
});
