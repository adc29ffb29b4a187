import assert from "node:assert/strict";
import { test } from "node:test";
import { parse, stringify } from "../src/json.js";

const LARGE = "9223372036854775807";

test("whole numbers that a JavaScript number cannot hold stay exact", () => {
  const text = `{"a":${LARGE},"b":[-${LARGE},1,9007199254740991,9007199254740993],"c":1.5e300}`;
  const value = parse(text);
  assert.deepEqual(value, {
    a: 9223372036854775807n,
    b: [-9223372036854775807n, 1, 9007199254740991, 9007199254740993n],
    c: 1.5e300,
  });
  assert.equal(stringify(value), text.replace("1.5e300", "1.5e+300"));
});

test("the exact reader reads what the built-in one reads", () => {
  const samples = [
    ` { "a" : [ ] , "b" : { } , "c" : [ 1 , -0.5e-3 , true , false , null ] } `,
    `"\\u00e9\\n\\"\\\\ \u{1F600} /"`,
    `[[[[{"deep":[{"er":""}]}]]]]`,
    `{"__proto__":{"x":1},"constructor":2,"":3}`,
    `{"a":1,"a":2}`,
    `-0`,
  ];
  for (const sample of samples) {
    const [exact, builtIn] = [parse(`[${sample},${LARGE}]`), JSON.parse(sample)];
    assert.ok(Array.isArray(exact));
    assert.equal(JSON.stringify(exact[0]), JSON.stringify(builtIn), sample);
  }
  assert.equal(Object.getPrototypeOf(parse(`{"__proto__":${LARGE}}`)), Object.prototype);
});

test("what is no JSON is refused by both readers", () => {
  const broken = ["", "{", "[1,]", `{"a"}`, `{a:1}`, "01", "+1", ".5", "tru", `"\n"`, `"\\x"`, "1 2"];
  for (const text of broken) {
    assert.throws(() => parse(text), SyntaxError, text);
    assert.throws(() => parse(`[${text || ","},${LARGE}`), SyntaxError, text);
  }
  assert.throws(() => parse(`${"[".repeat(300)}${LARGE}`), SyntaxError);
});

test("what JSON cannot say is not written", () => {
  assert.throws(() => stringify({ a: Number.NaN }), RangeError);
  assert.throws(() => stringify([Number.POSITIVE_INFINITY]), RangeError);
  const endless: unknown[] = [];
  endless.push(endless);
  assert.throws(() => stringify(endless), RangeError);
  const at = new Date(0);
  assert.equal(stringify({ a: undefined, b: [undefined], at }), `{"b":[null],"at":"${at.toJSON()}"}`);
});
