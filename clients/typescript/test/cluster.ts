/** The real node that tests run against, and doors to it that fail in chosen ways. */

import { createServer, type IncomingMessage, request, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { after } from "node:test";
import { Client, loadAnchor } from "../src/index.js";

function given(name: string): string {
  const value = process.env[name];
  if (value === undefined || value === "") throw new Error(`${name} is not set`);
  return value;
}

export const URLS = given("AEROLITH_URLS").split(" ");
export const TOKEN = given("AEROLITH_TOKEN");
export const ANCHOR = loadAnchor(given("AEROLITH_ANCHOR"));

export function connect(urls: readonly string[] = URLS): Client {
  return new Client(urls, TOKEN, { timeoutMs: 10_000 });
}

let count = 0;

/** A name that no other test uses. */
export function fresh(name: string): string {
  count += 1;
  return `${name}-${process.pid}-${count}`;
}

type Answer = (incoming: IncomingMessage, outgoing: ServerResponse) => void;

/** Starts a server that answers as told, and keeps the headers of what it was asked. */
export async function serve(answer: Answer): Promise<{ url: string; seen: IncomingMessage[] }> {
  const seen: IncomingMessage[] = [];
  const server = createServer((incoming, outgoing) => {
    seen.push(incoming);
    answer(incoming, outgoing);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  after(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, seen };
}

/** Answers with a problem. */
export function refuse(status: number, code: string, headers: Record<string, string> = {}): Answer {
  return (incoming, outgoing) => {
    incoming.resume();
    outgoing.writeHead(status, { "content-type": "application/problem+json", ...headers });
    outgoing.end(JSON.stringify({ status, code, detail: "as the test wants it" }));
  };
}

/** Passes requests on to the node; `passOn` says what becomes of each answer. */
export function through(passOn: (from: IncomingMessage, to: ServerResponse) => void): Answer {
  return (incoming, outgoing) => {
    const { method, headers } = incoming;
    const onward = request(
      new URL(incoming.url ?? "/", URLS[0]),
      { method: method ?? "GET", headers },
      (from) => passOn(from, outgoing),
    );
    onward.on("error", () => outgoing.destroy());
    outgoing.on("close", () => onward.destroy());
    incoming.pipe(onward);
  };
}

/** Passes requests on to the node, and its answers back as they are. */
export const pass: Answer = through((from, to) => {
  to.writeHead(from.statusCode ?? 500, from.headers);
  from.pipe(to);
});
