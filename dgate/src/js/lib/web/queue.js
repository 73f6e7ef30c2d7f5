import { define, dictionary, isObject, need } from "dgate:idl";

const noop = () => {};

export const handled = (promise) => {
  promise.then(undefined, noop);
  return promise;
};

export class Deferred {
  pending = true;
  constructor() {
    const { promise, resolve, reject } = Promise.withResolvers();
    this.promise = promise;
    this.fulfil = resolve;
    this.refuse = reject;
  }
  resolve(value) {
    this.pending = false;
    this.fulfil(value);
  }
  reject(error) {
    this.pending = false;
    this.refuse(error);
  }
  // This one if it is pending, else a new one, rejected; nobody has to handle it.
  rejected(error) {
    const one = this.pending ? this : new Deferred();
    handled(one.promise);
    one.reject(error);
    return one;
  }
}

// What a callback of the user's gives, as a promise.
export function attempt(callback, self, args) {
  try {
    return Promise.resolve(callback.apply(self, args));
  } catch (error) {
    return Promise.reject(error);
  }
}

export function method(object, name, what) {
  const callback = object[name];
  if (callback !== undefined && typeof callback !== "function") throw new TypeError(`${name} of ${what} is not a function`);
  return callback;
}

export function strategyOf(strategy, mark) {
  const { highWaterMark = mark, size } = dictionary(strategy, "the queuing strategy");
  const number = Number(highWaterMark);
  if (Number.isNaN(number) || number < 0) throw new RangeError("highWaterMark is not a number of zero or more");
  if (size !== undefined && typeof size !== "function") throw new TypeError("size of the queuing strategy is not a function");
  return { mark: number, size };
}

export class Queue {
  items = [];
  sizes = [];
  total = 0;

  push(item, size) {
    size = Number(size);
    if (!(size >= 0) || size === Infinity) throw new RangeError("the size of a chunk is not a finite number of zero or more");
    this.items.push(item);
    this.sizes.push(size);
    this.total += size;
  }
  shift() {
    this.total = Math.max(0, this.total - this.sizes.shift());
    return this.items.shift();
  }
  clear() {
    this.items = [];
    this.sizes = [];
    this.total = 0;
  }
}

function markOf(init, what) {
  need([init], 1, what);
  if (!isObject(init) || init.highWaterMark === undefined) throw new TypeError(`${what} needs { highWaterMark }`);
  return Number(init.highWaterMark);
}

const byteSize = { size: (chunk) => chunk.byteLength }.size, countSize = { size: () => 1 }.size;

export class ByteLengthQueuingStrategy {
  #mark;
  constructor(init) {
    this.#mark = markOf(init, "ByteLengthQueuingStrategy");
  }
  get highWaterMark() {
    return this.#mark;
  }
  get size() {
    const _ = this.#mark;
    return byteSize;
  }
}

export class CountQueuingStrategy {
  #mark;
  constructor(init) {
    this.#mark = markOf(init, "CountQueuingStrategy");
  }
  get highWaterMark() {
    return this.#mark;
  }
  get size() {
    const _ = this.#mark;
    return countSize;
  }
}

define(ByteLengthQueuingStrategy, CountQueuingStrategy);
