// Bytes and JSON as proofs need them: nothing is rounded, nothing is guessed.

const DECODED_DEPTH_MAX = 128;
const INTEGER = /^-?\d+$/;
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

export class EncodingError extends Error {}

export const utf8 = (text) => {
  if (!text.isWellFormed()) throw new EncodingError("a name is not text");
  return new TextEncoder().encode(text);
};

export function bytesOfBase64(text) {
  if (!BASE64.test(text)) throw new EncodingError("not base64");
  return Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
}

export const bytesOfHex = (text) => Uint8Array.from(text.match(/../g) ?? [], (pair) => parseInt(pair, 16));

export const hexOf = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

export function concat(...parts) {
  const whole = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

export const sameBytes = (one, other) => one.length === other.length && one.every((byte, at) => byte === other[at]);

export function numberBytes(number, size = 8) {
  const bytes = new Uint8Array(size);
  let rest = BigInt(number);
  for (let at = size - 1; at >= 0; at -= 1) {
    bytes[at] = Number(rest & 255n);
    rest >>= 8n;
  }
  return bytes;
}

export function numberOf(bytes) {
  let number = 0n;
  for (const byte of bytes) number = (number << 8n) | BigInt(byte);
  return number;
}

export const exact = (number) => (number >= Number.MIN_SAFE_INTEGER && number <= Number.MAX_SAFE_INTEGER ? Number(number) : number);

// JSON.parse keeps 53 bits of an integer; this keeps all of them, as BigInt where they do not fit.
export function parseJson(text) {
  let isExact = true;
  const value = JSON.parse(text, (_name, item, context) => {
    if (typeof item !== "number" || Number.isSafeInteger(item)) return item;
    if (context?.source === undefined) {
      isExact &&= !Number.isInteger(item);
      return item;
    }
    return INTEGER.test(context.source) ? BigInt(context.source) : item;
  });
  if (!isExact) throw new EncodingError("this browser cannot read integers of more than 53 bits exactly");
  return value;
}

export function isEqual(one, other) {
  if (typeof one !== typeof other) return false;
  if (typeof one !== "object" || one === null || other === null) return one === other;
  if (Array.isArray(one) !== Array.isArray(other)) return false;
  const names = Object.keys(one);
  return names.length === Object.keys(other).length && names.every((name) => Object.hasOwn(other, name) && isEqual(one[name], other[name]));
}

// MessagePack (its specification, 2017) of JSON values: no binary strings and no extensions.
export function decodeMessagePack(bytes) {
  const reader = new MessagePackReader(bytes);
  const value = reader.value(0);
  if (reader.at !== bytes.length) throw new EncodingError("bytes behind the end");
  return value;
}

class MessagePackReader {
  constructor(bytes) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.at = 0;
  }

  take(size) {
    const start = this.at;
    if (start + size > this.bytes.length) throw new EncodingError("the value is cut off");
    this.at += size;
    return start;
  }

  unsigned(size) {
    const start = this.take(size);
    return numberOf(this.bytes.subarray(start, start + size));
  }

  signed(size) {
    return BigInt.asIntN(size * 8, this.unsigned(size));
  }

  value(depth) {
    if (depth > DECODED_DEPTH_MAX) throw new EncodingError("the value is too deep");
    const head = Number(this.unsigned(1));
    if (head < 0x80) return head;
    if (head >= 0xe0) return head - 0x100;
    if (head < 0x90) return this.map(head & 0x0f, depth);
    if (head < 0xa0) return this.list(head & 0x0f, depth);
    if (head < 0xc0) return this.text(head & 0x1f);
    switch (head) {
      case 0xc0: return null;
      case 0xc2: return false;
      case 0xc3: return true;
      case 0xca: return this.view.getFloat32(this.take(4));
      case 0xcb: return this.view.getFloat64(this.take(8));
      case 0xcc: case 0xcd: case 0xce: case 0xcf: return exact(this.unsigned(1 << (head - 0xcc)));
      case 0xd0: case 0xd1: case 0xd2: case 0xd3: return exact(this.signed(1 << (head - 0xd0)));
      case 0xd9: case 0xda: case 0xdb: return this.text(Number(this.unsigned(1 << (head - 0xd9))));
      case 0xdc: case 0xdd: return this.list(Number(this.unsigned(head === 0xdc ? 2 : 4)), depth);
      case 0xde: case 0xdf: return this.map(Number(this.unsigned(head === 0xde ? 2 : 4)), depth);
      case 0xc4: case 0xc5: case 0xc6: return this.binary(Number(this.unsigned(1 << (head - 0xc4))));
      default: throw new EncodingError("a value of no JSON type");
    }
  }

  binary(size) {
    const start = this.take(size);
    return this.bytes.slice(start, start + size);
  }

  text(size) {
    try {
      return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(this.binary(size));
    } catch (error) {
      throw error instanceof EncodingError ? error : new EncodingError("a text is not UTF-8");
    }
  }

  list(count, depth) {
    const items = [];
    for (let number = 0; number < count; number += 1) items.push(this.value(depth + 1));
    return items;
  }

  map(count, depth) {
    const items = Object.create(null);
    for (let number = 0; number < count; number += 1) {
      const name = this.value(depth + 1);
      if (typeof name !== "string") throw new EncodingError("a name is not text");
      items[name] = this.value(depth + 1);
    }
    return items;
  }
}
