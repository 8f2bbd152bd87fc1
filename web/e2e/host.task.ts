// The main journey on a host in QEMU: `./bramble test --only ui` starts one, and names its address and the password of its
// console. It has the image of a small Debian guest, and a firmware.
import { PASSWORD, choosePassword, expect, logIn, logOut, test, told } from "./fixtures";
import { Hand, screen, toPrompt } from "./journey";

const url = process.env.BRAMBLE_HOST ?? "";
const first = process.env.BRAMBLE_HOST_PASSWORD ?? "";
test.use({ baseURL: url });
/** A guest that hangs is told from a slow machine by this. */
const GUEST = { timeout: 600_000 };

test("a host in QEMU: the first login, a new guest's prompt in at most 8 clicks, snapshot, break, revert", async ({ page }) => {
  // Everything is emulated, and a guest boots twice.
  test.setTimeout(2_400_000);
  await page.goto("/");
  await logIn(page, "admin", first);
  await choosePassword(page, first);
  await logOut(page);

  const hand = new Hand(page);
  await toPrompt(hand, "admin", PASSWORD, "debian", /debian login:/);
  expect(hand.clicks).toBeLessThanOrEqual(8);
  await page.keyboard.type("root\r");
  await expect(screen(page)).toHaveText(/# /, GUEST);
  await page.keyboard.type("hostname; nproc\r");
  await expect(screen(page)).toHaveText(/nproc\s*debian\s*2/, GUEST);

  await page.getByRole("link", { name: "Snapshots" }).click();
  await page.getByRole("button", { name: "Take a snapshot" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Name", { exact: true }).fill("whole");
  await told(page, "Snapshot whole was taken.", () => dialog.getByRole("button", { name: "Take a snapshot" }).click());

  // Firmware, kernel and all: what is written reaches the disk before the command ends.
  await page.getByRole("link", { name: "Console" }).click();
  await expect(screen(page)).toHaveText(/nproc\s*debian\s*2/);
  await page.keyboard.type("clear; dd if=/dev/zero of=/dev/vda bs=1M count=64 conv=fsync\r");
  await expect(screen(page)).toHaveText(/64\+0 records out/, GUEST);
  await page.getByRole("button", { name: "Power off", exact: true }).click();
  await dialog.getByRole("button", { name: "Power off" }).click();

  await page.getByRole("link", { name: "Snapshots" }).click();
  await page.getByRole("button", { name: "Revert" }).click();
  await told(page, "Back at whole.", () => dialog.getByRole("button", { name: "Revert" }).click());
  await page.getByRole("link", { name: "Console" }).click();
  // All that was said before is shown again; what comes now is new.
  await expect(screen(page)).toHaveText(/64\+0 records out/);
  await page.getByRole("button", { name: "Power on", exact: true }).first().click();
  await expect(screen(page)).toHaveText(/debian login: *$/, GUEST);

  // Under the connections that are open.
  await page.goto("/host/settings");
  await told(page, "The host has a new certificate", () => page.getByRole("button", { name: "Renew now" }).click());
});
