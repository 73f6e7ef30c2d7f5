// Calls everything of ours with anything, in any order; what was made is used again. `roots` is what to search.
const fuzzer = (roots, builtins, seed) => {
  let state = seed >>> 0;
  const next = (n) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 4294967296) * n);
  };
  const seen = new Set([globalThis, Object.prototype, Function.prototype, Array.prototype]);
  for (const name of builtins) {
    const value = globalThis[name];
    if (Object(value) !== value) continue;
    seen.add(value);
    if (value.prototype) seen.add(value.prototype);
  }
  const functions = [];
  const slow = /generateKey|derive|pbkdf2/i;
  const walk = (object, path, depth) => {
    if (Object(object) !== object || seen.has(object) || depth > 5) return;
    seen.add(object);
    if (typeof object === "function") functions.push([object, path]);
    for (const key of Reflect.ownKeys(object)) {
      const found = Reflect.getOwnPropertyDescriptor(object, key);
      const name = `${path}.${String(key)}`;
      if (!found) continue;
      if (found.get) functions.push([found.get, `get ${name}`]);
      if (found.set) functions.push([found.set, `set ${name}`]);
      if ("value" in found) walk(found.value, name, depth + 1);
    }
    walk(Object.getPrototypeOf(object), `${path}.__proto__`, depth + 1);
  };
  for (const [name, root] of Object.entries(roots)) walk(root, name, 0);

  let depth = 0;
  const again = (value) => () => {
    step();
    return value;
  };
  const detached = new ArrayBuffer(8);
  detached.transfer?.();
  const values = [
    undefined, null, true, false, 0, -0, 1, 2, -1, 1.5, NaN, Infinity, 200, 204, 599, 600, 2 ** 31, 2 ** 53, -(2 ** 63), 1e300, 10n, 2n ** 70n,
    "", "a", "GET", "POST", "x-a", "set-cookie", "content-length", "a\r\nb: c", "\0", "\ud800", "é", "\u4e00", "http://127.0.0.1:1/", "http://u:p@h:1/p?q#f", "http://user@h/", "//", "/.//a", "data:x", "a".repeat(5000), "text", "utf-8", "follow", "byob", "bytes", "sha256", "hex", "raw", "{}", "[1]",
    Symbol(), Symbol.iterator, {}, [], [[]], [["a", "b"]], [["a"]], { a: "b" }, { a: 1, b: null }, { status: 204, headers: { "x-a": "y" } }, { method: "PUT", body: "b" }, { body: "b", method: "GET" }, { ttl: 1 }, { highWaterMark: 3 }, { type: "bytes" },
    () => 1, async () => 1, function* () { yield 1; }, class {}, new Date(0), new Date(NaN), /a/g, new Map([[1, 2]]), new Set([1]), new WeakMap(), new Error("e"), Promise.resolve(1), new Promise(() => {}),
    new Uint8Array(), new Uint8Array(5), new Uint8Array(16), new Float64Array(2), new ArrayBuffer(3), new DataView(new ArrayBuffer(8), 3), detached, new BigInt64Array(1),
    { toString: again("x-b"), valueOf: again(7) }, { [Symbol.toPrimitive]: again("http://127.0.0.1/") }, { then(yes) { step(); yes(1); } }, { toJSON: again({}) },
    { get body() { step(); return "b"; }, method: "PUT", get headers() { step(); return [["a", "b"]]; } }, { *[Symbol.iterator]() { step(); yield ["a", { toString: again("v") }]; step(); } }, { get status() { return again(201)(); } },
    { pull(c) { step(); if (next(3)) c.enqueue(new Uint8Array(2)); else c.close(); }, cancel: again(1), start: again(1) }, { write: again(1), close: again(1), abort: again(1) }, { transform: again(1), flush: again(1) },
    { get href() { step(); return "http://127.0.0.1:1"; } }, { buffer: new ArrayBuffer(4), byteOffset: 2, byteLength: 9 }, { name: "HMAC", hash: "SHA-256" }, { kty: "oct", k: "AQ" }, { name: "AES-GCM", iv: new Uint8Array(12) },
    new Proxy({}, { get: (_, key) => { step(); return key === "length" ? 2 : undefined; }, ownKeys: again(["a"]) }), new Proxy([], {}), new Proxy(() => 1, {}), Object.create(null), Object.freeze(["a"]),
    ...Object.values(roots),
  ];
  const fixed = values.length;
  const called = new Set();
  let fine = 0;
  const value = () => values[next(values.length)];
  const keep = (made) => {
    if (Object(made) !== made) return;
    if (made instanceof Promise) made.then(keep, () => {});
    if (values.length < fixed + 60) values.push(made);
    else values[fixed + next(60)] = made;
  };
  function step() {
    if (depth >= 3) return;
    depth++;
    try {
      const [f, path] = functions[next(functions.length)];
      if (slow.test(path) && next(200)) return;
      const args = Array.from({ length: next(5) }, value);
      called.add(path);
      keep(next(3) === 0 ? Reflect.construct(f, args) : f.apply(value(), args));
      fine++;
    } catch {
    } finally {
      depth--;
    }
  }
  // Most methods want an object of their own class: one call in two is of that kind.
  function own() {
    const object = Object(value());
    const names = [];
    for (let o = object; o && o !== Object.prototype; o = Object.getPrototypeOf(o)) if (!seenBuiltin.has(o)) names.push(...Reflect.ownKeys(o));
    if (!names.length) return;
    const name = names[next(names.length)];
    if (slow.test(String(name))) return;
    depth++;
    try {
      const member = object[name];
      called.add(String(name));
      if (next(4) === 0 && name !== "length") object[name] = value(); // join() of a giant array holds the thread
      else keep(typeof member === "function" ? member.apply(object, Array.from({ length: next(4) }, value)) : member);
      fine++;
    } catch {
    } finally {
      depth--;
    }
  }
  const seenBuiltin = new Set([Object.prototype, Function.prototype, Array.prototype, ...builtins.map((n) => globalThis[n]?.prototype), globalThis, ...builtins.map((n) => globalThis[n])]);
  return { next, step, own, value, called, functions, fine: () => fine };
};
