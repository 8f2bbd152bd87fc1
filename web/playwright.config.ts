// The tests in a browser: Debian's Chromium, against hostd on this machine. `./bramble test --only ui` says where both are.
import { defineConfig, devices } from "@playwright/test";
import { fileURLToPath } from "node:url";

const made = fileURLToPath(new URL("../target/bramble/ui", import.meta.url));

export default defineConfig({
  testDir: "e2e",
  outputDir: `${made}/results`,
  // `./bramble test` has two cores in mind.
  workers: 2,
  fullyParallel: false,
  // A test is told from a hung one by this; nothing is asserted about time.
  timeout: 300_000,
  expect: {
    timeout: 60_000,
    toHaveScreenshot: { maxDiffPixelRatio: 0.005, stylePath: "e2e/still.css" },
  },
  // The pictures that pages are compared with; they are the same on every machine.
  snapshotPathTemplate: "{testDir}/screenshots/{arg}{ext}",
  updateSnapshots: process.env.BLESS ? "all" : "none",
  reporter: [["list"], ["json", { outputFile: `${made}/results.json` }]],
  use: {
    ...devices["Desktop Chrome"],
    viewport: { width: 1280, height: 800 },
    ignoreHTTPSErrors: true,
    locale: "en-GB",
    timezoneId: "UTC",
    colorScheme: "light",
    contextOptions: { reducedMotion: "reduce" },
    trace: "off",
    launchOptions: {
      executablePath: process.env.BRAMBLE_CHROMIUM ?? "/usr/bin/chromium",
      // Two fonts of Debian's, whatever else the machine has: pictures look the same everywhere.
      env: { ...process.env, FONTCONFIG_FILE: fileURLToPath(new URL("e2e/fonts.conf", import.meta.url)) },
      args: [
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--font-render-hinting=none",
        "--disable-lcd-text",
      ],
    },
  },
  // `NAME.task.ts` is for its name only: figures, pictures, the journey on a host in QEMU.
  testMatch: process.env.BRAMBLE_TASK ? `${process.env.BRAMBLE_TASK}.task.ts` : "*.test.ts",
});
