import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { ConsoleLink } from "./link";

class FakeSocket {
  static all: FakeSocket[] = [];
  static OPEN = 1;
  readyState = 0;
  binaryType = "";
  sent: Uint8Array[] = [];
  onopen?: () => void;
  onclose?: () => void;
  onmessage?: (event: { data: unknown }) => void;
  constructor(readonly url: URL) {
    FakeSocket.all.push(this);
  }
  send(bytes: Uint8Array): void {
    this.sent.push(bytes);
  }
  close(): void {
    this.readyState = 3;
    this.onclose?.();
  }
  open(): void {
    this.readyState = 1;
    this.onopen?.();
  }
  says(data: string | Uint8Array): void {
    this.onmessage?.({ data: typeof data === "string" ? data : data.buffer });
  }
}

const last = (): FakeSocket => FakeSocket.all.at(-1) as FakeSocket;
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

beforeEach(() => {
  FakeSocket.all = [];
  vi.useFakeTimers();
  vi.stubGlobal("WebSocket", FakeSocket);
  vi.stubGlobal("location", { href: "https://host/vms/a" });
  vi.stubGlobal("addEventListener", () => {});
  vi.stubGlobal("removeEventListener", () => {});
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

function opened() {
  let said = "";
  const gaps: number[] = [];
  const states: string[] = [];
  const link = new ConsoleLink("/api/v1/vms/a/consoles/uart", {
    bytes: (some) => (said += new TextDecoder().decode(some)),
    gap: (count) => gaps.push(count),
    state: (state) => states.push(state),
  });
  return { link, said: () => said, gaps, states };
}

test("after a break it goes on at the byte after the last one", () => {
  const { said, gaps, states } = opened();
  expect(last().url.href).toBe("wss://host/api/v1/vms/a/consoles/uart");
  last().open();
  last().says('{"offset":100}');
  last().says(bytes("hello "));
  last().close();
  vi.runOnlyPendingTimers();
  expect(last().url.searchParams.get("from")).toBe("106");
  last().open();
  last().says('{"offset":106}');
  last().says(bytes("world"));
  expect(said()).toBe("hello world");
  expect(gaps).toEqual([]);
  expect(states).toEqual(["connecting", "open", "away", "away", "open"]);
});

test("what the host has forgotten is told", () => {
  const { gaps } = opened();
  last().open();
  last().says('{"offset":0}');
  last().says(bytes("abc"));
  last().close();
  vi.runOnlyPendingTimers();
  last().says('{"offset":5000}');
  expect(gaps).toEqual([4997]);
});

test("a connection that is renewed goes on where it stood, and one that is being made is left alone", () => {
  const { link, said } = opened();
  link.renew();
  expect(FakeSocket.all.length).toBe(1);
  last().open();
  last().says('{"offset":7}');
  last().says(bytes("abc"));
  link.renew();
  vi.runOnlyPendingTimers();
  expect(FakeSocket.all.length).toBe(2);
  expect(last().url.searchParams.get("from")).toBe("10");
  last().says('{"offset":10}');
  last().says(bytes("d"));
  expect(said()).toBe("abcd");
});

test("nothing is typed while nobody listens, and nothing comes back after the end", () => {
  const { link } = opened();
  expect(link.type("x")).toBe(false);
  last().open();
  expect(link.type("é")).toBe(true);
  expect(last().sent).toEqual([bytes("é")]);
  link.close();
  vi.runOnlyPendingTimers();
  expect(FakeSocket.all.length).toBe(1);
});
