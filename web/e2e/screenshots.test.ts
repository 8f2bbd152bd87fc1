// The main pages as they look, compared with pictures that BLESS=1 makes anew. What changes from run to run is left out by
// `still.css`.
import type { Page } from "@playwright/test";
import { ja } from "../src/i18n/ja";
import { Hostd, PASSWORD, expect, logIn, opened, settled, test } from "./fixtures";
import { VIEWS, show } from "./views";

// A style sheet of Playwright's leaves out what changes; the policy that forbids it is kept by every other test.
test.use({ bypassCSP: true });

const PHONE = { width: 390, height: 844 };
const DESKTOP = { width: 1120, height: 700 };

/** Compares and goes on, so that one run tells all. */
const compare = async (page: Page, name: string): Promise<void> => {
  // Nothing is hovered over.
  await page.mouse.move(0, 0);
  await expect.soft(page).toHaveScreenshot(`${name}.png`);
};

for (const [screen, viewport] of Object.entries({ phone: PHONE, desktop: DESKTOP })) {
  test.describe(screen, () => {
    test.use({ viewport });
    test(`the main pages look as they did, on a ${screen}`, async ({ page }) => {
      const hostd = await Hostd.start(0, []);
      try {
        await opened(hostd);
        await page.goto(hostd.url);
        await settled(page);
        await compare(page, `login-${screen}`);
        await logIn(page, "admin", PASSWORD);
        await expect(page.getByRole("heading", { level: 1 })).toHaveText("Overview");
        for (const name of Object.keys(VIEWS) as (keyof typeof VIEWS)[]) {
          await show(page, hostd.url, name);
          await compare(page, `${name}-${screen}`);
        }
      } finally {
        await hostd.kill();
      }
    });
  });
}

test.describe("Japanese", () => {
  test.use({ viewport: PHONE, locale: "ja-JP" });
  test("a first login, a new VM, a VM's power and its snapshots look as they did, in Japanese", async ({ page }) => {
    const hostd = await Hostd.start(0, []);
    try {
      const press = (name: string) => page.getByRole("button", { name, exact: true }).click();
      await page.goto(`${hostd.url}/vms/new`);
      await page.getByLabel(ja["login.password"], { exact: true }).fill(hostd.first);
      await press(ja["login.submit"]);
      await page.getByLabel(ja["password.current"]).fill(hostd.first);
      await page.getByLabel(ja["password.new"], { exact: true }).fill(PASSWORD);
      await page.getByLabel(ja["password.again"]).fill("other words");
      await compare(page, "password-ja");
      await page.getByLabel(ja["password.again"]).fill(PASSWORD);
      await press(ja["password.submit"]);
      await expect(page.getByRole("heading", { level: 1 })).toHaveText(ja["vm.new"]);
      await settled(page);
      await compare(page, "new-vm-ja");
      await page.goto(`${hostd.url}/vms/db/snapshots`);
      await press(ja["snapshot.take"]);
      const dialog = page.getByRole("dialog");
      await dialog.getByLabel(ja["snapshot.name"]).fill("更新の前");
      await dialog.getByRole("button", { name: ja["snapshot.take"] }).click();
      await expect(dialog).toHaveCount(0);
      await page.reload();
      await expect(page.getByText("更新の前")).toBeVisible();
      await settled(page);
      await compare(page, "snapshots-ja");
      await press(ja["action.off"]);
      await expect(dialog).toBeVisible();
      await compare(page, "power-off-ja");
    } finally {
      await hostd.kill();
    }
  });
});
