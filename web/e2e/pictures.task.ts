// The README's pictures, made by `./bramble pictures`, into the folder that BRAMBLE_PICTURES names.
import { Hostd, PASSWORD, expect, logIn, opened, test } from "./fixtures";
import { screen } from "./journey";
import { show } from "./views";

test("pictures", async ({ page }) => {
  const hostd = await Hostd.start(0, []);
  const take = async (name: string): Promise<void> => {
    await page.mouse.move(0, 0);
    await page.screenshot({ path: `${process.env.BRAMBLE_PICTURES ?? "."}/${name}.png`, caret: "initial" });
  };
  try {
    await opened(hostd);
    await page.setViewportSize({ width: 1120, height: 700 });
    await page.goto(hostd.url);
    await logIn(page, "admin", PASSWORD);
    await expect(page.getByRole("navigation", { name: "Main" })).toBeVisible();
    for (const name of ["overview", "new-vm"] as const) {
      await show(page, hostd.url, name);
      await take(name);
    }
    await show(page, hostd.url, "console");
    await page.keyboard.type("root\recho hello from the page\r");
    await expect(screen(page)).toContainText(/\n?hello from the page/);
    await page.emulateMedia({ colorScheme: "dark" });
    await take("console");
    await page.setViewportSize({ width: 390, height: 700 });
    await show(page, hostd.url, "vms");
    await take("phone");
  } finally {
    await hostd.kill();
  }
});
