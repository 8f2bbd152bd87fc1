// hostd on this machine, started for tests and ended with them.
import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));
/** Everyone's, once it is changed. */
export const PASSWORD = "four words will do";

export class Hostd {
  private constructor(
    private readonly process: ChildProcess,
    readonly port: number,
    readonly url: string,
    /** For the first login. */
    readonly first: string,
  ) {}

  /** Starts one with three VMs of a boot archive and no datastore, or with what these options say; without a port, on any
   * that is free. */
  static async start(port = 0, options: readonly string[] = ["--no-datastore"]): Promise<Hostd> {
    const program = process.env.BRAMBLE_HOSTD_PC ?? `${root}target/debug/hostd-pc`;
    const pack = `${root}target/bramble/web.pack`;
    const started = spawn(program, ["--tls", "--port", String(port), "--web", pack, ...options], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const lines = createInterface({ input: started.stdout });
    let url = "";
    let first = "";
    for await (const line of lines) {
      url ||= /https:\/\/127\.0\.0\.1:\d+/.exec(line)?.[0] ?? "";
      first ||= /first login: user admin, password (\S+)/.exec(line)?.[1] ?? "";
      if (url && first) break;
    }
    if (!url || !first) throw new Error("hostd ended before it said its address and password");
    started.stdout.resume();
    return new Hostd(started, Number(new URL(url).port), url, first);
  }

  /** As power or a defect ends it: at once. */
  async kill(): Promise<void> {
    if (this.process.exitCode !== null || this.process.signalCode !== null) return;
    const ended = new Promise((resolve) => this.process.once("exit", resolve));
    this.process.kill("SIGKILL");
    await ended;
  }
}
