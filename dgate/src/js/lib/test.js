import native from "dgate:native";
import { load } from "dgate:idl";

const { inspect } = load("dgate:console");

// ---- tests ----

const tests = [];
const root = { name: "", mode: "run", before: [], after: [], parent: null };
let group = root, running = false, deciding = false;

const declared = (what) => {
  if (running) throw new TypeError(`${what} belongs outside of tests`);
};
const needs = (fn, what) => {
  if (typeof fn !== "function") throw new TypeError(`${what} needs a function`);
};

function add(name, fn, mode, timeout) {
  declared("test");
  if (mode !== "todo") needs(fn, "test");
  const groups = [];
  for (let at = group; at; at = at.parent) groups.unshift(at);
  if (groups.some((g) => g.mode === "skip")) mode = mode === "todo" ? mode : "skip";
  const only = mode === "only" || groups.some((g) => g.mode === "only");
  deciding ||= only;
  const names = [...groups.map((g) => g.name).filter((n) => n !== ""), String(name)];
  tests.push({ name: names.join(" "), fn, mode, only, groups, timeout: native.testDuration(timeout ?? "5s") });
}

export const test = (name, fn, options) => add(name, fn, "run", options?.timeout);
test.skip = (name, fn) => add(name, fn, "skip");
test.only = (name, fn, options) => add(name, fn, "only", options?.timeout);
test.todo = (name) => add(name, undefined, "todo");
export const it = test;

function nest(name, fn, mode) {
  declared("describe");
  needs(fn, "describe");
  group = { name: String(name), mode, before: [], after: [], parent: group };
  try {
    if (fn() !== undefined) throw new TypeError("the function of describe gives nothing, and is not async");
  } finally {
    group = group.parent;
  }
}

export const describe = (name, fn) => nest(name, fn, "run");
describe.skip = (name, fn) => nest(name, fn, "skip");
describe.only = (name, fn) => nest(name, fn, "only");

export function beforeEach(fn) {
  declared("beforeEach");
  needs(fn, "beforeEach");
  group.before.push(fn);
}

export function afterEach(fn) {
  declared("afterEach");
  needs(fn, "afterEach");
  group.after.unshift(fn);
}

const list = () =>
  JSON.stringify({
    only: deciding,
    tests: tests.map(({ name, mode, only, timeout }) => ({
      name,
      mode: mode === "todo" ? "todo" : mode === "skip" || (deciding && !only) ? "skip" : "run",
      timeout,
    })),
  });

/** Rejects with `error()` after a time; `work` goes on, and ends with the test. */
function within(work, limit, error) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(error()), limit);
  });
  return Promise.race([work, late]).finally(() => clearTimeout(timer));
}

async function run(at) {
  const { fn, groups, timeout } = tests[at];
  const failures = [];
  const attempt = async (work) => {
    const late = () => {
      const error = new Error(`it took longer than ${timeout} ms (test(name, fn, { timeout }))`);
      error.name = "Timeout";
      return error;
    };
    try {
      await within(work(), timeout, late);
      return true;
    } catch (error) {
      failures.push(error);
      return false;
    }
  };
  mocks = mocks.filter((mock) => !mock.temporary);
  forgotten.clear();
  running = true;
  const begun = await attempt(async () => {
    for (const { before } of groups) for (const each of before) await each();
  });
  if (begun) await attempt(async () => fn());
  for (const { after } of groups.toReversed()) for (const each of after) await attempt(async () => each());
  running = false;
  if (failures.length > 0) throw failures[0];
  for (const error of forgotten) throw error;
}

// ---- expectations ----

class AssertionError extends Error {}
Object.defineProperty(AssertionError.prototype, "name", { value: "AssertionError", configurable: true, writable: true });

/** Expectations of promises that nothing awaited yet. */
const forgotten = new Set();

const isObject = (value) => typeof value === "object" && value !== null;
const tag = (value) => Object.prototype.toString.call(value);
const present = (object) =>
  Reflect.ownKeys(object).filter((key) => {
    const property = Object.getOwnPropertyDescriptor(object, key);
    return property.enumerable && object[key] !== undefined;
  });

function equal(a, b, seen = new Map()) {
  if (Object.is(a, b)) return true;
  if (!isObject(a) || !isObject(b)) return false;
  if (tag(a) !== tag(b) || Array.isArray(a) !== Array.isArray(b)) return false;
  if (seen.get(a) === b) return true;
  seen.set(a, b);
  if (a instanceof Date) return Object.is(a.getTime(), b.getTime());
  if (a instanceof RegExp) return String(a) === String(b);
  if (a instanceof Error) return a.name === b.name && a.message === b.message;
  if (a instanceof Number || a instanceof String || a instanceof Boolean) return Object.is(a.valueOf(), b.valueOf());
  if (a instanceof ArrayBuffer) return equal(new Uint8Array(a), new Uint8Array(b), seen);
  if (ArrayBuffer.isView(a) || Array.isArray(a)) {
    if (a instanceof DataView) return equal(a.buffer, b.buffer, seen) && a.byteOffset === b.byteOffset;
    if (a.length !== b.length) return false;
    for (let i = 0; i < a.length; i++) if (!equal(a[i], b[i], seen)) return false;
    return true;
  }
  if (a instanceof Set) {
    if (a.size !== b.size) return false;
    const rest = [...b];
    return [...a].every((one) => {
      const at = rest.findIndex((other) => equal(one, other, new Map(seen)));
      return at >= 0 && rest.splice(at, 1).length === 1;
    });
  }
  if (a instanceof Map) {
    if (a.size !== b.size) return false;
    const rest = [...b];
    return [...a].every((one) => {
      const at = rest.findIndex((other) => equal(one, other, new Map(seen)));
      return at >= 0 && rest.splice(at, 1).length === 1;
    });
  }
  const [left, right] = [present(a), present(b)];
  return left.length === right.length && left.every((key) => right.includes(key) && equal(a[key], b[key], seen));
}

function matches(value, expected) {
  if (!isObject(expected) || tag(expected) !== "[object Object]") return equal(value, expected);
  if (!isObject(value)) return false;
  return Reflect.ownKeys(expected).every((key) =>
    expected[key] === undefined ? value[key] === undefined : key in value && matches(value[key], expected[key]),
  );
}

const wrong = (text) => {
  throw new TypeError(text);
};

function throws(thrown, expected) {
  if (expected === undefined) return true;
  if (typeof expected === "function") return thrown instanceof expected;
  const message = isObject(thrown) ? String(thrown.message) : String(thrown);
  return expected instanceof RegExp ? expected.test(message) : message.includes(String(expected));
}

const same = (a) => (b) => Object.is(a, b);
const checks = {
  toBe: (value, expected) => Object.is(value, expected),
  toEqual: (value, expected) => equal(value, expected),
  toMatchObject: (value, expected) => matches(value, expected),
  toMatch: (value, expected) =>
    typeof value === "string" && (expected instanceof RegExp ? value.search(expected) >= 0 : value.includes(expected)),
  toContain: (value, expected) => {
    if (typeof value === "string") return value.includes(expected);
    if (value?.[Symbol.iterator] === undefined) wrong("toContain is for texts, arrays and sets");
    return [...value].some(same(expected));
  },
  toHaveLength: (value, expected) => value?.length === expected,
  toBeInstanceOf: (value, expected) => value instanceof expected,
  toBeDefined: (value) => value !== undefined,
  toBeUndefined: (value) => value === undefined,
  toBeNull: (value) => value === null,
  toBeTruthy: (value) => !!value,
  toBeFalsy: (value) => !value,
  toBeGreaterThan: (value, expected) => value > expected,
  toBeGreaterThanOrEqual: (value, expected) => value >= expected,
  toBeLessThan: (value, expected) => value < expected,
  toBeLessThanOrEqual: (value, expected) => value <= expected,
  toBeCloseTo: (value, expected, digits = 2) => value === expected || Math.abs(value - expected) < 10 ** -digits / 2,
};

/** What a function throws, as `{ thrown }`. */
function caught(fn) {
  if (typeof fn !== "function") wrong("toThrow is for functions; of a promise: await expect(promise).rejects.toThrow()");
  try {
    fn();
  } catch (thrown) {
    return { thrown };
  }
  return undefined;
}

const brief = (thrown) => (thrown instanceof Error ? String(thrown) : inspect(thrown));
const say = (name, not, shown, args) =>
  `expected ${shown} ${not ? "not " : ""}${name}${args.length > 0 ? ` ${args.map((a) => inspect(a)).join(", ")}` : ""}`;

function check(name, value, args, not, rejected) {
  if (name !== "toThrow") {
    if (!!checks[name](value, ...args) === not) return say(name, not, inspect(value), args);
    return undefined;
  }
  const found = rejected ? { thrown: value } : caught(value);
  if ((found !== undefined && throws(found.thrown, ...args)) !== not) return undefined;
  const shown = found === undefined ? "the function, which throws nothing," : `what is thrown (${brief(found.thrown)})`;
  return say(name, not, shown, args);
}

const names = [...Object.keys(checks), "toThrow"];
const matchers = (make) => Object.fromEntries(names.map((name) => [name, make(name)]));

const now = (value, not) =>
  matchers((name) => (...args) => {
    const failed = check(name, value, args, not, false);
    if (failed !== undefined) throw new AssertionError(failed);
  });

/** Looks like a promise, and knows whether it was awaited. */
class Awaited {
  #promise;
  #note;
  constructor(promise, note) {
    this.#promise = promise;
    this.#note = note;
    forgotten.add(note);
    promise.catch(() => {});
  }
  then(done, failed) {
    forgotten.delete(this.#note);
    return this.#promise.then(done, failed);
  }
  catch(failed) {
    return this.then(undefined, failed);
  }
  finally(end) {
    forgotten.delete(this.#note);
    return this.#promise.finally(end);
  }
}

const later = (value, how, not) =>
  matchers((name) => (...args) => {
    // Made here, since an error that is made later does not know this line.
    const error = new AssertionError(`await is missing before expect(…).${how}.${name}`);
    const work = async () => {
      const outcome = await Promise.resolve(value).then((value) => ({ value }), (thrown) => ({ thrown }));
      let failed;
      if (how === "resolves" && "thrown" in outcome) {
        failed = `expected a promise that resolves, and it rejects with ${brief(outcome.thrown)}`;
      } else if (how === "rejects" && "value" in outcome) {
        failed = `expected a promise that rejects, and it resolves to ${inspect(outcome.value)}`;
      } else {
        failed = check(name, how === "rejects" ? outcome.thrown : outcome.value, args, not, how === "rejects");
      }
      if (failed === undefined) return;
      error.message = failed;
      throw error;
    };
    return new Awaited(work(), error);
  });

export const expect = (value) => ({
  ...now(value, false),
  not: now(value, true),
  resolves: { ...later(value, "resolves", false), not: later(value, "resolves", true) },
  rejects: { ...later(value, "rejects", false), not: later(value, "rejects", true) },
});

// ---- a gateway ----

class Documents {
  #ask;
  constructor(ask) {
    this.#ask = ask;
  }
  async get(id) {
    return this.#ask("get", { id: String(id) });
  }
  async put(id, data, { if_version, ttl } = {}) {
    if (JSON.stringify(data) === undefined) throw new TypeError("a value without a JSON form cannot be stored");
    return this.#ask("put", { id: String(id), data, if_version, ttl });
  }
  async delete(id) {
    await this.#ask("delete", { id: String(id) });
  }
  async list({ prefix, limit, cursor } = {}) {
    return this.#ask("list", { prefix, limit, cursor });
  }
}

class Gateway {
  #id;
  #client;
  constructor(options) {
    if (!isObject(options)) throw new TypeError("gateway needs its options, at least { modules: […] }");
    this.#id = native.testGateway(JSON.stringify(options));
    this.#client = options.client?.ip;
  }
  fetch(input, init) {
    try {
      const url = input instanceof Request ? input : new URL(input, "http://localhost");
      const request = new Request(url, init);
      const signal = native.signalOf(request);
      if (signal?.aborted) return Promise.reject(signal.reason);
      const [operation, answer] = native.testFetch(this.#id, request, init?.client?.ip ?? this.#client ?? "127.0.0.1");
      if (signal) {
        const stop = () => native.cancel(operation, signal.reason);
        const arrived = () => signal.removeEventListener("abort", stop);
        signal.addEventListener("abort", stop);
        answer.then(arrived, arrived);
      }
      return answer;
    } catch (error) {
      return Promise.reject(error);
    }
  }
  collection(name) {
    const collection = String(name);
    return new Documents((call, args) => native.testState(this.#id, JSON.stringify({ call, collection, ...args })));
  }
  settled() {
    return native.testSettled(this.#id);
  }
  get logs() {
    return Object.freeze(JSON.parse(native.testLogs(this.#id)).map(Object.freeze));
  }
}

export const gateway = (options) => new Gateway(options);

// ---- what modules talk to ----

const upstreams = new Map();
let next = 1;

class Upstream {
  requests = [];
  constructor(url) {
    this.url = url;
  }
  // As its URL in the options of a gateway.
  toJSON() {
    return this.url;
  }
}

export const upstream = (handler = () => new Response(null)) => {
  needs(handler, "upstream");
  const id = next++;
  const made = new Upstream(native.testUpstream(id));
  upstreams.set(id, { requests: made.requests, handler });
  return made;
};
upstream.down = () => new Upstream(native.testDown());

let mocks = [];

export function mockFetch(target, handler) {
  needs(handler, "mockFetch");
  let pattern = target;
  if (!(target instanceof RegExp)) {
    const parts = String(target instanceof URL ? target.href : target).split("*");
    pattern = new RegExp(`^${parts.map((p) => p.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&")).join("[^]*")}$`);
  }
  const mock = { pattern, handler, requests: [], temporary: running };
  mocks.push(mock);
  return {
    requests: mock.requests,
    restore() {
      mocks = mocks.filter((other) => other !== mock);
    },
  };
}

async function answer({ requests, handler }, request) {
  // The record can be read as well as what the handler gets.
  requests.push(request);
  const response = await handler(request.clone());
  if (!(response instanceof Response)) throw new TypeError("the handler gave no Response");
  return response;
}

/** Called by the gateway's side: `id` is an upstream, or 0 for a `fetch`. */
function serve(id, request) {
  if (id !== 0) return answer(upstreams.get(id), request);
  const url = request.url.split("#", 1)[0];
  const mock = mocks.findLast(({ pattern }) => url.search(pattern) >= 0);
  if (mock === undefined) throw new TypeError(`no mockFetch for ${request.method} ${url}`);
  return answer(mock, request);
}

native.testReady(list, run, serve);
