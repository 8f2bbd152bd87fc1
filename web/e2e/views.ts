// The pages that are pictured: by the tests, which compare them, and for the README.
import { type Page, expect } from "@playwright/test";
import { settled } from "./fixtures";
import { screen } from "./journey";

interface View {
  path: string;
  /** Waits for what comes later than the page itself. */
  wait?: (page: Page) => Promise<void>;
}

/** Addresses of VMs are seen some seconds after their start. */
const addresses = (count: number) => (page: Page) =>
  expect(page.getByText(/^10\.0\.2\./)).toHaveCount(count);

/** By name, of `hostd-pc` as it is without an option. */
export const VIEWS = {
  overview: { path: "/" },
  vms: { path: "/vms" },
  vm: { path: "/vms/db", wait: addresses(1) },
  console: { path: "/vms/web/console", wait: (page) => expect(screen(page)).toContainText("login: ") },
  "new-vm": { path: "/vms/new" },
  storage: { path: "/storage" },
  network: { path: "/network", wait: addresses(3) },
} satisfies Record<string, View>;

/** Shows one of them, with all that belongs to it. */
export async function show(page: Page, url: string, name: keyof typeof VIEWS): Promise<void> {
  const { path, wait }: View = VIEWS[name];
  await page.goto(`${url}${path}`);
  await settled(page);
  await wait?.(page);
}
