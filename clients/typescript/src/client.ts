/** The client: documents, questions and the change feed of one cluster. */

import { type Change, changes, type ChangesOptions } from "./changes.js";
import { ApiError, ClusterUnreachableError } from "./errors.js";
import { type Json, stringify } from "./json.js";
import { checkedAnchor, ProvenRead, type TrustAnchor } from "./proofs.js";
import { type Call, Transport, type TransportOptions } from "./transport.js";
import type {
  Aggregation,
  BulkOperation,
  BulkResult,
  Collection,
  CollectionOptions,
  Consistency,
  Document,
  Fields,
  History,
  Index,
  IndexDefinition,
  Page,
  Query,
  TransactionOperation,
  TransactionResult,
  WriteOptions,
} from "./types.js";

const UPDATE_TYPE = "application/vnd.aerolith.update+json";
const MERGE_PATCH_TYPE = "application/merge-patch+json";
const PAGE_LIMIT = 500;
const BATCH_MAX = 500;
const BATCH_CHARS_MAX = 4 * 1024 * 1024;

/** How a client asks, and whom it trusts. */
export type ClientOptions = TransportOptions;

export interface ReadOptions {
  readonly consistency?: Consistency;
  /** With `_proof`; a client with an anchor checks it, and answers what was proven. */
  readonly proof?: boolean;
}

type Open = { [name: string]: Json };

/**
 * A client of a cluster; it may be used by many at a time.
 *
 * Every method rejects with `ApiError` when the cluster refuses, and with
 * `ClusterUnreachableError` when no node answers. Nodes are asked in turn; with a trust anchor, also
 * members that were not named, as soon as they prove themselves. Writes carry an
 * idempotency key and are repeated by themselves without being done twice.
 */
export class Client {
  readonly #transport: Transport;
  readonly #anchor: TrustAnchor | undefined;

  constructor(urls: readonly string[], token: string, options: ClientOptions = {}) {
    this.#anchor = options.anchor === undefined ? undefined : checkedAnchor(options.anchor);
    this.#transport = new Transport(urls, token, options);
  }

  /** The newest position in the agreed log that this client has seen. */
  get sequence(): number {
    return this.#transport.sequence;
  }

  // --- Documents ---------------------------------------------------------------------------------

  /** Creates a document under its `_id`, or a new one. */
  async create<F extends object = Open>(
    collection: string,
    document: Fields,
    options: Pick<WriteOptions, "idempotencyKey"> = {},
  ): Promise<Document<F>> {
    return this.#write("POST", `${path(collection)}/documents`, document, options);
  }

  /** Creates or replaces a document; with `absent`, only creates. */
  async put<F extends object = Open>(
    collection: string,
    id: string,
    document: Fields,
    options: WriteOptions & { readonly absent?: boolean } = {},
  ): Promise<Document<F>> {
    const headers = options.absent === true ? { "If-None-Match": "*" } : {};
    return this.#write("PUT", path(collection, id), document, options, { headers });
  }

  /** Merges a change into a document (RFC 7396). */
  async patch<F extends object = Open>(
    collection: string,
    id: string,
    change: Fields,
    options: WriteOptions = {},
  ): Promise<Document<F>> {
    const contentType = MERGE_PATCH_TYPE;
    return this.#write("PATCH", path(collection, id), change, options, { contentType });
  }

  /** Applies update operators to a document: `{ $inc: { n: 1 } }`. */
  async update<F extends object = Open>(
    collection: string,
    id: string,
    operators: Fields,
    options: WriteOptions = {},
  ): Promise<Document<F>> {
    const contentType = UPDATE_TYPE;
    return this.#write("PATCH", path(collection, id), operators, options, { contentType });
  }

  /**
   * Reads a document, linearizably unless another consistency is named.
   *
   * With `proof`, a client that has a trust anchor rejects with `ProofError` what the nodes cannot
   * prove, and what they hide: that there is no document is proven as well.
   */
  async get<F extends object = Open>(
    collection: string,
    id: string,
    options: ReadOptions = {},
  ): Promise<Document<F>> {
    const query = {
      consistency: options.consistency,
      proof: options.proof === true ? "true" : undefined,
    };
    const call = { method: "GET", path: path(collection, id), query };
    if (this.#anchor === undefined || options.proof !== true) return this.#run(call);
    const mayBeOlder = options.consistency === "bounded" || options.consistency === "local";
    const atLeast = mayBeOlder ? 0 : this.sequence;
    const read = new ProvenRead(this.#anchor, collection, id, atLeast);
    let answer: Json;
    try {
      answer = await this.#run(call);
    } catch (error) {
      if (error instanceof ApiError) await read.refused(error);
      throw error;
    }
    return (await read.answered(answer)) as unknown as Document<F>;
  }

  /** Reads a document; `undefined` where there is none. */
  async find<F extends object = Open>(
    collection: string,
    id: string,
    options: ReadOptions = {},
  ): Promise<Document<F> | undefined> {
    try {
      return await this.get<F>(collection, id, options);
    } catch (error) {
      if (error instanceof ApiError && error.code === "not_found") return undefined;
      throw error;
    }
  }

  /** Deletes a document. */
  async delete(collection: string, id: string, options: WriteOptions = {}): Promise<void> {
    await this.#write("DELETE", path(collection, id), undefined, options);
  }

  /** Does up to 1,000 operations in one round of consensus; one result for each, in order. */
  async bulk(
    collection: string,
    operations: readonly BulkOperation[],
    options: Pick<WriteOptions, "idempotencyKey"> = {},
  ): Promise<BulkResult[]> {
    const place = `${path(collection)}/bulk`;
    const answer: { results: BulkResult[] } = await this.#write(
      "POST",
      place,
      { operations },
      options,
    );
    return answer.results;
  }

  /**
   * Stores any number of documents, batch by batch; yields one result for each, in order.
   *
   * A document with an `_id` replaces what is there; one without gets a new id.
   */
  async *importDocuments(
    collection: string,
    documents: Iterable<Fields> | AsyncIterable<Fields>,
  ): AsyncGenerator<BulkResult, void, undefined> {
    for await (const batch of batches(documents)) yield* await this.bulk(collection, batch);
  }

  /** Does all operations, over any collections, or none; one result for each. */
  async transact(
    operations: readonly TransactionOperation[],
    options: Pick<WriteOptions, "idempotencyKey"> = {},
  ): Promise<TransactionResult[]> {
    const answer: { results: TransactionResult[] } = await this.#write(
      "POST",
      "/api/v1/transactions",
      { operations },
      options,
    );
    return answer.results;
  }

  // --- Questions ---------------------------------------------------------------------------------

  /** Returns one page. */
  async query<F extends object = Open>(collection: string, query: Query = {}): Promise<Page<F>> {
    return this.#run({ method: "POST", path: `${path(collection)}/query`, body: query });
  }

  /** Yields every document that fits, page by page. */
  async *iterate<F extends object = Open>(
    collection: string,
    query: Omit<Query, "after"> = {},
  ): AsyncGenerator<Document<F>, void, undefined> {
    let after: string | null = null;
    do {
      const page: Page<F> = await this.query<F>(collection, {
        limit: PAGE_LIMIT,
        ...query,
        after,
      });
      yield* page.documents;
      after = page.next;
    } while (after !== null);
  }

  /** Runs a pipeline of stages. */
  async aggregate(
    collection: string,
    pipeline: readonly object[],
    options: { readonly consistency?: Consistency; readonly explain?: boolean } = {},
  ): Promise<Aggregation> {
    const body = { pipeline, ...options };
    return this.#run({ method: "POST", path: `${path(collection)}/aggregate`, body });
  }

  /**
   * Yields changes of documents as they are executed, for ever or until `signal`.
   *
   * It goes on at another node when one goes away, from the last place: no change is left out and
   * none is told twice.
   */
  changes(options: ChangesOptions = {}): AsyncGenerator<Change, void, undefined> {
    return changes(this.#transport, options);
  }

  // --- Collections and the cluster ---------------------------------------------------------------

  /** Returns the collections that the key covers. */
  async collections(): Promise<Collection[]> {
    const answer: { collections: Collection[] } = await this.#run({
      method: "GET",
      path: "/api/v1/collections",
    });
    return answer.collections;
  }

  /** Creates a collection, or changes its options. */
  async putCollection(
    collection: string,
    options: CollectionOptions = {},
  ): Promise<Collection> {
    return this.#write("PUT", path(collection), options, {});
  }

  /** Drops a collection and all it holds. */
  async dropCollection(collection: string): Promise<void> {
    await this.#write("DELETE", path(collection), undefined, {});
  }

  /** Returns the indexes of a collection, with how far they are built. */
  async indexes(collection: string): Promise<Index[]> {
    const place = `${path(collection)}/indexes`;
    const answer: { indexes: Index[] } = await this.#run({ method: "GET", path: place });
    return answer.indexes;
  }

  /** Returns recent versions of a document, newest first; `next` is the `before` of the next page. */
  async history(
    collection: string,
    id: string,
    options: { readonly before?: string; readonly limit?: number } = {},
  ): Promise<History> {
    const query = { before: options.before, limit: options.limit?.toString() };
    return this.#run({ method: "GET", path: `${path(collection, id)}/history`, query });
  }

  /** Makes an index on fields, in their order; it is built in the background. */
  async putIndex(collection: string, name: string, definition: IndexDefinition): Promise<Index> {
    return this.#write("PUT", `${path(collection)}/indexes/${segment(name)}`, definition, {});
  }

  /** Drops an index. */
  async dropIndex(collection: string, name: string): Promise<void> {
    await this.#write("DELETE", `${path(collection)}/indexes/${segment(name)}`, undefined, {});
  }

  /** Returns totals and live figures of the node that answers. */
  stats(): Promise<Open> {
    return this.#run({ method: "GET", path: "/api/v1/stats" });
  }

  /** Returns every member as the node that answers sees it. */
  nodes(): Promise<Open> {
    return this.#run({ method: "GET", path: "/api/v1/nodes/status" });
  }

  /** Whether some node serves linearizable requests. */
  async ready(): Promise<boolean> {
    try {
      await this.#run({ method: "GET", path: "/ready" });
      return true;
    } catch (error) {
      if (error instanceof ApiError || error instanceof ClusterUnreachableError) return false;
      throw error;
    }
  }

  #write<T>(
    method: string,
    at: string,
    body: Fields | undefined,
    options: WriteOptions,
    more: Partial<Call> = {},
  ): Promise<T> {
    const matching: Record<string, string> =
      options.ifVersion === undefined ? {} : { "If-Match": `"${options.ifVersion}"` };
    return this.#run({
      ...more,
      method,
      path: at,
      isWrite: true,
      idempotencyKey: options.idempotencyKey,
      headers: { ...more.headers, ...matching },
      ...(body === undefined ? {} : { body }),
    });
  }

  async #run<T>(call: Call): Promise<T> {
    return (await this.#transport.run(call)) as T;
  }
}

function path(collection: string, id?: string): string {
  const start = `/api/v1/collections/${segment(collection)}`;
  return id === undefined ? start : `${start}/documents/${segment(id)}`;
}

function segment(text: string): string {
  // As segments of a path these two mean other places, however they are written.
  if (text === "." || text === "..") throw new RangeError(`${text} cannot be part of a URL`);
  return encodeURIComponent(text);
}

async function* batches(
  documents: Iterable<Fields> | AsyncIterable<Fields>,
): AsyncGenerator<BulkOperation[]> {
  let batch: BulkOperation[] = [];
  let size = 0;
  for await (const document of documents) {
    const length = stringify(document).length;
    if (batch.length === BATCH_MAX || (batch.length > 0 && size + length > BATCH_CHARS_MAX)) {
      yield batch;
      batch = [];
      size = 0;
    }
    const id = "_id" in document ? document._id : undefined;
    batch.push(
      id === undefined ? { op: "create", document } : { op: "put", id: String(id), document },
    );
    size += length;
  }
  if (batch.length > 0) yield batch;
}
