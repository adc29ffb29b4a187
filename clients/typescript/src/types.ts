/** The shapes of requests and answers; what the nodes' API document says comes from it. */

import type { Json } from "./json.js";
import type { paths } from "./schema.js";

type Body<Path extends keyof paths> = paths[Path] extends {
  post: { requestBody: { content: { "application/json": infer Content } } };
}
  ? Content
  : never;

type Put<Path extends keyof paths> = paths[Path] extends {
  put: { requestBody?: { content: { "application/json": infer Content } } };
}
  ? Content
  : never;

type Answered<Path extends keyof paths> = paths[Path] extends {
  post: { responses: { 200: { content: { "application/json": infer Content } } } };
}
  ? Content
  : never;

/** A document as a cluster returns it. */
export type Document<Fields extends object = { [name: string]: Json }> = Fields & {
  readonly _id: string;
  readonly _version: number;
  readonly _created: string;
  readonly _updated: string;
  /** Where a proof was asked for. */
  readonly _proof?: Json;
};

/** Fields of a document on its way into a cluster. */
export type Fields = object;

export type Consistency = "strong" | "session" | "bounded" | "local";

/** The body of a query: filter, sort, projection, limit, offset, after, consistency, explain. */
export type Query = Partial<Body<"/api/v1/collections/{c}/query">>;

export interface Page<Fields extends object = { [name: string]: Json }> {
  readonly documents: Document<Fields>[];
  readonly next: string | null;
  readonly scanned: number;
  readonly plan?: Plan;
}

export interface Aggregation {
  readonly documents: { [name: string]: Json }[];
  readonly scanned: number;
  readonly plan?: Plan;
}

export interface WriteOptions {
  /** The version that the document must have. */
  readonly ifVersion?: number;
  /** A repetition under the same key returns the first outcome; without one, a key is made. */
  readonly idempotencyKey?: string;
}

type Described<Path extends keyof paths> = paths[Path] extends {
  get: { responses: { 200: { content: { "application/json": infer Content } } } };
}
  ? Content
  : never;

/** A page of the recent versions of a document, and where its history begins. */
export type History = Described<"/api/v1/collections/{c}/documents/{id}/history">;

export interface BulkOperation {
  readonly op: "create" | "put" | "patch" | "update" | "delete";
  readonly id?: string;
  readonly document?: Fields;
  readonly if_version?: number;
}

export interface BulkResult {
  readonly status: number;
  readonly id?: string;
  readonly version?: number;
  readonly code?: string;
  readonly detail?: string;
}

export interface TransactionOperation {
  readonly op: BulkOperation["op"] | "get" | "check";
  readonly collection: string;
  readonly id?: string;
  readonly document?: Fields;
  readonly if_version?: number;
  readonly exists?: boolean;
  readonly version?: number;
  readonly filter?: object;
}

export interface TransactionResult {
  readonly status: number;
  readonly id?: string;
  readonly version?: number;
  readonly document?: Document;
}

export interface Collection {
  readonly name: string;
  readonly documents: number;
  readonly bytes: number;
  readonly created: string;
  readonly updated: string;
  readonly options: { readonly [name: string]: Json };
  /** Of a collection that has a policy, or cold documents; memory is that of the node asked. */
  readonly tiers?: { readonly [tier in Tier]: Amounts };
}

export type Tier = "memory" | "ssd" | "distributed" | "archive";

export interface Amounts {
  readonly documents: number;
  readonly bytes: number;
}

/** The options of a collection; `tiering` says when its documents become cold. */
export type CollectionOptions = NonNullable<Put<"/api/v1/collections/{c}">>;

/** How a question was answered, and from which tiers its documents came. */
export type Plan = NonNullable<Answered<"/api/v1/collections/{c}/query">["plan"]> & {
  readonly [name: string]: unknown;
};

export interface IndexDefinition {
  /** Dotted paths in order, rising or falling. */
  readonly fields: { readonly [path: string]: 1 | -1 };
  readonly unique?: boolean;
  readonly sparse?: boolean;
  readonly partial?: object;
  readonly expire_after_s?: number;
}

export interface Index extends IndexDefinition {
  readonly name: string;
  readonly state: "building" | "ready" | "failed";
  readonly multikey: readonly string[];
  readonly entries: number;
  readonly bytes: number;
  readonly created: string;
  readonly progress?: { readonly documents: number; readonly of: number };
  readonly failure?: { readonly [name: string]: Json };
}
