/**
 * Where the members of a cluster are, as far as they prove it: for clients with a trust anchor.
 *
 * A node that lies could name any address, and would have the client send its key there. So who may
 * sign is followed from the anchor through handovers, and an address that was told is asked for
 * nothing but a signature of that very address and of a fresh number, without the key.
 */

import { type Json, parse } from "./json.js";
import type { TrustAnchor } from "./proofs.js";
import { followTold, isMemberAt, ProofError } from "./shared/proofs/verify.js";

/** Asks a node; `undefined` where no answer came that is of use. */
export type Ask = (url: string, withKey: boolean) => Promise<string | undefined>;

interface Gateway {
  readonly id: number;
  readonly url: string;
}

const MEMBERS_MAX = 31;
const NONCE_BYTES = 32;
const PAUSE_MS = 500;
const PAUSE_MS_MAX = 60_000;
const DOUBLINGS_MAX = 7;
const ADDRESS = /^http:\/\/(?:[A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\]):[1-9][0-9]{0,4}$/;

export class Members {
  #anchor: TrustAnchor;
  readonly #ask: Ask;
  #proven = new Map<number, string>();
  #heardEpoch: number | undefined;
  #isLost = false;
  #hasAsked = false;
  #mayAskAt = 0;
  #inVain = 0;
  #asking: Promise<void> | undefined;

  constructor(anchor: TrustAnchor, ask: Ask) {
    this.#anchor = anchor;
    this.#ask = ask;
  }

  /** The addresses that members proved to be theirs. */
  get urls(): readonly string[] {
    return [...this.#proven].sort(([one], [other]) => one - other).map(([, url]) => url);
  }

  /** Takes the epoch that an answer named. */
  heard(epoch: string | null): void {
    if (epoch !== null && /^\d{1,15}$/.test(epoch)) {
      this.#heardEpoch = Math.max(Number(epoch), this.#heardEpoch ?? 0);
    }
  }

  /** Takes that a node did not answer. */
  lost(): void {
    this.#isLost = true;
  }

  /** Asks the nodes who the members are, when there is a reason to; nothing is thrown. */
  async learn(urls: readonly string[]): Promise<void> {
    if (this.#asking === undefined && this.#isDue()) {
      this.#asking = this.#learn(urls).finally(() => {
        this.#asking = undefined;
      });
    }
    await this.#asking;
  }

  get #isComplete(): boolean {
    return this.#proven.size === this.#anchor.validators.length;
  }

  #isDue(): boolean {
    if (this.#heardEpoch === undefined || performance.now() < this.#mayAskAt) return false;
    const isNew = !this.#hasAsked || this.#heardEpoch > this.#anchor.epoch;
    return isNew || this.#isLost || !this.#isComplete;
  }

  async #learn(urls: readonly string[]): Promise<void> {
    const wanted = this.#heardEpoch ?? 0;
    // What one node said gives no reason for ever: it must be heard again.
    [this.#heardEpoch, this.#isLost, this.#hasAsked] = [undefined, false, true];
    await this.#askAll(urls);
    const isDone = this.#anchor.epoch >= wanted && this.#isComplete;
    const pauseMs = Math.min(PAUSE_MS * 2 ** this.#inVain, PAUSE_MS_MAX);
    this.#mayAskAt = performance.now() + pauseMs;
    this.#inVain = isDone ? 0 : Math.min(this.#inVain + 1, DOUBLINGS_MAX);
  }

  async #askAll(urls: readonly string[]): Promise<void> {
    const tried = new Set<string>();
    let answers = 0;
    for (const url of urls) {
      const path = `/api/v1/gateways?epoch=${this.#anchor.epoch}`;
      const told = read(await this.#ask(url + path, true));
      const gateways = gatewaysIn(told);
      if (told === undefined || gateways === undefined) continue;
      answers += 1;
      await this.#follow(told["changes"]);
      for (const gateway of gateways) {
        const said = `${gateway.id} ${gateway.url}`;
        if (tried.has(said) || this.#proven.get(gateway.id) === gateway.url) continue;
        tried.add(said);
        await this.#prove(gateway);
      }
      // Whoever told only some members lacks what the next tells: one of f+1 is honest.
      const tolerated = Math.floor((this.#anchor.validators.length - 1) / 3);
      const isCurrent = this.#isComplete && told["epoch"] === this.#anchor.epoch;
      if (answers > tolerated || isCurrent) return;
    }
  }

  async #follow(changes: Json | undefined): Promise<void> {
    try {
      this.#anchor = await followTold(this.#anchor, changes ?? []);
    } catch (error) {
      // What proves nothing changes nothing; another node may have what does.
      if (!(error instanceof ProofError)) throw error;
    }
    const ids = new Set(this.#anchor.validators.map(({ id }) => Number(id)));
    for (const id of this.#proven.keys()) if (!ids.has(id)) this.#proven.delete(id);
  }

  async #prove({ id, url }: Gateway): Promise<void> {
    const nonce = crypto.getRandomValues(new Uint8Array(NONCE_BYTES));
    const text = await this.#ask(`${url}/identity?nonce=${hex(nonce)}`, false);
    const said = read(text);
    if (said === undefined || said["id"] !== id || said["url"] !== url) return;
    const signature = said["signature"];
    if (typeof signature !== "string") return;
    if (await isMemberAt(this.#anchor, { id, url, nonce, signature })) this.#proven.set(id, url);
  }
}

const hex = (bytes: Uint8Array): string =>
  Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

function read(text: string | undefined): { [name: string]: Json } | undefined {
  if (text === undefined) return undefined;
  try {
    const found = parse(text);
    const isObject = found !== null && typeof found === "object" && !Array.isArray(found);
    return isObject ? found : undefined;
  } catch {
    return undefined;
  }
}

function gatewaysIn(told: { [name: string]: Json } | undefined): Gateway[] | undefined {
  const given = told?.["gateways"];
  if (!Array.isArray(given) || given.length < 1 || given.length > MEMBERS_MAX) return undefined;
  const found = given as unknown as (Gateway | null)[];
  const isUsable = found.every((one) => {
    return Number.isSafeInteger(one?.id) && typeof one?.url === "string" && ADDRESS.test(one.url);
  });
  const isDistinct = new Set(found.map((one) => one?.url)).size === found.length;
  return isUsable && isDistinct ? (found as Gateway[]) : undefined;
}
