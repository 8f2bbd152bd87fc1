// Every page, at two widths, light and dark: readable by everyone, still, and no wider than the screen.
import AxeBuilder from "@axe-core/playwright";
import type { Page } from "@playwright/test";
import { expect, settled, test } from "./fixtures";

// Many pages each: both workers take of them.
test.describe.configure({ mode: "parallel" });

/** Adds up how far the layout moves by itself, from the page's beginning. */
async function watchShifts(page: Page): Promise<void> {
  await page.addInitScript(() => {
    const held = globalThis as unknown as { shift: number };
    held.shift = 0;
    new PerformanceObserver((list) => {
      for (const entry of list.getEntries() as (PerformanceEntry & { value: number; hadRecentInput: boolean })[]) {
        if (!entry.hadRecentInput) held.shift += entry.value;
      }
    }).observe({ type: "layout-shift", buffered: true });
  });
}

/** What is wrong with the page that is shown. */
async function faultsOf(page: Page): Promise<string[]> {
  const { violations } = await new AxeBuilder({ page }).analyze();
  const faults = violations
    .filter(({ id, impact }) => impact === "serious" || impact === "critical" || id === "page-has-heading-one")
    .map(({ id, nodes }) => `axe ${id}: ${nodes.map(({ target }) => target.join(" ")).join("; ")}`);
  const { shift, wide } = await page.evaluate(() => ({
    shift: (globalThis as unknown as { shift: number }).shift,
    wide: document.documentElement.scrollWidth - innerWidth,
  }));
  if (shift > 0.1) faults.push(`the layout shifts by ${shift.toFixed(3)}`);
  if (wide > 0) faults.push(`${wide} pixels wider than the screen`);
  return faults;
}

/** Faults of every page that navigation leads to, of the wizard, and of the sides of a VM. */
async function faultsOfAll(page: Page): Promise<string[]> {
  const found = ["/", "/vms/web", "/vms/new"];
  const faults: string[] = [];
  for (const path of found) {
    await page.goto(path);
    await settled(page);
    for (const fault of await faultsOf(page)) faults.push(`${path}: ${fault}`);
    // Those in a phone's closed menu too.
    const links = page.locator("nav a");
    const paths = await links.evaluateAll((all) => all.map((link) => new URL((link as HTMLAnchorElement).href).pathname));
    for (const path of new Set(paths)) if (!found.includes(path)) found.push(path);
  }
  expect(found.length, found.join()).toBeGreaterThan(15);
  return faults;
}

test.describe("who is logged in", () => {
  test.use({ storageState: ({ state }, use) => use(state) });
  for (const [name, width, height, colorScheme] of [
    ["a phone, light", 390, 844, "light"],
    ["a desktop, dark", 1280, 800, "dark"],
  ] as const) {
    test.describe(name, () => {
      test.use({ viewport: { width, height }, colorScheme });
      test(`every page on ${name}: nothing serious by axe, a layout that stays, nothing off the side`, async ({ page }) => {
        test.slow();
        await watchShifts(page);
        expect(await faultsOfAll(page)).toEqual([]);
      });
    });
  }
});

for (const colorScheme of ["light", "dark"] as const) {
  test.describe(colorScheme, () => {
    test.use({ viewport: { width: 390, height: 844 }, colorScheme });
    test(`the login, ${colorScheme}: nothing serious by axe, a layout that stays, nothing off the side`, async ({ page }) => {
      await watchShifts(page);
      await page.goto("/");
      await settled(page);
      expect(await faultsOf(page)).toEqual([]);
    });
  });
}
