/** AerolithDB from TypeScript. */

export type { Change, ChangesOptions } from "./changes.js";
export { Client, type ClientOptions, type ReadOptions } from "./client.js";
export { ApiError, ClusterUnreachableError, type ErrorCode } from "./errors.js";
export {
  AnchorError,
  loadAnchor,
  ProofError,
  type Proven,
  type TrustAnchor,
  type Validator,
  verifyProof,
} from "./proofs.js";
export * from "./refusals.js";
export { type Json, parse, stringify } from "./json.js";
export type { components, paths } from "./schema.js";
export type { TransportOptions } from "./transport.js";
export type * from "./types.js";
