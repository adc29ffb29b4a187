/** Requests that find a node which answers, and are repeated where that changes nothing. */

import { ApiError, ClusterUnreachableError } from "./errors.js";
import { type Json, parse, stringify } from "./json.js";
import { Members } from "./members.js";
import type { TrustAnchor } from "./proofs.js";
import { refusalOf } from "./refusals.js";

export interface Call {
  readonly method: string;
  readonly path: string;
  readonly body?: unknown;
  readonly contentType?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly query?: Readonly<Record<string, string | undefined>>;
  /** Writes carry an idempotency key: the cluster does them once, however often they are sent. */
  readonly isWrite?: boolean;
  readonly idempotencyKey?: string | undefined;
}

export interface TransportOptions {
  /** For one request to one node. */
  readonly timeoutMs?: number;
  readonly fetch?: typeof globalThis.fetch;
  /**
   * The public keys of the nodes. Reads with `proof` are then checked against them, and the client
   * goes along when the members change.
   */
  readonly anchor?: TrustAnchor;
  /** `false`: it stays with the addresses that it was given. */
  readonly follow?: boolean;
}

const ROUNDS = 2;
const TIMEOUT_MS = 10_000;
const PAUSE_MS = 250;
const PAUSE_MS_MAX = 2_000;
const ASK_TIMEOUT_MS = 2_000;
const ASK_BYTES_MAX = 2 * 1024 * 1024;

export class Transport {
  readonly #seeds: readonly string[];
  readonly #token: string;
  readonly #timeoutMs: number;
  readonly #fetch: typeof globalThis.fetch;
  readonly #members: Members | undefined;
  #first: string | undefined;
  #sequence = 0;

  constructor(urls: readonly string[], token: string, options: TransportOptions) {
    if (urls.length === 0) {
      throw new ClusterUnreachableError("a client needs the URL of at least one node");
    }
    this.#seeds = [...new Set(urls.map((url) => url.replace(/\/+$/, "")))];
    this.#token = token;
    this.#timeoutMs = options.timeoutMs ?? TIMEOUT_MS;
    this.#fetch = options.fetch ?? globalThis.fetch.bind(globalThis);
    // Nodes name plain addresses: who asked for TLS does not get less.
    const isPlain = this.#seeds.every((url) => url.startsWith("http://"));
    const mayFollow = options.anchor !== undefined && options.follow !== false && isPlain;
    this.#members = mayFollow
      ? new Members(options.anchor, (url, withKey) => this.#ask(url, withKey))
      : undefined;
  }

  /** Whom to ask, in this order: members and, last, those that the caller gave. */
  get #urls(): readonly string[] {
    const known = [...new Set([...(this.#members?.urls ?? []), ...this.#seeds])];
    const at = this.#first === undefined ? 0 : Math.max(known.indexOf(this.#first), 0);
    return [...known.slice(at), ...known.slice(0, at)];
  }

  /** The newest position in the agreed log that an answer told: what `session` reads wait for. */
  get sequence(): number {
    return this.#sequence;
  }

  /** Makes a call; returns the decoded body. */
  async run(call: Call): Promise<Json> {
    const signalOf = (): AbortSignal => AbortSignal.timeout(this.#timeoutMs);
    // An answer that breaks off is none: reading it to its end is a part of the attempt.
    const text = await this.#attempt(call, signalOf, (response) => response.text());
    return text === "" ? null : parse(text);
  }

  /** Opens a stream; the time to wait is for its head alone. */
  async open(call: Call, signal: AbortSignal): Promise<Response> {
    return this.#attempt(
      call,
      () => signal,
      (response) => Promise.resolve(response),
    );
  }

  /** Takes that a node failed in the midst of an answer: another is asked first from now on. */
  lost(): void {
    this.#members?.lost();
    this.#first = this.#urls[1] ?? this.#urls[0];
  }

  async #attempt<T>(
    call: Call,
    signalOf: () => AbortSignal,
    take: (response: Response) => Promise<T>,
  ): Promise<T> {
    const headers = this.#headers(call);
    const body = call.body === undefined ? null : stringify(call.body);
    let last: unknown;
    let pauseMs = PAUSE_MS;
    for (let round = 0; round < ROUNDS; round += 1) {
      if (round > 0) await pause(pauseMs);
      await this.#members?.learn(this.#urls);
      for (const url of this.#urls) {
        try {
          const taken = await take(await this.#send(url, call, headers, body, signalOf()));
          this.#first = url;
          return taken;
        } catch (error) {
          if (!mayRepeat(error)) throw error;
          if (!(error instanceof ApiError)) this.#members?.lost();
          last = error;
          pauseMs = pauseAfter(error);
        }
      }
    }
    if (last instanceof ApiError) throw last;
    throw new ClusterUnreachableError(`no node answered: ${reasonOf(last)}`, { cause: last });
  }

  /** Asks where the members are, or one of them who it is. */
  async #ask(url: string, withKey: boolean): Promise<string | undefined> {
    const headers = withKey ? { Authorization: `Bearer ${this.#token}` } : {};
    const signal = AbortSignal.timeout(ASK_TIMEOUT_MS);
    try {
      const response = await this.#fetch(url, { headers, signal, redirect: "error" });
      return response.ok ? await bounded(response) : undefined;
    } catch {
      return undefined; // Whatever it was: another node is asked.
    }
  }

  async #send(
    base: string,
    call: Call,
    headers: Headers,
    body: string | null,
    signal: AbortSignal,
  ): Promise<Response> {
    const url = new URL(base + call.path);
    for (const [name, value] of Object.entries(call.query ?? {})) {
      if (value !== undefined) url.searchParams.append(name, value);
    }
    // A node sends nobody elsewhere: whoever does must not get the key.
    const init: RequestInit = { method: call.method, headers, signal, redirect: "error" };
    const response = await this.#fetch(url, body === null ? init : { ...init, body });
    this.#members?.heard(response.headers.get("aerolith-epoch"));
    const told = Number(response.headers.get("aerolith-sequence") ?? "0");
    if (Number.isSafeInteger(told)) this.#sequence = Math.max(this.#sequence, told);
    if (response.ok) return response;
    throw await problemOf(response);
  }

  #headers(call: Call): Headers {
    const headers = new Headers(call.headers);
    headers.set("Authorization", `Bearer ${this.#token}`);
    if (call.body !== undefined) {
      headers.set("Content-Type", call.contentType ?? "application/json");
    }
    if (call.isWrite === true) {
      headers.set("Idempotency-Key", call.idempotencyKey ?? crypto.randomUUID());
    }
    if (this.#sequence > 0) headers.set("Aerolith-After", String(this.#sequence));
    return headers;
  }
}

async function problemOf(response: Response): Promise<ApiError> {
  const wait = response.headers.get("retry-after") ?? "";
  const waitMs = /^\d{1,9}$/.test(wait) ? Number(wait) * 1_000 : undefined;
  return problemIn(response.status, await response.text(), response.statusText, waitMs);
}

/** Returns the error in the body of an answer, or in the last event of a feed. */
export function problemIn(status: number, text: string, title = "", waitMs?: number): ApiError {
  let fields: { [name: string]: Json } = {};
  try {
    const body = parse(text);
    if (body !== null && typeof body === "object" && !Array.isArray(body)) fields = body;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  const code = String(fields["code"] ?? "unknown");
  const told = typeof fields["status"] === "number" ? fields["status"] : status;
  return refusalOf(told, code, String(fields["detail"] ?? title), fields, waitMs);
}

/** Whether an error goes by itself: the network, a node that is away or not ready. */
export function isPassing(error: unknown): boolean {
  if (error instanceof ApiError) return error.isPassing;
  return !(error instanceof SyntaxError || error instanceof RangeError);
}

function mayRepeat(error: unknown): boolean {
  if (error instanceof ApiError) return error.isPassing;
  // What the caller gave up is not asked for again; what took too long is.
  return !(error instanceof DOMException && error.name === "AbortError");
}

function pauseAfter(error: unknown): number {
  const waitMs = error instanceof ApiError ? error.retryAfterMs : undefined;
  return Math.min(waitMs ?? PAUSE_MS, PAUSE_MS_MAX);
}

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error ? error.cause.message : error.message;
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Returns the text of an answer, nothing of one that is longer than any: it is read no further. */
async function bounded(response: Response): Promise<string | undefined> {
  const decoder = new TextDecoder();
  let [text, bytes] = ["", 0];
  for await (const part of response.body ?? []) {
    bytes += part.byteLength;
    if (bytes > ASK_BYTES_MAX) return undefined;
    text += decoder.decode(part, { stream: true });
  }
  return text + decoder.decode();
}
