// The figures of `./bramble bench ui`, written to the file that BRAMBLE_FIGURES names.
import { writeFileSync } from "node:fs";
import type { BrowserContext, Page } from "@playwright/test";
import { Hostd, PASSWORD, expect, furnished, settled, test } from "./fixtures";
import { Hand, toPrompt } from "./journey";

/** Opens a page with an empty cache; the bytes that came over the network for it, heads and all, in thousands. */
async function transferred(context: BrowserContext, url: string, wait: (page: Page) => Promise<void>): Promise<number> {
  const page = await context.newPage();
  const cdp = await context.newCDPSession(page);
  await cdp.send("Network.enable");
  let bytes = 0;
  cdp.on("Network.loadingFinished", ({ encodedDataLength }) => {
    bytes += encodedDataLength;
  });
  await page.goto(url);
  await wait(page);
  await page.waitForLoadState("networkidle");
  return bytes / 1000;
}

test("figures", async ({ browser, page }) => {
  const hostd = await Hostd.start(0, ["--empty"]);
  try {
    await furnished(hostd);
    const stranger = await browser.newContext();
    const login_kb = await transferred(stranger, hostd.url, async (page) => {
      await expect(page.getByRole("heading", { name: "Log in" })).toBeVisible();
    });
    await page.goto(hostd.url);
    const hand = new Hand(page);
    await toPrompt(hand, "admin", PASSWORD, "debian", /login: /);
    const known = await browser.newContext({ storageState: await page.context().storageState() });
    const dashboard_kb = await transferred(known, hostd.url, async (page) => {
      await expect(page.getByRole("navigation", { name: "Main" })).toBeVisible();
      await settled(page);
    });
    const figures = { login_kb, dashboard_kb, clicks_to_prompt: hand.clicks };
    writeFileSync(process.env.BRAMBLE_FIGURES ?? "figures.json", JSON.stringify(figures));
  } finally {
    await hostd.kill();
  }
});
