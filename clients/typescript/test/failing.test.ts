import assert from "node:assert/strict";
import { test } from "node:test";
import { ApiError, Client, ClusterUnreachableError } from "../src/index.js";
import { connect, fresh, refuse, serve, through, TOKEN, URLS } from "./cluster.js";

const NOBODY = "http://127.0.0.1:9";

test("a node that is down is passed over, and the one that works is asked first then", async () => {
  const name = fresh("down");
  const client = connect([NOBODY, ...URLS]);
  const put = await client.put(name, "a", { n: 1 });
  assert.deepEqual(await client.get(name, "a"), put);
});

test("a write whose answer is lost is repeated under its key, and done once", async () => {
  const name = fresh("lost");
  const door = await serve(through((_from, to) => to.destroy()));
  const client = connect([door.url, ...URLS]);
  const made = await client.create<{ n: number }>(name, { n: 1 });
  assert.equal(door.seen.length, 1);
  const key = door.seen[0]?.headers["idempotency-key"];
  assert.ok(typeof key === "string" && key.length > 10);
  const page = await client.query(name);
  assert.deepEqual(page.documents.map((document) => document._id), [made._id]);
  const again = await connect().create(name, { n: 1 }, { idempotencyKey: key });
  assert.equal(again._id, made._id, "the node saw another key than the first door did");
});

test("an answer that breaks off is asked for again", async () => {
  const name = fresh("broken");
  const door = await serve(
    through((from, to) => {
      to.writeHead(from.statusCode ?? 500, from.headers);
      from.once("data", (data: Buffer) => to.write(data.subarray(0, 10), () => to.destroy()));
    }),
  );
  const made = await connect([door.url, ...URLS]).create<{ n: number }>(name, { n: 1 });
  assert.equal(door.seen.length, 1);
  const page = await connect().query(name);
  assert.deepEqual(page.documents, [made]);
});

test("a node that is not ready is asked again, and its last refusal is told", async () => {
  const busy = await serve(refuse(503, "no_quorum", { "retry-after": "0" }));
  await assert.rejects(connect([busy.url]).put("x", "y", {}), (error) => {
    assert.ok(error instanceof ApiError);
    return error.code === "no_quorum" && error.status === 503;
  });
  assert.equal(busy.seen.length, 2);
  const keys = busy.seen.map((incoming) => incoming.headers["idempotency-key"]);
  assert.equal(new Set(keys).size, 1);
});

test("a refusal that asking again does not change is told at once", async () => {
  const strict = await serve(refuse(403, "forbidden"));
  await assert.rejects(connect([strict.url, ...URLS]).get("x", "y"), /403 forbidden/);
  assert.equal(strict.seen.length, 1);
});

test("nobody answers", async () => {
  await assert.rejects(connect([NOBODY]).get("x", "y"), (error) => {
    assert.ok(error instanceof ClusterUnreachableError);
    return /ECONNREFUSED|bad port/.test(error.message);
  });
  assert.equal(await connect([NOBODY]).ready(), false);
  assert.throws(() => new Client([], TOKEN), ClusterUnreachableError);
});

test("the key goes nowhere that a node sends the client", async () => {
  const elsewhere = await serve(refuse(404, "not_found"));
  const sending = await serve((_incoming, outgoing) => {
    outgoing.writeHead(307, { location: elsewhere.url });
    outgoing.end();
  });
  await assert.rejects(connect([sending.url]).get("x", "y"), ClusterUnreachableError);
  assert.equal(elsewhere.seen.length, 0);
});

test("an answer that is no problem is told by its status", async () => {
  const proxy = await serve((_incoming, outgoing) => {
    outgoing.writeHead(502, { "content-type": "text/html" });
    outgoing.end("<h1>bad gateway</h1>");
  });
  await assert.rejects(connect([proxy.url]).get("x", "y"), (error) => {
    assert.ok(error instanceof ApiError);
    return error.code === "unknown" && error.status === 502;
  });
});
