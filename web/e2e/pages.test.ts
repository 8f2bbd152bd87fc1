// Every page, in Japanese and by the keyboard alone.
import { en } from "../src/i18n/en";
import { expect, settled, test } from "./fixtures";

test.use({ storageState: ({ state }, use) => use(state) });

test("every page in Japanese: no key, no English sentence, and the choice stays", async ({ page }) => {
  test.slow();
  await page.goto("/");
  await page.getByRole("button", { name: "admin" }).click();
  await page.getByLabel("Language").selectOption("ja");
  await expect(page.locator("html")).toHaveAttribute("lang", "ja");
  await page.reload();
  await expect(page.locator("html")).toHaveAttribute("lang", "ja");
  const keys = Object.keys(en).filter((key) => key.includes("."));
  const sentences = Object.values(en).filter((text) => /^[A-Z][a-z]+ \w+ \w+/.test(text) && !text.includes("{"));
  const faults: string[] = [];
  const names = ["メイン", "Main"];
  await page.goto("/vms/web");
  await settled(page);
  const paths = await page
    .getByRole("navigation")
    .getByRole("link")
    .evaluateAll((links) => links.map((link) => new URL((link as HTMLAnchorElement).href).pathname));
  expect(paths.length, names.join()).toBeGreaterThan(5);
  for (const path of [...new Set([...paths, "/vms/new"])]) {
    await page.goto(path);
    await settled(page);
    const text = await page.locator("body").innerText();
    const words = new Set(text.split(/\s+/));
    for (const key of keys) if (words.has(key)) faults.push(`${path}: the key ${key}`);
    for (const sentence of sentences) if (text.includes(sentence)) faults.push(`${path}: "${sentence}"`);
  }
  expect(faults).toEqual([]);
});

test("the keyboard alone leads to a VM's console, and out of a dialog", async ({ page }) => {
  await page.goto("/vms");
  await settled(page);
  await page.keyboard.press("Tab");
  await expect(page.getByRole("link", { name: "Skip to content" })).toBeFocused();
  await page.keyboard.press("Enter");
  await expect(page.getByRole("main")).toBeFocused();
  const wanted = page.getByRole("link", { name: "Console of web" });
  for (let step = 0; step < 40 && !(await wanted.evaluate((link) => link === document.activeElement)); step += 1) {
    await page.keyboard.press("Tab");
  }
  await page.keyboard.press("Enter");
  await expect(page.locator(".xterm-rows")).toContainText("Welcome to web");
  await page.getByRole("button", { name: "Power off", exact: true }).focus();
  await page.keyboard.press("Enter");
  await expect(page.getByRole("dialog")).toBeVisible();
  await page.keyboard.press("Escape");
  await expect(page.getByRole("dialog")).toHaveCount(0);
  await expect(page.getByRole("button", { name: "Power off", exact: true })).toBeFocused();
});
