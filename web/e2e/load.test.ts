// Much of everything: a thousand VMs, ten thousand events.
import { expect, settled, test } from "./fixtures";

test.use({ storageState: ({ state }, use) => use(state) });

test("a thousand VMs scroll without a long task, with the CPU throttled four times", async ({ page, api }) => {
  const [vm] = (await api.call("GET", "/api/v1/vms")).items;
  const items = Array.from({ length: 1000 }, (_, index) => ({ ...vm, name: `vm-${String(index).padStart(4, "0")}` }));
  await page.route(/\/api\/v1\/vms(\?|$)/, (route) => {
    const query = new URL(route.request().url()).searchParams;
    const skip = Number(query.get("skip") ?? 0);
    const page = items.slice(skip, skip + Number(query.get("limit") ?? 100));
    const next = skip + page.length < items.length ? skip + page.length : null;
    return route.fulfill({ json: { items: page, total: items.length, next } });
  });
  await page.goto("/vms");
  await expect(page.getByText("1,000", { exact: true })).toBeVisible();
  await settled(page);
  // The main thread's own time, four times of it for the slower CPU: other programs on this machine do not count.
  const cdp = await page.context().newCDPSession(page);
  await cdp.send("Performance.enable", { timeDomain: "threadTicks" });
  const spent = async (): Promise<number> => {
    const { metrics } = await cdp.send("Performance.getMetrics");
    return metrics.find(({ name }) => name === "TaskDuration")?.value ?? NaN;
  };
  // What a busy machine adds is another time elsewhere; code that is slow is slow each time.
  const turns: number[] = [];
  for (let turn = 0; turn < 3 && turns.every((time) => time > 200); turn += 1) {
    const times: number[] = [];
    for (let top = 0; top < 1000 * 56; top += 1400) {
      const before = await spent();
      await page.evaluate(async (to) => {
        scrollTo(0, to);
        await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
      }, top);
      times.push((await spent()) - before);
    }
    turns.push(Math.max(...times) * 1000 * 4);
  }
  const longest = Math.min(...turns);
  test.info().annotations.push({ type: "longest_task_ms", description: longest.toFixed(0) });
  expect(longest, "all tasks of one step together").toBeLessThanOrEqual(200);
  await page.evaluate(() => scrollTo(0, document.documentElement.scrollHeight));
  await expect(page.getByRole("link", { name: "vm-0999", exact: true })).toBeVisible();
});

test("ten thousand events leave a heap of at most 60 MB", async ({ page }) => {
  await page.addInitScript(() => {
    const Native = WebSocket;
    globalThis.WebSocket = class extends Native {
      constructor(url: string | URL) {
        super(url);
        if (String(url).includes("/events")) (globalThis as unknown as { events: WebSocket }).events = this;
      }
    };
  });
  await page.goto("/tasks/events");
  await settled(page);
  await expect.poll(() => page.evaluate(() => "events" in globalThis)).toBe(true);
  await page.evaluate(async () => {
    const { events } = globalThis as unknown as { events: WebSocket };
    for (let id = 1; id <= 10_000; id += 1) {
      const power = id % 2 ? "running" : "paused";
      const last = id === 10_000;
      const about = last ? { kind: "upload", subject: "the last one" } : { kind: "vm.power", subject: "web", data: { power } };
      const event = { id: 2 ** 52 + id, at: 1_700_000_000 + id, ...about };
      events.dispatchEvent(new MessageEvent("message", { data: JSON.stringify(event) }));
      if (id % 100 === 0) await new Promise((done) => setTimeout(done));
    }
  });
  await expect(page.getByText("the last one").first()).toBeVisible();
  const cdp = await page.context().newCDPSession(page);
  await cdp.send("HeapProfiler.enable");
  await cdp.send("HeapProfiler.collectGarbage");
  const { usedSize } = await cdp.send("Runtime.getHeapUsage");
  test.info().annotations.push({ type: "heap_mb", description: (usedSize / 1e6).toFixed(1) });
  expect(usedSize / 1e6).toBeLessThanOrEqual(60);
});
