// A VM's life: made, used, kept, put back.
import { expect, furnished, Hostd, PASSWORD, test, told } from "./fixtures";
import { Hand, screen, toPrompt } from "./journey";

test("from the login to a new guest's prompt in at most 8 clicks", async ({ page }) => {
  const hostd = await Hostd.start(0, ["--empty"]);
  try {
    const api = await furnished(hostd);
    await page.goto(hostd.url);
    const hand = new Hand(page);
    await toPrompt(hand, "admin", PASSWORD, "debian", /Welcome to debian, start 1\s*login: /);
    expect(hand.clicks).toBeLessThanOrEqual(8);
    test.info().annotations.push({ type: "clicks_to_prompt", description: String(hand.clicks) });
    // What is typed reaches the guest, and its answer the screen.
    await page.keyboard.type("root\rhostname\r");
    await expect(screen(page)).toContainText(/hostname\s*debian/);
    const [vm] = (await api.call("GET", "/api/v1/vms")).items;
    expect(vm).toMatchObject({ name: "debian", power: "running" });
  } finally {
    await hostd.kill();
  }
});

test("the console is copied from, pasted to, and taken up again where it was", async ({ browser, state, hostd }) => {
  const context = await browser.newContext({ storageState: state, permissions: ["clipboard-read", "clipboard-write"] });
  const page = await context.newPage();
  await page.goto(`${hostd.url}/vms/web/console`);
  await expect(screen(page)).toContainText("Welcome to web");
  await page.evaluate(() => navigator.clipboard.writeText("pasted words"));
  await page.getByRole("button", { name: "Paste" }).click();
  await expect(screen(page)).toContainText("pasted words");
  await screen(page).getByText("Welcome to web").dblclick();
  await told(page, "Copied.", () => page.keyboard.press("Control+Shift+C"));
  expect((await page.evaluate(() => navigator.clipboard.readText())).trim()).not.toBe("pasted words");
  await page.reload();
  await expect(screen(page)).toContainText("pasted words");
  await context.close();
});

test.describe(() => {
  test.use({ storageState: ({ state }, use) => use(state) });

  test("snapshot, break, revert: what is lost is named, and only a VM that is off goes back", async ({ page, api }) => {
    const disk = await api.call("POST", "/api/v1/volumes", { name: "kept", bytes: 1 << 20 });
    const configuration = { name: "kept", vcpus: 1, memory: "256MiB", boot: { firmware: "QEMU_EFI.fd" }, disk: [{ volume: disk.name }] };
    await api.call("POST", "/api/v1/vms", configuration);
    await page.goto("/vms/kept/snapshots");
    await page.getByRole("button", { name: "Take a snapshot" }).click();
    await page.getByLabel("Name", { exact: true }).fill("before the update");
    const take = page.getByRole("dialog").getByRole("button", { name: "Take a snapshot" });
    await told(page, "Snapshot before the update was taken.", () => take.click());

    await page.getByRole("button", { name: "Power on", exact: true }).click();
    await expect(page.getByRole("button", { name: "Power off", exact: true })).toBeVisible();
    await expect(page.getByRole("button", { name: "Revert" })).toBeDisabled();
    await page.getByRole("button", { name: "Power off", exact: true }).click();
    const asked = page.getByRole("dialog", { name: "Power off kept?" });
    await expect(asked.getByText("what it has not written to its disks is lost")).toBeVisible();
    await asked.getByRole("button", { name: "Power off" }).click();
    await expect(page.getByRole("button", { name: "Revert" })).toBeEnabled();

    await page.getByRole("button", { name: "Revert" }).click();
    const revert = page.getByRole("dialog", { name: "Revert to before the update?" });
    await expect(revert.getByText("Everything that was written to the disks of kept since then is lost.")).toBeVisible();
    await told(page, "Back at before the update.", () => revert.getByRole("button", { name: "Revert" }).click());
  });

  test("from an ISO: the installer is a CD beside an empty disk, and no copy is made of it", async ({ page, api }) => {
    await api.upload("iso:installer-13.iso", Buffer.alloc(1 << 16, 3));
    await page.goto("/vms/new");
    await page.getByRole("radio", { name: "An ISO" }).check();
    await page.getByLabel("Installer", { exact: true }).selectOption({ value: "iso:installer-13.iso" });
    await page.getByRole("button", { name: "Create" }).click();
    await expect(page.getByRole("heading", { level: 1 })).toHaveText("installer-13");
    await page.getByRole("navigation", { name: "Sides of this VM" }).getByRole("link", { name: "Overview" }).click();
    await expect(page.getByText("CD: an ISO of the datastore")).toBeVisible();
    const { configuration } = await api.call("GET", "/api/v1/vms/installer-13");
    expect(configuration.disk).toMatchObject([{ volume: "installer-13" }, { iso: "installer-13.iso" }]);
    const volumes = (await api.call("GET", "/api/v1/volumes")).items.map(({ name }: { name: string }) => name);
    expect(volumes).not.toContain("installer-13-installer");
  });

  test("a clone of a snapshot, what waits for its next start, and firmware variables made anew", async ({ page, api }) => {
    const disk = await api.call("POST", "/api/v1/volumes", { name: "model", bytes: 1 << 20 });
    const configuration = { name: "model", vcpus: 1, memory: "256MiB", boot: { firmware: "QEMU_EFI.fd" }, disk: [{ volume: disk.name }] };
    await api.call("POST", "/api/v1/vms", configuration);
    await api.call("POST", "/api/v1/vms/model/snapshots", { name: "clean" });
    await page.goto("/vms/model");
    await page.getByRole("button", { name: "Clone", exact: true }).click();
    const clone = page.getByRole("dialog", { name: "Clone model" });
    await clone.getByLabel("Name", { exact: true }).fill("model");
    await expect(clone.getByRole("button", { name: "Clone" })).toBeDisabled();
    await clone.getByLabel("Name", { exact: true }).fill("copy");
    await clone.getByLabel("What it holds").selectOption("clean");
    await clone.getByRole("button", { name: "Clone" }).click();
    await expect(page.getByRole("heading", { level: 1 })).toHaveText("copy");
    expect((await api.call("GET", "/api/v1/vms/copy")).configuration).toMatchObject({ autostart: false, memory: "256MiB" });

    await page.getByRole("link", { name: "Settings", exact: true }).click();
    await page.getByRole("button", { name: "Reset the variables" }).click();
    const reset = page.getByRole("dialog", { name: "Reset the firmware variables of copy?" });
    await expect(reset.getByText("Everything that its firmware remembers is lost")).toBeVisible();
    const made = "The firmware variables are as in a new VM.";
    await told(page, made, () => reset.getByRole("button", { name: "Reset the variables" }).click());

    await page.getByRole("button", { name: "Power on", exact: true }).click();
    await expect(page.getByRole("button", { name: "Reset the variables" })).toBeDisabled();
    await page.getByLabel("Memory (MiB)").fill("512");
    // Without leaving the field first.
    await page.getByRole("button", { name: "Save" }).click();
    await expect(page.getByText("Saved, and waiting for the VM's next start: memory.")).toBeVisible();
  });
});
