import assert from "node:assert/strict";
import { test } from "node:test";
import { ApiError, type Change } from "../src/index.js";
import { connect, fresh, refuse, serve, through, URLS } from "./cluster.js";

/** Returns the first changes of a feed, and ends it. */
async function first(count: number, feed: AsyncIterable<Change>): Promise<Change[]> {
  const found: Change[] = [];
  for await (const change of feed) {
    found.push(change);
    if (found.length === count) break;
  }
  return found;
}

test("every change is told in order, and the feed resumes behind any of them", async () => {
  const [client, name] = [connect(), fresh("told")];
  await client.put(name, "a", { n: 1 });
  await client.patch(name, "a", { n: 2 });
  await client.delete(name, "a");
  const told = await first(3, client.changes({ after: "0", collections: [name] }));
  assert.deepEqual(told.map((change) => change.operation), ["insert", "update", "delete"]);
  assert.equal(told[0]?.document?.["n"], 1);
  const after = told[0]?.place ?? "";
  const rest = await first(2, client.changes({ after, collections: [name] }));
  assert.deepEqual(rest, told.slice(1));
  const filter = { n: { $gt: 1 } };
  const options = { after: "0", collections: [name], filter, withoutDocuments: true };
  const [fitting] = await first(1, client.changes(options));
  assert.deepEqual([fitting?.version, fitting?.document], [told[1]?.version, undefined]);
});

test("a feed whose node falls away goes on at another one, and repeats nothing", async () => {
  const [client, name] = [connect(), fresh("moved")];
  for (let n = 0; n < 6; n += 1) await client.put(name, `d${n}`, { n });
  const cut = await serve(
    through((from, to) => {
      to.writeHead(from.statusCode ?? 500, from.headers);
      let [held, isCut] = ["", false];
      from.setEncoding("utf8");
      from.on("data", (text: string) => {
        held += text;
        // Two whole events and a half pass; then the line is cut.
        const ends = [...held.matchAll(/data: .*\n\n/g)].map((m) => m.index + m[0].length);
        if (ends.length >= 3 && !isCut) {
          isCut = true;
          to.write(held.slice(0, (ends[2] ?? 0) - 20), () => to.destroy());
          from.destroy();
        }
      });
    }),
  );
  const feed = connect([cut.url, ...URLS]).changes({ after: "0", collections: [name] });
  const told = await first(6, feed);
  assert.deepEqual(told.map((change) => change.id), ["d0", "d1", "d2", "d3", "d4", "d5"]);
  assert.equal(cut.seen.length, 1);
});

test("a filter may have whole numbers of 64 bits", async () => {
  const [client, name] = [connect(), fresh("large")];
  const large = 2n ** 60n + 1n;
  await client.put(name, "a", { n: large - 1n });
  await client.put(name, "b", { n: large });
  const options = { after: "0", collections: [name], filter: { n: large } };
  const [fitting] = await first(1, client.changes(options));
  assert.deepEqual([fitting?.id, fitting?.document?.["n"]], ["b", large]);
});

test("a signal ends a feed that waits", async () => {
  const [client, ending] = [connect(), new AbortController()];
  const feed = client.changes({ collections: [fresh("quiet")], signal: ending.signal });
  const waiting = feed.next();
  ending.abort();
  assert.deepEqual(await waiting, { done: true, value: undefined });
});

test("a place that is no longer known is an error, not an endless repetition", async () => {
  const gone = await serve(refuse(410, "resync_required"));
  await assert.rejects(connect([gone.url]).changes({ after: "1" }).next(), (error) => {
    assert.ok(error instanceof ApiError);
    return error.code === "resync_required";
  });
  assert.equal(gone.seen.length, 1);
});

test("an end that the node explains is told, and one that passes is not", async () => {
  const end = (code: string): string => `event: end\ndata: {"status":403,"code":"${code}"}\n\n`;
  const answers = [`id: 0\n\n${end("not_ready")}`, `id: 1-0\r\ndata: {"sequence":1}\r\n\r`];
  const ending = await serve((_incoming, outgoing) => {
    outgoing.writeHead(200, { "content-type": "text/event-stream" });
    outgoing.write(`retry: 10\n${answers.shift() ?? ""}`);
    setImmediate(() => outgoing.end(`\n${end("forbidden")}`));
  });
  const feed = connect([ending.url]).changes();
  assert.deepEqual(await feed.next(), { done: false, value: { place: "1-0", sequence: 1 } });
  await assert.rejects(feed.next(), (error) => {
    assert.ok(error instanceof ApiError);
    return error.code === "forbidden" && error.status === 403;
  });
});
