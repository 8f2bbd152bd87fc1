// From the login to a new guest's prompt: what a newcomer does first.
import { type Page, expect } from "@playwright/test";

/** Clicks as a person does them; the count is a figure of `./bramble bench ui`. */
export class Hand {
  clicks = 0;
  constructor(readonly page: Page) {}

  async click(role: "button" | "link", name: string | RegExp): Promise<void> {
    this.clicks += 1;
    await this.page.getByRole(role, { name }).first().click();
  }
}

/** What the terminal shows. */
export const screen = (page: Page) => page.locator(".xterm-rows");

/** Logs in, makes a VM of the first image, and waits for its prompt in the console; the VM's name. */
export async function toPrompt(hand: Hand, user: string, password: string, name: string, prompt: RegExp): Promise<void> {
  const { page } = hand;
  await page.getByLabel("User", { exact: true }).fill(user);
  await page.getByLabel("Password", { exact: true }).fill(password);
  await hand.click("button", "Log in");
  await hand.click("link", "Virtual machines");
  await hand.click("link", "New VM");
  await page.getByLabel("Name", { exact: true }).fill(name);
  await hand.click("button", "Create");
  await expect(page.getByRole("heading", { level: 1 })).toHaveText(name, { timeout: 600_000 });
  await expect(screen(page)).toHaveText(prompt, { timeout: 900_000 });
}
