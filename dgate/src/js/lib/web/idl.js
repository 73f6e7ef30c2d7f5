import native from "dgate:native";

const { defineProperty } = Object;
const platform = new WeakSet();

export const usv = (value) => `${value}`.toWellFormed();

export const isObject = (value) => (typeof value === "object" && value !== null) || typeof value === "function";

export function need(args, count, what) {
  if (args.length < count) {
    throw new TypeError(`${what} needs ${count} argument${count > 1 ? "s" : ""}, but only ${args.length} given`);
  }
}

export function dictionary(value, what) {
  if (value === undefined || value === null) return {};
  if (!isObject(value)) throw new TypeError(`${what} is not an object`);
  return value;
}

export function enforceRange(value, what) {
  const number = Math.trunc(Number(value));
  if (!(number >= 0 && number <= Number.MAX_SAFE_INTEGER)) throw new TypeError(`${what} is out of range`);
  return number;
}

export function define(...classes) {
  for (const constructor of classes) {
    tag(constructor);
    defineProperty(globalThis, constructor.name, { value: constructor, writable: true, configurable: true });
  }
}

const loaded = { __proto__: null };
export const load = (module) => (loaded[module] ??= native.load(module));

// Globals of a module that is loaded when the first of them is asked for: most slots need none, and hold none.
export function later(module, names, enumerable) {
  for (const name of names) {
    defineProperty(globalThis, name, {
      get: () => load(module)[name],
      set: (value) => void defineProperty(globalThis, name, { value, writable: true, enumerable, configurable: true }),
      enumerable,
      configurable: true,
    });
  }
}

export function tag(constructor, name = constructor.name) {
  defineProperty(constructor.prototype, Symbol.toStringTag, { value: name, configurable: true });
  platform.add(constructor.prototype);
}

export function isPlatformObject(object) {
  for (let proto = Object.getPrototypeOf(object); proto !== null; proto = Object.getPrototypeOf(proto)) {
    if (platform.has(proto)) return true;
  }
  return false;
}

export const copyOf = (view) => new Uint8Array(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));

export function bytesOf(source, what) {
  if (source instanceof Uint8Array) return source;
  if (ArrayBuffer.isView(source)) return new Uint8Array(source.buffer, source.byteOffset, source.byteLength);
  if (source instanceof ArrayBuffer) return new Uint8Array(source);
  throw new TypeError(`${what} is not an ArrayBuffer or a view of one`);
}
