// The README's pictures, made by `./bramble pictures`, into the folder that BRAMBLE_PICTURES names.
import { Hostd, PASSWORD, expect, furnished, logIn, settled, test } from "./fixtures";
import { screen } from "./journey";

test("pictures", async ({ page }) => {
  const folder = process.env.BRAMBLE_PICTURES ?? ".";
  const hostd = await Hostd.start();
  try {
    await furnished(hostd);
    await page.setViewportSize({ width: 1120, height: 700 });
    await page.goto(hostd.url);
    await logIn(page, "admin", PASSWORD);
    await expect(page.getByRole("navigation", { name: "Main" })).toBeVisible();
    await settled(page);
    await page.screenshot({ path: `${folder}/overview.png` });
    await page.goto(`${hostd.url}/vms/new`);
    await settled(page);
    await page.screenshot({ path: `${folder}/new-vm.png` });
    await page.goto(`${hostd.url}/vms/web/console`);
    await expect(screen(page)).toContainText("login: ");
    await page.keyboard.type("root\recho hello from the page\r");
    await expect(screen(page)).toContainText(/\n?hello from the page/);
    await page.emulateMedia({ colorScheme: "dark" });
    await page.screenshot({ path: `${folder}/console.png` });
    await page.setViewportSize({ width: 390, height: 700 });
    await page.goto(`${hostd.url}/vms`);
    await settled(page);
    await page.screenshot({ path: `${folder}/phone.png` });
  } finally {
    await hostd.kill();
  }
});
