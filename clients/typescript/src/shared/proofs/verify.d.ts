// Types of static/proofs/verify.js, which is shared with the portal's pages: share.mjs copies it here.

import type { Json } from "../../json.js";
import type { TrustAnchor, Validator } from "../../proofs.js";

export class ProofError extends Error {
  constructor(code: string, message: string);
  readonly code: string;
}

export interface Verified {
  readonly document: { readonly [name: string]: Json } | null;
  readonly collection: string;
  readonly id: string;
  readonly kind: "seal" | "checkpoint";
  readonly sequence: number | bigint;
  readonly root: Uint8Array;
  readonly signers: readonly (number | bigint)[];
  readonly anchor: TrustAnchor;
}

export function quorumOf(n: number): number;
export function checkValidators(given: readonly Validator[]): void;
export function verifyAnswer(answer: object, anchor: TrustAnchor): Promise<Verified>;
export function followTold(anchor: TrustAnchor, changes: Json): Promise<TrustAnchor>;
export function isMemberAt(
  anchor: TrustAnchor,
  said: { id: number | bigint; url: string; nonce: Uint8Array; signature: string },
): Promise<boolean>;
