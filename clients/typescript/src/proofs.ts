/** Proofs: checked here, with the public keys of the cluster's nodes and nobody's word. */

import type { ApiError } from "./errors.js";
import { type Json, parse, stringify } from "./json.js";
import { checkValidators, ProofError, type Verified, verifyAnswer } from "./shared/proofs/verify.js";

export { ProofError };

/** A node that may sign, by its number and its public key (hex). */
export interface Validator {
  readonly id: number | bigint;
  readonly public_key: string;
}

/** Whom a reader trusts: the nodes of one epoch of one cluster. Later epochs are followed from it. */
export interface TrustAnchor {
  readonly cluster_id: string;
  readonly epoch: number;
  readonly validators: readonly Validator[];
  readonly version?: number;
}

/** What a proof proves: at `sequence` the document was this, or absent where it is `null`. */
export interface Proven extends Verified {}

/** A trust anchor cannot be used. */
export class AnchorError extends Error {
  override readonly name = "AnchorError";
}

const ANCHOR_CHARS_MAX = 64 * 1024;
const PROOF_CHARS_MAX = 16 * 1024 * 1024;

/**
 * Reads a trust anchor: what `aerolith anchor` prints. It must come another way than the answers
 * that are checked with it. Throws `AnchorError`.
 */
export function loadAnchor(text: string): TrustAnchor {
  if (text.length > ANCHOR_CHARS_MAX) throw new AnchorError("it is too long for a trust anchor");
  let found: Json;
  try {
    found = parse(text);
  } catch (error) {
    throw new AnchorError("a trust anchor is JSON", { cause: error });
  }
  return checkedAnchor(found as unknown as TrustAnchor);
}

/** Returns the anchor, if it is one. Throws `AnchorError`. */
export function checkedAnchor(anchor: TrustAnchor): TrustAnchor {
  const { cluster_id: cluster, epoch, validators, version = 1 } = anchor ?? {};
  if (version !== 1) throw new AnchorError(`version ${version} of a trust anchor is not known`);
  if (typeof cluster !== "string" || !/^[0-9a-f]{32}$/.test(cluster)) {
    throw new AnchorError("cluster_id must be 32 lower-case hex digits");
  }
  if (!Number.isSafeInteger(epoch) || epoch < 0) throw new AnchorError("epoch must be a number from 0");
  try {
    checkValidators(validators.map(({ id, public_key: key }) => ({ id, public_key: key })));
  } catch (error) {
    const why = error instanceof ProofError ? error.message : "the members cannot be read";
    throw new AnchorError(why, { cause: error });
  }
  return anchor;
}

/**
 * Checks the proof in an answer of a node, as its text or as `parse` of this package reads it; it
 * asks nobody. Throws `ProofError`, whose `code` says which check failed.
 */
export async function verifyProof(answer: string | Json, anchor: TrustAnchor): Promise<Proven> {
  let found: Json;
  try {
    if (typeof answer === "string" && answer.length > PROOF_CHARS_MAX) throw new SyntaxError("too long");
    found = typeof answer === "string" ? parse(answer) : answer;
  } catch (error) {
    throw new ProofError("malformed", `not a JSON object: ${String(error)}`);
  }
  if (found === null || typeof found !== "object" || Array.isArray(found)) {
    throw new ProofError("malformed", "not a JSON object");
  }
  const proven = await verifyAnswer(found, checkedAnchor(anchor));
  // As `parse` makes documents: what the shared code makes has no prototype.
  const document = parse(stringify(proven.document)) as Proven["document"];
  return { ...proven, document };
}

/** One read of one document whose answer must prove itself, and be no older than what is known. */
export class ProvenRead {
  constructor(
    readonly anchor: TrustAnchor,
    readonly collection: string,
    readonly id: string,
    readonly atLeast: number,
  ) {}

  /** Returns the document that was proven: it is read from the proof, not from beside it. */
  async answered(answer: Json): Promise<Json> {
    const proof = memberOf(answer, "_proof");
    const { document } = await this.#check(proof);
    if (document === null) {
      throw new ProofError("is_absent", "the node shows a document and proves that there is none");
    }
    return { ...document, _proof: proof as Json };
  }

  /** Takes a refusal: that there is no document must be proven too. */
  async refused(error: ApiError): Promise<void> {
    if (error.code !== "not_found") return;
    if ((await this.#check(error.fields["proof"])).document !== null) {
      throw new ProofError("is_present", "the node hides a document and proves that it is there");
    }
  }

  async #check(proof: Json | undefined): Promise<Proven> {
    if (proof === undefined) throw new ProofError("missing", "the node answered without a proof");
    const proven = await verifyProof({ proof }, this.anchor);
    if (proven.collection !== this.collection || proven.id !== this.id) {
      throw new ProofError("other_document", `the proof is of ${proven.collection}/${proven.id}`);
    }
    if (BigInt(proven.sequence) < BigInt(this.atLeast)) {
      throw new ProofError("stale", `the proof is of ${proven.sequence}, known is ${this.atLeast}`);
    }
    return proven;
  }
}

function memberOf(answer: Json, name: string): Json | undefined {
  if (answer === null || typeof answer !== "object" || Array.isArray(answer)) return undefined;
  return Object.hasOwn(answer, name) ? answer[name] : undefined;
}
