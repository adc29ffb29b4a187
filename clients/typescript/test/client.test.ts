import assert from "node:assert/strict";
import { test } from "node:test";
import { ApiError, type BulkResult } from "../src/index.js";
import { connect, fresh } from "./cluster.js";

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const item of items) found.push(item);
  return found;
}

function refusal(status: number, code: string): (error: unknown) => true {
  return (error) => {
    assert.ok(error instanceof ApiError);
    assert.deepEqual([error.status, error.code], [status, code]);
    return true;
  };
}

test("documents live their whole life", async () => {
  const [client, name] = [connect(), fresh("life")];
  const made = await client.create<{ n: number }>(name, { n: 1 });
  assert.deepEqual(await client.get(name, made._id), made);
  // No version ever comes twice, so in a cluster that dropped something the first one is not 1.
  const ifVersion = made._version;
  assert.equal((await client.put(name, made._id, { n: 2 }, { ifVersion }))._version, ifVersion + 1);
  assert.equal((await client.patch<{ m: number }>(name, made._id, { m: 3 })).m, 3);
  const counted = await client.update<{ n: number }>(name, made._id, { $inc: { n: 5 } });
  assert.equal(counted.n, 7);
  const stale = client.put(name, made._id, {}, { ifVersion });
  await assert.rejects(stale, refusal(412, "precondition_failed"));
  await assert.rejects(client.put(name, made._id, {}, { absent: true }), ApiError);
  await client.delete(name, made._id);
  await assert.rejects(client.get(name, made._id), refusal(404, "not_found"));
  assert.equal(await client.find(name, made._id, { consistency: "session" }), undefined);
});

test("an id may have any characters, but cannot lead elsewhere", async () => {
  const [client, name] = [connect(), fresh("ids")];
  const id = "a b?c#d%2Fé:@…";
  await client.put(name, id, { n: 1 });
  assert.equal((await client.get(name, id))._id, id);
  // What a method cannot do it rejects with: it throws nothing before there is a promise.
  await assert.rejects(client.get(name, ".."), RangeError);
  await assert.rejects(client.history(name, ".."), RangeError);
  await assert.rejects(client.put(name, "..", {}), RangeError);
  await assert.rejects(client.patch(name, "..", {}), RangeError);
  await assert.rejects(client.update(name, "..", {}), RangeError);
  await assert.rejects(client.create("..", {}), RangeError);
  await assert.rejects(client.query(".."), RangeError);
  await assert.rejects(client.aggregate("..", []), RangeError);
  await assert.rejects(client.putCollection(".."), RangeError);
  await assert.rejects(client.putIndex(name, "..", { fields: { n: 1 } }), RangeError);
  await assert.rejects(client.get(name, "../keys"), ApiError);
});

test("whole numbers of 64 bits come back as they were written", async () => {
  const [client, name] = [connect(), fresh("large")];
  const written = { large: 2n ** 63n - 1n, small: -(2n ** 63n), list: [9007199254740993n, 1] };
  const { _id } = await client.create(name, written);
  const { large, small, list } = await client.get<typeof written>(name, _id);
  assert.deepEqual({ large, small, list }, written);
});

test("an import of any length gives each document its result, and pages give them back", async () => {
  const [client, name] = [connect(), fresh("import")];
  function* documents(): Generator<object> {
    for (let n = 0; n < 1_200; n += 1) yield { _id: `d${String(n).padStart(4, "0")}`, n };
    yield { n: -1 };
    yield { _bad: 1 };
  }
  const results: BulkResult[] = await all(client.importDocuments(name, documents()));
  assert.deepEqual(new Set(results.slice(0, 1_201).map((result) => result.status)), new Set([201]));
  assert.equal(results.at(-1)?.status, 422);
  const query = { filter: { n: { $gte: 0 } }, sort: { n: -1 as const }, limit: 300 };
  const found = await all(client.iterate<{ n: number }>(name, query));
  assert.deepEqual(found.map((document) => document.n), [...Array(1_200).keys()].reverse());
});

test("large documents are cut into what a node takes", async () => {
  const [client, name, text] = [connect(), fresh("cut"), "x".repeat(900_000)];
  const documents = [...Array(12).keys()].map((n) => ({ _id: `${n}`, text }));
  const results = await all(client.importDocuments(name, documents));
  assert.deepEqual(results.map((result) => result.status), Array(12).fill(201));
});

test("questions are answered", async () => {
  const [client, name] = [connect(), fresh("asked")];
  await client.bulk(name, [
    { op: "create", id: "a", document: { n: 2, kind: "x" } },
    { op: "create", id: "b", document: { n: 3, kind: "x" } },
    { op: "delete", id: "c" },
  ]);
  const page = await client.query(name, { filter: { n: 3 }, projection: ["n"], explain: true });
  assert.deepEqual(page.documents.map((document) => document._id), ["b"]);
  assert.ok(page.plan);
  const sums = await client.aggregate(name, [{ $group: { _id: "$kind", n: { $sum: "$n" } } }]);
  assert.deepEqual(sums.documents, [{ _id: "x", n: 5 }]);
  const wrong = client.query(name, { filter: { n: { $foo: 1 } } });
  await assert.rejects(wrong, (error) => {
    assert.ok(error instanceof ApiError);
    return error.code === "invalid" && Array.isArray(error.fields["errors"]);
  });
});

test("a transaction is done as a whole or not at all", async () => {
  const [client, name] = [connect(), fresh("together")];
  await client.put(name, "alice", { balance: 10 });
  await client.put(name, "bob", { balance: 0 });
  const transfer = (amount: number): Promise<unknown> =>
    client.transact([
      { op: "check", collection: name, id: "alice", filter: { balance: { $gte: amount } } },
      { op: "update", collection: name, id: "alice", document: { $inc: { balance: -amount } } },
      { op: "update", collection: name, id: "bob", document: { $inc: { balance: amount } } },
    ]);
  await transfer(7);
  await assert.rejects(transfer(7), refusal(409, "conflict"));
  assert.equal((await client.get<{ balance: number }>(name, "alice")).balance, 3);
  assert.equal((await client.get<{ balance: number }>(name, "bob")).balance, 7);
});

test("the history of a document is read, page by page", async () => {
  const [client, name] = [connect(), fresh("versions")];
  for (const n of [1, 2, 3]) await client.put(name, "x", { n });
  const page = await client.history(name, "x", { limit: 2 });
  assert.deepEqual(page.versions.map((one) => one.version), [3, 2]);
  assert.deepEqual(page.versions[0]?.changed, [{ kind: "changed", pointer: "/n" }]);
  assert.ok(page.next !== null);
  const rest = await client.history(name, "x", { before: page.next });
  assert.deepEqual([rest.versions.length, rest.begins?.reason], [1, "created"]);
});

test("collections are managed, and the cluster shows itself", async () => {
  const [client, name] = [connect(), fresh("managed")];
  const tiering = { cold_after_s: 3600 };
  await client.putCollection(name, { conflict_policy: "lww", tiering });
  const listed = (await client.collections()).find((one) => one.name === name);
  assert.deepEqual(listed?.options, { conflict_policy: "lww", tiering });
  assert.deepEqual(listed?.tiers?.distributed, { documents: 0, bytes: 0 });
  const { plan } = await client.query(name, { explain: true });
  assert.deepEqual([plan?.tiers?.archive, plan?.segments?.fetched], [0, 0]);
  assert.equal((await client.putCollection(name)).tiers, undefined);
  const index = await client.putIndex(name, "by-n", { fields: { n: -1 }, unique: true });
  assert.deepEqual([index.name, index.fields, index.unique], ["by-n", { n: -1 }, true]);
  assert.deepEqual((await client.indexes(name)).map((one) => one.name), ["by-n"]);
  await client.dropIndex(name, "by-n");
  assert.deepEqual(await client.indexes(name), []);
  await client.dropCollection(name);
  assert.ok(!(await client.collections()).some((one) => one.name === name));
  assert.equal((await client.nodes())["quorum"], 1);
  assert.equal((await client.stats())["ready"], true);
  assert.equal(await client.ready(), true);
  assert.ok(client.sequence > 0);
});
