// A console by WebSocket: what it said, from where we were on, whatever happens in between.
//
// The host tells in a text frame where the next byte stands, and sends bytes in binary frames. We count them, and after a
// break ask for what comes after the last one that we have. Where the host has forgotten some, the gap is told.

export type LinkState = "connecting" | "open" | "away";

export interface Ends {
  bytes: (bytes: Uint8Array) => void;
  /** So many bytes were said that nobody has any more. */
  gap: (bytes: number) => void;
  state: (state: LinkState) => void;
}

const WAITS = [300, 1000, 2000, 4000];

export class ConsoleLink {
  /** Where the next byte that we want stands; unknown at first. */
  private next: number | null = null;
  private socket: WebSocket | undefined;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private failed = 0;
  private isOver = false;

  constructor(
    private readonly path: string,
    private readonly ends: Ends,
  ) {
    this.connect();
    addEventListener("online", this.now);
  }

  /** Types; false where nobody listens, so that nothing is typed into the void. */
  type(text: string): boolean {
    if (this.socket?.readyState !== WebSocket.OPEN) return false;
    this.socket.send(new TextEncoder().encode(text));
    return true;
  }

  /** Begins a new connection where the last one stopped: the host was away, and a silent connection does not notice. */
  renew(): void {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.close();
    else this.now();
  }

  close(): void {
    this.isOver = true;
    clearTimeout(this.timer);
    removeEventListener("online", this.now);
    this.socket?.close();
  }

  private readonly now = (): void => {
    if (this.isOver || this.socket) return;
    clearTimeout(this.timer);
    this.connect();
  };

  private connect(): void {
    this.ends.state(this.failed === 0 ? "connecting" : "away");
    const address = new URL(this.path, location.href);
    address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
    if (this.next !== null) address.searchParams.set("from", String(this.next));
    const socket = new WebSocket(address);
    this.socket = socket;
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      this.failed = 0;
      this.ends.state("open");
    };
    socket.onmessage = ({ data }: MessageEvent<string | ArrayBuffer>) => this.take(data);
    socket.onclose = () => {
      this.socket = undefined;
      if (this.isOver) return;
      this.ends.state("away");
      const wait = WAITS[Math.min(this.failed, WAITS.length - 1)];
      this.failed += 1;
      this.timer = setTimeout(() => this.connect(), wait);
    };
  }

  private take(data: string | ArrayBuffer): void {
    if (typeof data !== "string") {
      this.next = (this.next ?? 0) + data.byteLength;
      this.ends.bytes(new Uint8Array(data));
      return;
    }
    const { offset } = JSON.parse(data) as { offset?: number };
    if (typeof offset !== "number") return;
    if (this.next !== null && offset > this.next) this.ends.gap(offset - this.next);
    this.next = offset;
  }
}
