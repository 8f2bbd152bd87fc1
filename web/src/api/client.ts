// Requests to the API. Types come from the API's own description (`npm run types`).

import type { components, paths } from "./schema";

export type Schemas = components["schemas"];
export type Problem = Schemas["ProblemDetails"];
export type List<T> = { items: T[]; total: number; next?: number | null };

type Method = "get" | "post" | "put" | "patch" | "delete";
type Operation<P extends keyof paths, M extends Method> = NonNullable<paths[P][M]>;
type Json<R> = R extends { content: { "application/json": infer T } } ? T : undefined;
type Success<O> = O extends { responses: infer R }
  ? Json<R[Extract<keyof R, 200 | 201 | 202 | 204>]>
  : never;
type Body<O> = O extends { requestBody: { content: { "application/json": infer B } } } ? B : undefined;
type PathsWith<M extends Method> = {
  [P in keyof paths]: paths[P][M] extends undefined ? never : P;
}[keyof paths];

export interface Options<B> {
  /** What stands for each `{…}` of the path. */
  at?: Record<string, string | number>;
  query?: Record<string, string | number | undefined>;
  body?: B;
  headers?: Record<string, string>;
  signal?: AbortSignal;
}

/** Why a call failed: the API's problem, or that there was no answer. */
export class Failed extends Error {
  constructor(readonly problem: Problem) {
    super(problem.detail);
  }
  get status(): number {
    return this.problem.status;
  }
  get isOffline(): boolean {
    return this.problem.status === 0;
  }
}

/** The session's secret against forged requests; the cookie itself is out of any script's reach. */
let csrf: string | null = null;
export const setCsrf = (secret: string | null | undefined): void => {
  csrf = secret ?? null;
};

let onLoggedOut: () => void = () => {};
/** Called when the API says that the session is over. */
export const whenLoggedOut = (call: () => void): void => {
  onLoggedOut = call;
};

/** A path of the API with its parts filled in. */
export function url(path: string, { at, query }: Options<unknown> = {}): string {
  const filled = path.replace(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(String(at?.[name] ?? "")));
  const wanted = Object.entries(query ?? {}).filter(([, value]) => value !== undefined);
  const text = new URLSearchParams(wanted.map(([key, value]) => [key, String(value)])).toString();
  return text ? `${filled}?${text}` : filled;
}

const newKey = (): string =>
  Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");

const offline = (detail: string): Failed =>
  new Failed({
    type: "urn:bramble:problem:offline",
    title: "",
    status: 0,
    reason: "offline",
    detail,
    remedy: "",
  });

/** A request with the session's marks; any answer but success is thrown as `Failed`. */
export async function send(method: string, at: string, init: RequestInit = {}): Promise<Response> {
  const headers = new Headers(init.headers);
  if (method !== "GET" && csrf) headers.set("X-Bramble-CSRF", csrf);
  let response: Response;
  try {
    response = await fetch(at, { ...init, method, headers, credentials: "same-origin", cache: "no-store" });
  } catch (error) {
    if (init.signal?.aborted) throw error;
    throw offline(String(error));
  }
  if (response.ok) return response;
  const problem = await problemOf(response);
  if (response.status === 401 && problem.reason !== "wrong-password") onLoggedOut();
  throw new Failed(problem);
}

async function problemOf(response: Response): Promise<Problem> {
  const text = await response.text().catch(() => "");
  try {
    const problem = JSON.parse(text) as Problem;
    if (typeof problem.reason === "string") return problem;
  } catch {
    // Not the API's own words: something between it and us answered.
  }
  const { status, statusText } = response;
  return { type: "about:blank", title: statusText, status, reason: "unknown", detail: text || statusText, remedy: "" };
}

async function json(method: Method, path: string, options: Options<unknown>): Promise<unknown> {
  const headers: Record<string, string> = { ...options.headers };
  const init: RequestInit = { signal: options.signal ?? null };
  if (options.body !== undefined) {
    headers["Content-Type"] = "application/json";
    init.body = JSON.stringify(options.body);
  }
  // The same key and body give the same answer, also when the connection broke before the first answer came.
  if (method === "post") headers["Idempotency-Key"] ??= newKey();
  init.headers = headers;
  const response = await send(method.toUpperCase(), url(path, options), init);
  if (response.status === 204) return undefined;
  return response.json();
}

type Call<M extends Method> = <P extends PathsWith<M>>(
  path: P,
  options?: Options<Body<Operation<P, M>>>,
) => Promise<Success<Operation<P, M>>>;

const caller = <M extends Method>(method: M): Call<M> =>
  ((path: string, options: Options<unknown> = {}) => json(method, path, options)) as Call<M>;

export const get = caller("get");
export const post = caller("post");
export const patch = caller("patch");
export const remove = caller("delete");
export const put = caller("put");

/** All items of a list, page by page. */
export async function all<T>(page: (query: { skip: number; limit: number }) => Promise<List<T>>): Promise<T[]> {
  const items: T[] = [];
  for (;;) {
    const some = await page({ skip: items.length, limit: 200 });
    items.push(...some.items);
    if (some.next == null || some.items.length === 0) return items;
  }
}
