// Settings of the host and of a VM: what is saved stays, another address is on trial until someone says that it works. And what
// helps to find a fault is a file.
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

test("a VM's settings: disks and cards; what was typed stays when someone else is faster, and is refused", async ({ page, context, api }) => {
  for (const name of ["first", "second"]) await api.call("POST", "/api/v1/volumes", { name, bytes: 1 << 20 });
  const boot = { firmware: "QEMU_EFI.fd" };
  await api.call("POST", "/api/v1/vms", { name: "tuned", vcpus: 1, memory: "256MiB", boot, disk: [{ volume: "first" }] });
  await page.goto("/vms/tuned/settings");
  const save = page.getByRole("button", { name: "Save" });
  await page.getByLabel("Attach a volume").selectOption("second");
  await page.getByRole("button", { name: "Detach disk 1" }).click();
  await page.getByRole("button", { name: "Add a network card" }).click();
  await told(page, "Saved.", () => save.click());
  await expect(save).toBeDisabled();
  const { configuration } = await api.call("GET", "/api/v1/vms/tuned");
  expect(configuration.disk).toMatchObject([{ volume: "second" }]);
  expect(configuration.nic).toHaveLength(1);

  const [vcpus, memory] = [page.getByLabel("vCPUs"), page.getByLabel("Memory (MiB)")];
  await vcpus.fill("4");
  const other = await context.newPage();
  await other.goto("/vms/tuned/settings");
  await other.getByLabel("Memory (MiB)").fill("512");
  await other.getByRole("button", { name: "Save" }).click();
  await expect(page.getByText("Someone else changed this meanwhile")).toBeVisible();
  await save.click();
  await expect(page.getByRole("alert")).toBeVisible();
  await expect(vcpus).toHaveValue("4");
  await page.getByRole("button", { name: "Undo changes" }).click();
  await expect(vcpus).toHaveValue("1");
  await expect(memory).toHaveValue("512");
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
