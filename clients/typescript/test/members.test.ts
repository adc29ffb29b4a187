import assert from "node:assert/strict";
import type { IncomingMessage } from "node:http";
import { test } from "node:test";
import { Client, ClusterUnreachableError, type TrustAnchor } from "../src/index.js";
import { ANCHOR, connect, fresh, pass, refuse, serve, TOKEN, URLS } from "./cluster.js";

const follower = (url: string, anchor: TrustAnchor = ANCHOR, follow = true): Client =>
  new Client([url], TOKEN, { anchor, follow });

const asked = (seen: IncomingMessage[], path: string): IncomingMessage[] =>
  seen.filter((incoming) => incoming.url?.startsWith(path));

/** A door to the node that can be shut; what is behind it is only told of by the node. */
async function door(): Promise<{ url: string; seen: IncomingMessage[]; shut: () => void }> {
  let isOpen = true;
  const { url, seen } = await serve((incoming, outgoing) => {
    if (isOpen) pass(incoming, outgoing);
    else incoming.destroy();
  });
  return { url, seen, shut: () => (isOpen = false) };
}

test("a member that proves itself is gone to when the address that was given falls away", async () => {
  const [{ url, seen, shut }, name] = [await door(), fresh("followed")];
  const client = follower(url);
  await client.put(name, "a", { n: 1 });
  await client.put(name, "b", { n: 2 });
  assert.ok(asked(seen, "/api/v1/gateways").length > 0);
  shut();
  await client.put(name, "c", { n: 3 });
  assert.equal((await client.query(name)).documents.length, 3);
});

test("it stays where it was told to stay, and without keys to check", async () => {
  const name = fresh("staying");
  for (const make of [(url: string) => follower(url, ANCHOR, false), (url: string) => connect([url])]) {
    const { url, seen, shut } = await door();
    const client = make(url);
    await client.put(name, "a", { n: 1 });
    await client.put(name, "a", { n: 2 });
    shut();
    await assert.rejects(client.put(name, "a", { n: 3 }), ClusterUnreachableError);
    assert.deepEqual(asked(seen, "/api/v1/gateways"), []);
  }
});

test("an address that proves nothing never gets the key", async () => {
  const name = fresh("trap");
  // It passes the question on to the true node, which signs its own address and no other.
  const trap = await serve(pass);
  let isOpen = true;
  const door = await serve((incoming, outgoing) => {
    if (!isOpen) return incoming.destroy();
    if (incoming.url?.startsWith("/api/v1/gateways") !== true) return pass(incoming, outgoing);
    incoming.resume();
    outgoing.writeHead(200, { "content-type": "application/json" });
    outgoing.end(JSON.stringify({ epoch: 0, gateways: [{ id: 0, url: trap.url }], changes: [] }));
  });
  const client = follower(door.url);
  for (const id of ["a", "b", "c"]) await client.put(name, id, {});
  isOpen = false;
  await assert.rejects(client.put(name, "d", {}), ClusterUnreachableError);
  assert.equal(asked(trap.seen, "/identity").length, trap.seen.length);
  assert.ok(trap.seen.length > 0, "the trap was not asked who it is");
  assert.deepEqual(trap.seen.filter((incoming) => incoming.headers.authorization), []);
  assert.equal(asked(door.seen, "/api/v1/collections").length, 5);
});

test("a node of another cluster is no member", async () => {
  const { url, shut } = await door();
  const client = follower(url, { ...ANCHOR, cluster_id: "cd".repeat(16) });
  await client.put(fresh("other"), "a", {});
  await client.put(fresh("other"), "a", {});
  shut();
  await assert.rejects(client.stats(), ClusterUnreachableError);
});

test("what is told of members is not believed blindly", async () => {
  const [name, odd] = [fresh("odd"), [
    "[]",
    '{"epoch":0,"gateways":[]}',
    '{"epoch":0,"gateways":[null]}',
    '{"epoch":0,"gateways":[{"id":0,"url":"https://user@elsewhere/"}]}',
    `{"epoch":0,"gateways":[{"id":0,"url":"${URLS[0]}"}],"changes":7}`,
  ]];
  for (const body of odd) {
    const { url } = await serve((incoming, outgoing) => {
      if (incoming.url?.startsWith("/api/v1/gateways") !== true) return pass(incoming, outgoing);
      incoming.resume();
      outgoing.end(body);
    });
    const client = follower(url);
    await client.put(name, "a", {});
    await client.put(name, "a", {});
  }
  const silent = await serve(refuse(503, "not_ready", { "retry-after": "0" }));
  await assert.rejects(follower(silent.url).stats(), /503 not_ready/);
  assert.deepEqual(asked(silent.seen, "/api/v1/gateways"), [], "no epoch was heard of");
});

test("what is told of members is read no further than it may go", async () => {
  const [piece, name] = [Buffer.alloc(64 * 1024, 32), fresh("endless")];
  let sent = 0;
  const door = await serve((incoming, outgoing) => {
    if (incoming.url?.startsWith("/api/v1/gateways") !== true) return pass(incoming, outgoing);
    incoming.resume();
    outgoing.writeHead(200, { "content-type": "application/json" });
    const more = (): void => {
      while (!outgoing.destroyed) {
        sent += piece.length;
        if (!outgoing.write(piece)) return void outgoing.once("drain", more);
      }
    };
    more();
  });
  const client = follower(door.url);
  for (const id of ["a", "b"]) await client.put(name, id, {});
  assert.ok(sent > 2 * 1024 * 1024, "it was not asked");
  assert.ok(sent < 64 * 1024 * 1024, `${sent} bytes went`);
});
