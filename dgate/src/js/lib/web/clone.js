import { isPlatformObject, need } from "dgate:idl";

const { getPrototypeOf, keys, hasOwn } = Object;
const objectProto = Object.prototype;
const getter = (proto, name) => Object.getOwnPropertyDescriptor(proto, name).get;
const arrayName = getter(getPrototypeOf(Uint8Array.prototype), Symbol.toStringTag);
const ERRORS = { Error, EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError };
// What a brand has that nothing else has: reading it throws for all others.
const BRANDS = [
  [Date, Date.prototype.getTime], [RegExp, getter(RegExp.prototype, "source")],
  [Map, getter(Map.prototype, "size")], [Set, getter(Set.prototype, "size")],
  [ArrayBuffer, getter(ArrayBuffer.prototype, "byteLength")], [Boolean, Boolean.prototype.valueOf],
  [Number, Number.prototype.valueOf], [String, String.prototype.valueOf],
  [BigInt, BigInt.prototype.valueOf], [Symbol, Symbol.prototype.valueOf],
];
const OPAQUE = [Promise, WeakMap, WeakSet, WeakRef];

const refuse = (what) => {
  throw new DOMException(`${what} could not be cloned`, "DataCloneError");
};

function brandOf(value) {
  for (const [constructor, probe] of BRANDS) {
    if (value instanceof constructor) {
      try {
        probe.call(value);
        return constructor;
      } catch {}
    }
  }
  return undefined;
}

function cloneError(value, memory) {
  let { name } = value;
  name = name === undefined ? "Error" : `${name}`;
  const copy = new (hasOwn(ERRORS, name) ? ERRORS[name] : Error)();
  memory.set(value, copy);
  const put = (key, v) => Object.defineProperty(copy, key, { value: v, writable: true, configurable: true });
  const message = Object.getOwnPropertyDescriptor(value, "message");
  if (message !== undefined && "value" in message) put("message", `${message.value}`);
  if (typeof value.stack === "string") put("stack", value.stack);
  if (hasOwn(value, "cause")) put("cause", clone(value.cause, memory));
  return copy;
}

function cloneView(value, name, memory) {
  const buffer = clone(value.buffer, memory), { byteOffset } = value;
  const constructor = name === undefined ? DataView : globalThis[name];
  const copy = new constructor(buffer, byteOffset, name === undefined ? value.byteLength : value.length);
  memory.set(value, copy);
  return copy;
}

function cloneBuffer(value, memory) {
  if (value.detached) refuse("a detached ArrayBuffer");
  let copy;
  if (value.resizable) {
    copy = new ArrayBuffer(value.byteLength, { maxByteLength: value.maxByteLength });
    new Uint8Array(copy).set(new Uint8Array(value));
  } else {
    copy = value.slice(0);
  }
  memory.set(value, copy);
  return copy;
}

function fields(from, to, memory) {
  for (const key of keys(from)) {
    if (!hasOwn(from, key)) continue;
    const value = clone(from[key], memory);
    if (key === "__proto__") Object.defineProperty(to, key, { value, writable: true, enumerable: true, configurable: true });
    else to[key] = value;
  }
  return to;
}

function clone(value, memory) {
  if (typeof value !== "object" || value === null) {
    if (typeof value === "function" || typeof value === "symbol") refuse(typeof value === "symbol" ? String(value) : "a function");
    return value;
  }
  if (memory.has(value)) return memory.get(value);
  let copy;
  if (Array.isArray(value)) {
    copy = new Array(value.length);
    memory.set(value, copy);
    return fields(value, copy, memory);
  }
  const proto = getPrototypeOf(value);
  if (proto !== objectProto && proto !== null) {
    if (ArrayBuffer.isView(value)) return cloneView(value, arrayName.call(value), memory);
    if (value instanceof DOMException) {
      copy = new DOMException(value.message, value.name);
      memory.set(value, copy);
      return copy;
    }
    if (Error.isError(value)) return cloneError(value, memory);
    const brand = brandOf(value);
    switch (brand) {
      case Date:
        copy = new Date(Date.prototype.getTime.call(value));
        break;
      case RegExp:
        copy = new RegExp(value.source, value.flags);
        break;
      case ArrayBuffer:
        return cloneBuffer(value, memory);
      case Map: {
        copy = new Map();
        memory.set(value, copy);
        for (const [k, v] of [...Map.prototype.entries.call(value)]) copy.set(clone(k, memory), clone(v, memory));
        return copy;
      }
      case Set: {
        copy = new Set();
        memory.set(value, copy);
        for (const v of [...Set.prototype.values.call(value)]) copy.add(clone(v, memory));
        return copy;
      }
      case Boolean: case Number: case String: case BigInt:
        copy = Object(brand.prototype.valueOf.call(value));
        break;
      case Symbol:
        refuse("a Symbol object");
    }
    if (copy !== undefined) {
      memory.set(value, copy);
      return copy;
    }
    if (isPlatformObject(value) || OPAQUE.some((constructor) => value instanceof constructor)) refuse(`an object of class ${proto.constructor?.name}`);
  }
  copy = {};
  memory.set(value, copy);
  return fields(value, copy, memory);
}

export function structuredClone(value, options = undefined) {
  need(arguments, 1, "structuredClone");
  const transfer = options?.transfer === undefined ? [] : [...options.transfer], memory = new Map();
  if (new Set(transfer).size !== transfer.length) refuse("an object that is listed twice in transfer");
  for (const buffer of transfer) {
    if (!(buffer instanceof ArrayBuffer) || buffer.detached) refuse("an object in transfer that is no attached ArrayBuffer");
  }
  // The clones of transferred buffers stand in until nothing can fail any more.
  const moved = new Map(transfer.map((buffer) => [buffer, buffer.resizable ? new ArrayBuffer(buffer.byteLength, { maxByteLength: buffer.maxByteLength }) : new ArrayBuffer(buffer.byteLength)]));
  for (const [buffer, stand] of moved) memory.set(buffer, stand);
  const copy = clone(value, memory);
  for (const [buffer, stand] of moved) {
    new Uint8Array(stand).set(new Uint8Array(buffer));
    buffer.transfer();
  }
  return copy;
}

Object.defineProperty(globalThis, "structuredClone", { value: structuredClone, writable: true, enumerable: true, configurable: true });
