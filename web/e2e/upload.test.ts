// An upload that is cut in the middle, twice: by the network, and by the page that goes.
import { createHash, randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import { expect, settled, test } from "./fixtures";

test.use({ storageState: ({ state }, use) => use(state) });

test("an upload goes on after a cut and after a reload, and is whole", async ({ page, api }, info) => {
  const bytes = randomBytes(10 << 20);
  const file = info.outputPath("cut.raw");
  writeFileSync(file, bytes);
  let pieces = 0;
  // The second piece is lost; the fourth attempt waits until the page is gone.
  await page.route(/\/api\/v1\/uploads\/[^/]+$/, async (route) => {
    if (route.request().method() !== "PATCH") return route.fallback();
    pieces += 1;
    if (pieces === 2) return route.abort("connectionreset");
    if (pieces === 4) return;
    return route.fallback();
  });
  await page.goto("/storage/files");
  await settled(page);
  await page.locator("main input[type=file]").first().setInputFiles(file);
  await page.getByRole("dialog", { name: "Upload" }).getByRole("button", { name: "Upload" }).click();
  const far = page.getByRole("progressbar", { name: "Upload of cut.raw" });
  await expect.poll(() => pieces, { timeout: 120_000 }).toBe(4);
  await expect.poll(() => far.evaluate((bar: HTMLProgressElement) => bar.value)).toBe(8 << 20);
  await page.reload();
  await expect(page.getByText("Interrupted").first()).toBeVisible();
  await page.getByLabel("Choose the file").setInputFiles(file);
  await expect(page.getByText("Done; the SHA-256 is right").first()).toBeVisible({ timeout: 120_000 });
  const kept = (await api.call("GET", "/api/v1/objects/image:cut.raw")) as Buffer;
  expect(createHash("sha256").update(kept).digest("hex")).toBe(createHash("sha256").update(bytes).digest("hex"));
});

test("a file that is dropped on the page is uploaded under its name", async ({ page, api }, info) => {
  const file = info.outputPath("dropped.iso");
  writeFileSync(file, "what was dropped");
  await page.goto("/storage/files");
  const box = await page.getByText("or drop them here").boundingBox();
  if (!box) throw new Error("there is no place to drop files on");
  // As the desktop does it: the page has to take what hovers over it, or it gets nothing.
  const cdp = await page.context().newCDPSession(page);
  const data = { items: [], files: [file], dragOperationsMask: 1 };
  for (const type of ["dragEnter", "dragOver", "drop"] as const) {
    await cdp.send("Input.dispatchDragEvent", { type, x: box.x + 5, y: box.y + 5, data });
  }
  const dialog = page.getByRole("dialog", { name: "Upload" });
  await expect(dialog.getByLabel("Kind")).toHaveValue("iso");
  await dialog.getByLabel("Name", { exact: true }).fill("installer.iso");
  await dialog.getByRole("button", { name: "Upload" }).click();
  await expect(page.getByText("Done; the SHA-256 is right").first()).toBeVisible();
  expect(String(await api.call("GET", "/api/v1/objects/iso:installer.iso"))).toBe("what was dropped");
});
