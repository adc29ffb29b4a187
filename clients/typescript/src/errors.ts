/** What a client can meet. */

import type { components } from "./schema.js";
import type { Json } from "./json.js";

/** The stable codes of refusals, as the nodes' API document lists them. */
export type ErrorCode = components["schemas"]["Problem"]["code"];

/** A node answered with a problem (RFC 9457); each stable code has a class of its own. */
export class ApiError extends Error {
  override readonly name: string = "ApiError";
  /** What to do about it; empty where the code is not known to this version. */
  readonly advice: string = "";
  /** It goes by itself: a client asks again, in a moment or at another node. */
  readonly isPassing: boolean = false;

  constructor(
    readonly status: number,
    /** Stable; `unknown` where the answer was not of a node. */
    readonly code: ErrorCode | "unknown",
    readonly detail: string,
    /** The whole problem: some codes have more to tell, as `version` or `errors`. */
    readonly fields: { readonly [name: string]: Json },
    /** How long the node says to wait, where it says so. */
    readonly retryAfterMs?: number,
  ) {
    super(`${status} ${code}: ${detail}`);
  }
}

/** No node of the cluster answered. */
export class ClusterUnreachableError extends Error {
  override readonly name = "ClusterUnreachableError";
}
