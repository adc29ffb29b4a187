/**
 * JSON with whole numbers of 64 bits: a cluster keeps them exactly, and a JavaScript number does
 * not beyond 2^53. Such numbers become `bigint`, and are written as numbers again; all others stay
 * `number`.
 */

export type Json = null | boolean | number | bigint | string | Json[] | { [name: string]: Json };

const DEPTH_MAX = 200;
const MAY_BE_LARGE = /\d{16}/;
const WHOLE = /^-?\d+$/;
const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const STRING = /"(?:[^"\\\u0000-\u001f]|\\.)*"/y;
const SPACE = /[ \t\n\r]*/y;
const WORDS = new Map<string, Json>([
  ["true", true],
  ["false", false],
  ["null", null],
]);

/** Reads JSON; throws `SyntaxError` where it is none. */
export function parse(text: string): Json {
  // The built-in reader is quicker, and right wherever no number can be large.
  if (!MAY_BE_LARGE.test(text)) return JSON.parse(text) as Json;
  return new Reader(text).read();
}

/** Writes JSON; properties that are `undefined` are left out, as `JSON.stringify` does. */
export function stringify(value: unknown): string {
  return written(value, 0) ?? "null";
}

function written(value: unknown, depth: number): string | undefined {
  if (depth > DEPTH_MAX) throw new RangeError(`deeper than ${DEPTH_MAX} levels`);
  if (typeof value === "bigint") return value.toString();
  if (typeof value === "number" && !Number.isFinite(value)) {
    throw new RangeError(`${value} is no JSON number`);
  }
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  if (Array.isArray(value)) {
    return `[${value.map((item) => written(item, depth + 1) ?? "null").join(",")}]`;
  }
  if (hasToJson(value)) return written(value.toJSON(), depth + 1);
  const members: string[] = [];
  for (const [name, member] of Object.entries(value)) {
    const text = written(member, depth + 1);
    if (text !== undefined) members.push(`${JSON.stringify(name)}:${text}`);
  }
  return `{${members.join(",")}}`;
}

function hasToJson(value: object): value is { toJSON(): unknown } {
  return "toJSON" in value && typeof value.toJSON === "function";
}

class Reader {
  #at = 0;

  constructor(readonly text: string) {}

  read(): Json {
    const value = this.#value(0);
    this.#match(SPACE);
    if (this.#at !== this.text.length) this.#fail();
    return value;
  }

  #value(depth: number): Json {
    if (depth > DEPTH_MAX) throw new SyntaxError(`deeper than ${DEPTH_MAX} levels`);
    this.#match(SPACE);
    switch (this.text[this.#at]) {
      case "{":
        return this.#object(depth);
      case "[":
        return this.#array(depth);
      case '"':
        return this.#string();
      case "t":
      case "f":
      case "n":
        return this.#word();
      default:
        return this.#number();
    }
  }

  #object(depth: number): Json {
    const members: [string, Json][] = [];
    this.#items("}", () => {
      const name = this.#string();
      this.#match(SPACE);
      if (this.text[this.#at] !== ":") this.#fail();
      this.#at += 1;
      members.push([name, this.#value(depth + 1)]);
    });
    // Not by assignment: a member may be called __proto__.
    return Object.fromEntries(members);
  }

  #array(depth: number): Json {
    const items: Json[] = [];
    this.#items("]", () => items.push(this.#value(depth + 1)));
    return items;
  }

  #items(end: string, readOne: () => void): void {
    this.#at += 1;
    this.#match(SPACE);
    if (this.text[this.#at] === end) {
      this.#at += 1;
      return;
    }
    for (;;) {
      this.#match(SPACE);
      readOne();
      this.#match(SPACE);
      const next = this.text[this.#at];
      this.#at += 1;
      if (next === end) return;
      if (next !== ",") this.#fail();
    }
  }

  #string(): string {
    const text = this.#match(STRING);
    if (text === "") this.#fail();
    return JSON.parse(text) as string;
  }

  #word(): Json {
    for (const [word, value] of WORDS) {
      if (this.text.startsWith(word, this.#at)) {
        this.#at += word.length;
        return value;
      }
    }
    return this.#fail();
  }

  #number(): Json {
    const text = this.#match(NUMBER);
    if (text === "") this.#fail();
    const value = Number(text);
    return WHOLE.test(text) && !Number.isSafeInteger(value) ? BigInt(text) : value;
  }

  #match(pattern: RegExp): string {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.text)?.[0] ?? "";
    this.#at += found.length;
    return found;
  }

  #fail(): never {
    throw new SyntaxError(`no JSON at position ${this.#at}`);
  }
}
