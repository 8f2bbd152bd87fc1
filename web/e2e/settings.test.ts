// The host: what is saved of its settings stays, another address is on trial until someone says that it works, and what helps
// to find a fault is a file.
import { readFileSync } from "node:fs";
import { expect, settled, test, told } from "./fixtures";

test.use({ storageState: ({ state }, use) => use(state) });

test("names and time servers are saved; what is not saved is asked for", async ({ page, api }) => {
  await page.goto("/host/settings");
  const servers = page.getByLabel("NTP servers");
  const save = page.getByRole("button", { name: "Save" });
  await expect(save).toBeDisabled();
  await servers.fill("ntp.example, 192.0.2.7");
  await servers.blur();
  let asked = "";
  page.once("dialog", (dialog) => {
    asked = dialog.message();
    return dialog.dismiss();
  });
  await page.getByRole("link", { name: "Log", exact: true }).click();
  expect(asked).toBe("Your changes are not saved. Leave the page?");
  await told(page, "Saved.", () => save.click());
  await expect(save).toBeDisabled();
  await page.reload();
  await expect(servers).toHaveValue("ntp.example, 192.0.2.7");
  expect((await api.call("GET", "/api/v1/host/settings")).settings.ntp).toEqual(["ntp.example", "192.0.2.7"]);
});

test("a refused setting says why; another address is on trial, taken back, and kept", async ({ page, api }) => {
  await page.goto("/host/settings");
  await settled(page);
  const ipv4 = page.getByRole("region", { name: "IPv4" });
  const save = page.getByRole("button", { name: "Save" });
  const trial = page.getByText("The new address is on trial.");
  const write = async (address: string): Promise<void> => {
    await ipv4.getByLabel("Address", { exact: true }).selectOption("Fixed");
    await ipv4.getByLabel("Address and prefix").fill(address);
    await ipv4.getByLabel("Gateway").fill("192.0.2.1");
    await save.click();
  };
  await write("192.0.2.10");
  await expect(page.getByRole("alert")).toContainText("ipv4.address");
  await write("192.0.2.10/24");
  await expect(trial).toBeVisible();
  expect((await api.call("GET", "/api/v1/host/settings")).trial.before.ipv4.method).toBe("dhcp");
  await page.getByRole("button", { name: "Go back" }).click();
  await expect(trial).toHaveCount(0);
  await expect(ipv4.getByLabel("Address", { exact: true })).toHaveValue("dhcp");

  await write("192.0.2.11/24");
  await expect(trial).toBeVisible();
  await page.getByRole("button", { name: "Keep it" }).click();
  await expect(trial).toHaveCount(0);
  const { settings } = await api.call("GET", "/api/v1/host/settings");
  expect(settings.ipv4).toMatchObject({ method: "static", address: "192.0.2.11/24", gateway: "192.0.2.1" });
});

test("the support bundle is saved as a file", async ({ page }) => {
  await page.goto("/host");
  const saved = page.waitForEvent("download");
  await page.getByRole("link", { name: "Save the bundle" }).click();
  const file = await saved;
  expect(file.suggestedFilename()).toMatch(/\.tar$/);
  const tar = readFileSync(await file.path(), "latin1");
  // As POSIX has it, at the end of the first head's fields.
  expect(tar.slice(257, 262)).toBe("ustar");
  expect(tar).toContain("host.json");
});
