import { copyOf, define, dictionary, enforceRange, isObject, need, tag } from "dgate:idl";
import { isSignal, onAbort } from "dgate:events";
import { Deferred, Queue, attempt, handled, method, strategyOf } from "dgate:queue";
import * as writable from "dgate:writable";

const ILLEGAL = {};
const noop = () => {};

let makeController, stateOf, makeReader, makeByobReader;

// A stream's state: `source` is {pull, cancel}, both give promises; `bytes` says that it is a byte stream.
function create(self, source, size, mark, bytes = false) {
  return {
    self, source, size, mark, bytes, state: "readable", error: undefined, reader: null, disturbed: false, queue: new Queue(),
    started: false, closing: false, pulling: false, pullAgain: false, controller: null,
  };
}

export function begin(s, started) {
  started.then(
    () => {
      s.started = true;
      pullIfNeeded(s);
    },
    (error) => fail(s, error),
  );
}

export const open = (s) => s.state === "readable" && !s.closing;
export const desiredSize = (s) => (s.state === "errored" ? null : s.state === "closed" ? 0 : s.mark - s.queue.total);

export const wanted = (s) => open(s) && s.started && (s.reader?.requests.length > 0 || desiredSize(s) > 0);

function pullIfNeeded(s) {
  if (!wanted(s)) return;
  if (s.pulling) {
    s.pullAgain = true;
    return;
  }
  s.pulling = true;
  s.source.pull().then(
    () => {
      s.pulling = false;
      if (s.pullAgain) {
        s.pullAgain = false;
        pullIfNeeded(s);
      }
    },
    (error) => fail(s, error),
  );
}

export function enqueue(s, chunk) {
  if (!open(s)) throw new TypeError("the stream is closed or closing");
  if (s.bytes) {
    if (!ArrayBuffer.isView(chunk)) throw new TypeError("a chunk of a byte stream is not a view of an ArrayBuffer");
    if (chunk.byteLength === 0) throw new TypeError("a chunk of a byte stream is empty");
    const { byteOffset, byteLength } = chunk;
    chunk = new Uint8Array(chunk.buffer.transfer(), byteOffset, byteLength);
  }
  push(s, chunk);
}

function push(s, chunk) {
  const request = s.reader?.requests.shift();
  if (request !== undefined) request.chunk(chunk);
  else {
    try {
      const { size } = s;
      s.queue.push(chunk, s.bytes ? chunk.byteLength : size === undefined ? 1 : size(chunk));
    } catch (error) {
      fail(s, error);
      throw error;
    }
  }
  pullIfNeeded(s);
}

export function finish(s) {
  if (!open(s)) throw new TypeError("the stream is closed or closing");
  s.closing = true;
  if (s.queue.items.length === 0) close(s);
}

function close(s) {
  s.state = "closed";
  s.source = null;
  const { reader } = s;
  if (reader === null) return;
  reader.closed.resolve();
  const { requests } = reader;
  reader.requests = [];
  for (const request of requests) request.close();
}

export function fail(s, error) {
  if (s.state !== "readable") return;
  s.state = "errored";
  s.error = error;
  s.queue.clear();
  s.source = null;
  const { reader } = s;
  if (reader === null) return;
  reader.closed.reject(error);
  const { requests } = reader;
  reader.requests = [];
  for (const request of requests) request.error(error);
}

export function cancel(s, reason) {
  s.disturbed = true;
  if (s.state === "closed") return Promise.resolve();
  if (s.state === "errored") return Promise.reject(s.error);
  const { source } = s;
  s.queue.clear();
  close(s);
  return source.cancel(reason).then(noop);
}

// A reader's state, which pipes, tees and the gateway use without the object.
export function acquire(s) {
  if (s.reader !== null) throw new TypeError("the stream is locked to a reader");
  const reader = { s, requests: [], closed: new Deferred() };
  handled(reader.closed.promise);
  s.reader = reader;
  if (s.state === "closed") reader.closed.resolve();
  else if (s.state === "errored") reader.closed.reject(s.error);
  return reader;
}

export function release(reader) {
  const error = new TypeError("the reader was released"), { requests } = reader;
  reader.closed = reader.closed.rejected(error);
  reader.requests = [];
  reader.s.reader = null;
  reader.s = null;
  for (const request of requests) request.error(error);
}

// `request` is {chunk, close, error}, of which one is called, once.
export function read(reader, request) {
  const { s } = reader, { queue } = s;
  s.disturbed = true;
  if (s.state === "closed") request.close();
  else if (s.state === "errored") request.error(s.error);
  else if (queue.items.length > 0) {
    const chunk = queue.shift();
    if (s.closing && queue.items.length === 0) close(s);
    else pullIfNeeded(s);
    request.chunk(chunk);
  } else {
    reader.requests.push(request);
    pullIfNeeded(s);
  }
}

function readInto(reader, view, min) {
  const { s } = reader, { queue } = s, { promise, resolve, reject } = Promise.withResolvers();
  const constructor = view.constructor, unit = view.BYTES_PER_ELEMENT ?? 1;
  const { byteOffset, byteLength } = view, buffer = view.buffer.transfer(), target = new Uint8Array(buffer, byteOffset, byteLength);
  let filled = 0;
  const take = (chunk) => {
    const count = Math.min(chunk.length, byteLength - filled);
    target.set(chunk.subarray(0, count), filled);
    filled += count;
    return chunk.subarray(count);
  };
  const put = (chunk) => {
    queue.items.unshift(chunk);
    queue.sizes.unshift(chunk.length);
    queue.total += chunk.length;
  };
  const done = (end) => {
    const whole = filled - (filled % unit);
    if (whole < filled) put(target.slice(whole, filled));
    resolve({ value: new constructor(buffer, byteOffset, whole / unit), done: end });
  };
  s.disturbed = true;
  if (s.state === "errored") {
    reject(s.error);
    return promise;
  }
  while (queue.items.length > 0 && filled < byteLength) {
    const rest = take(queue.shift());
    if (rest.length > 0) put(rest);
  }
  if (s.state === "closed") done(true);
  else if (filled >= min * unit) {
    if (s.closing && queue.items.length === 0) close(s);
    else pullIfNeeded(s);
    done(false);
  } else if (s.closing) {
    close(s);
    done(filled < unit);
  } else {
    const request = {
      chunk(chunk) {
        const rest = take(chunk);
        if (rest.length > 0) put(rest);
        if (filled >= min * unit) done(false);
        else reader.requests.unshift(request);
      },
      close: () => done(true),
      error: reject,
    };
    reader.requests.push(request);
    pullIfNeeded(s);
  }
  return promise;
}

function tee(s) {
  const reader = acquire(s), branches = [], canceled = [false, false], reasons = [], done = new Deferred();
  let reading = false, again = false;
  const pull = () => {
    if (reading) {
      again = true;
      return Promise.resolve();
    }
    reading = true;
    read(reader, {
      chunk(chunk) {
        // In a microtask, so that an error of the stream comes before what was read with it.
        queueMicrotask(() => {
          again = false;
          const second = s.bytes && !canceled[0] && !canceled[1] ? copyOf(chunk) : chunk;
          if (!canceled[0]) push(branches[0], chunk);
          if (!canceled[1]) push(branches[1], second);
          reading = false;
          if (again) pull();
        });
      },
      close() {
        reading = false;
        for (const i of [0, 1]) if (!canceled[i]) finish(branches[i]);
        if (!canceled[0] || !canceled[1]) done.resolve();
      },
      error() {
        reading = false;
      },
    });
    return Promise.resolve();
  };
  for (const i of [0, 1]) {
    const stop = (reason) => {
      canceled[i] = true;
      reasons[i] = reason;
      if (canceled[1 - i]) done.resolve(cancel(s, reasons));
      return done.promise;
    };
    branches.push(newReadable({ pull, cancel: stop }, undefined, s.bytes ? 0 : 1, s.bytes));
  }
  for (const branch of branches) begin(branch, Promise.resolve());
  reader.closed.promise.then(undefined, (error) => {
    for (const branch of branches) fail(branch, error);
    if (!canceled[0] || !canceled[1]) done.resolve();
  });
  return branches.map((branch) => branch.self);
}

function pipe(s, w, { preventClose, preventAbort, preventCancel, signal }) {
  const reader = acquire(s), writer = writable.acquire(w), result = new Deferred();
  let ending = false, lastWrite = Promise.resolve(), unlisten = noop;
  s.disturbed = true;

  const settle = (failed, error) => {
    writable.release(writer);
    release(reader);
    unlisten();
    if (failed) result.reject(error);
    else result.resolve();
  };
  // The writes under way come first, also those that are added meanwhile.
  const written = async () => {
    for (let last; last !== lastWrite;) {
      last = lastWrite;
      await last.catch(noop);
    }
  };
  const shutdown = (action, failed, error) => {
    if (ending) return;
    ending = true;
    const act = () => {
      if (action === undefined) return settle(failed, error);
      action().then(() => settle(failed, error), (e) => settle(true, e));
    };
    if (w.state === "writable" && !writable.closing(w)) written().then(act);
    else act();
  };
  const sourceFailed = (error) => shutdown(preventAbort ? undefined : () => writable.abort(w, error), true, error);
  const sourceClosed = () => shutdown(preventClose ? undefined : () => writable.closeOrPropagate(writer));
  const sinkFailed = (error) => shutdown(preventCancel ? undefined : () => cancel(s, error), true, error);

  if (signal !== undefined) {
    const stop = () => {
      const error = signal.reason, actions = [];
      if (!preventAbort) actions.push(() => (w.state === "writable" ? writable.abort(w, error) : Promise.resolve()));
      if (!preventCancel) actions.push(() => (s.state === "readable" ? cancel(s, error) : Promise.resolve()));
      shutdown(() => Promise.all(actions.map((action) => action())), true, error);
    };
    if (signal.aborted) {
      stop();
      return result.promise;
    }
    unlisten = onAbort(signal, stop);
  }

  if (s.state === "errored") sourceFailed(s.error);
  else reader.closed.promise.then(undefined, sourceFailed);
  if (w.state === "errored") sinkFailed(w.error);
  else writer.closed.promise.then(undefined, sinkFailed);
  if (s.state === "closed") sourceClosed();
  else reader.closed.promise.then(sourceClosed, noop);
  if (writable.closing(w) || w.state === "closed") {
    const error = new TypeError("the destination is closed");
    shutdown(preventCancel ? undefined : () => cancel(s, error), true, error);
  }

  const step = () => {
    if (ending) return;
    writer.ready.promise.then(() => {
      if (ending) return;
      read(reader, {
        chunk(chunk) {
          lastWrite = handled(writable.write(writer, chunk));
          step();
        },
        close: noop,
        error: noop,
      });
    }, noop);
  };
  step();
  return result.promise;
}

export class ReadableStreamDefaultController {
  #s;
  constructor(token, s) {
    if (token !== ILLEGAL) throw new TypeError("Illegal constructor");
    this.#s = s;
  }
  static {
    makeController = (s) => (s.bytes ? new ReadableByteStreamController(ILLEGAL, s) : new ReadableStreamDefaultController(ILLEGAL, s));
  }
  get desiredSize() {
    return desiredSize(this.#s);
  }
  enqueue(chunk = undefined) {
    enqueue(this.#s, chunk);
  }
  close() {
    finish(this.#s);
  }
  error(reason = undefined) {
    fail(this.#s, reason);
  }
}

export class ReadableByteStreamController {
  #s;
  constructor(token, s) {
    if (token !== ILLEGAL) throw new TypeError("Illegal constructor");
    this.#s = s;
  }
  get byobRequest() {
    const _ = this.#s;
    return null;
  }
  get desiredSize() {
    return desiredSize(this.#s);
  }
  enqueue(chunk) {
    need(arguments, 1, "enqueue");
    enqueue(this.#s, chunk);
  }
  close() {
    finish(this.#s);
  }
  error(reason = undefined) {
    fail(this.#s, reason);
  }
}

function optionsOf(options) {
  const { preventClose, preventAbort, preventCancel, signal } = dictionary(options, "the pipe options");
  if (signal !== undefined && !isSignal(signal)) throw new TypeError("the signal option is not an AbortSignal");
  return { preventClose: Boolean(preventClose), preventAbort: Boolean(preventAbort), preventCancel: Boolean(preventCancel), signal };
}

export class ReadableStream {
  #s;
  constructor(source = undefined, strategy = undefined) {
    if (source === ILLEGAL) {
      this.#s = create(this, strategy.source, strategy.size, strategy.mark, strategy.bytes);
      return;
    }
    if (source === undefined) source = {};
    else if (!isObject(source)) throw new TypeError("the source is not an object");
    const [onStart, onPull, onCancel] = ["start", "pull", "cancel"].map((name) => method(source, name, "the source"));
    const { type } = source, bytes = type !== undefined;
    if (bytes && `${type}` !== "bytes") throw new TypeError(`${String(type)} is no type of a source`);
    const { mark, size } = strategyOf(strategy, bytes ? 0 : 1);
    if (bytes && size !== undefined) throw new RangeError("a byte stream takes no size function");
    const s = (this.#s = create(this, {
      pull: () => (onPull === undefined ? Promise.resolve() : attempt(onPull, source, [s.controller])),
      cancel: (reason) => (onCancel === undefined ? Promise.resolve() : attempt(onCancel, source, [reason])),
    }, size, mark, bytes));
    s.controller = makeController(s);
    begin(s, Promise.resolve(onStart?.call(source, s.controller)));
  }

  static {
    stateOf = (value) => {
      if (!isObject(value) || !(#s in value)) throw new TypeError("the argument is not a ReadableStream");
      return value.#s;
    };
  }

  static from(iterable) {
    need(arguments, 1, "ReadableStream.from");
    const asyncMethod = iterable?.[Symbol.asyncIterator], iterator = (asyncMethod ?? iterable?.[Symbol.iterator])?.call(iterable);
    if (!isObject(iterator)) throw new TypeError("the argument of ReadableStream.from is not iterable");
    const { next } = iterator, isAsync = asyncMethod !== undefined && asyncMethod !== null;
    const s = newReadable({
      async pull() {
        const result = await next.call(iterator);
        if (!isObject(result)) throw new TypeError("the iterator gave no object");
        if (result.done) finish(s);
        else enqueue(s, isAsync ? result.value : await result.value);
      },
      async cancel(reason) {
        const end = iterator.return;
        if (end === undefined || end === null) return;
        if (!isObject(await end.call(iterator, reason))) throw new TypeError("return of the iterator gave no object");
      },
    }, undefined, 0);
    begin(s, Promise.resolve());
    return s.self;
  }

  get locked() {
    return this.#s.reader !== null;
  }
  cancel(reason = undefined) {
    if (!isObject(this) || !(#s in this)) return Promise.reject(new TypeError("cancel needs a ReadableStream"));
    if (this.locked) return Promise.reject(new TypeError("the stream is locked to a reader"));
    return cancel(this.#s, reason);
  }
  getReader(options = undefined) {
    const s = this.#s, { mode } = dictionary(options, "the reader options");
    if (mode === undefined) return makeReader(s);
    if (`${mode}` !== "byob") throw new TypeError(`${String(mode)} is no mode of a reader`);
    return makeByobReader(s);
  }
  tee() {
    return tee(this.#s);
  }
  pipeTo(destination, options = undefined) {
    try {
      const s = this.#s, w = writable.writableOf(destination), settings = optionsOf(options);
      if (s.reader !== null) throw new TypeError("the stream is locked to a reader");
      if (w.writer !== null) throw new TypeError("the destination is locked to a writer");
      return pipe(s, w, settings);
    } catch (error) {
      return Promise.reject(error);
    }
  }
  pipeThrough(transform, options = undefined) {
    const s = this.#s;
    need(arguments, 1, "pipeThrough");
    const { readable, writable: destination } = dictionary(transform, "the transform");
    stateOf(readable);
    const w = writable.writableOf(destination), settings = optionsOf(options);
    if (s.reader !== null) throw new TypeError("the stream is locked to a reader");
    if (w.writer !== null) throw new TypeError("the writable side is locked to a writer");
    handled(pipe(s, w, settings));
    return readable;
  }
  values(options = undefined) {
    const s = this.#s, { preventCancel } = dictionary(options, "the iterator options");
    return new StreamIterator(acquire(s), Boolean(preventCancel));
  }
}
Object.defineProperty(ReadableStream.prototype, Symbol.asyncIterator, { value: ReadableStream.prototype.values, writable: true, configurable: true });

class StreamIterator {
  #reader;
  #preventCancel;
  #last = null;
  #done = false;
  constructor(reader, preventCancel) {
    this.#reader = reader;
    this.#preventCancel = preventCancel;
  }
  #then(step) {
    this.#last = this.#last === null ? step() : this.#last.then(step, step);
    return this.#last;
  }
  #next() {
    if (this.#done) return Promise.resolve({ value: undefined, done: true });
    return new Promise((resolve, reject) => {
      const end = () => {
        this.#done = true;
        release(this.#reader);
      };
      read(this.#reader, {
        chunk: (value) => resolve({ value, done: false }),
        close() {
          end();
          resolve({ value: undefined, done: true });
        },
        error(error) {
          end();
          reject(error);
        },
      });
    });
  }
  next() {
    return this.#then(() => this.#next());
  }
  return(value = undefined) {
    return this.#then(async () => {
      if (!this.#done) {
        this.#done = true;
        const reader = this.#reader, canceled = this.#preventCancel ? undefined : cancel(reader.s, value);
        release(reader);
        await canceled;
      }
      return { value, done: true };
    });
  }
}
delete StreamIterator.prototype.constructor;
Object.setPrototypeOf(StreamIterator.prototype, Object.getPrototypeOf(Object.getPrototypeOf((async function* () {}).prototype)));
tag(StreamIterator, "ReadableStream AsyncIterator");

const released = () => Promise.reject(new TypeError("the reader was released"));

export class ReadableStreamDefaultReader {
  #r;
  constructor(stream) {
    this.#r = acquire(stateOf(stream));
  }
  static {
    makeReader = (s) => new ReadableStreamDefaultReader(s.self);
  }
  get closed() {
    return this.#r.closed.promise;
  }
  cancel(reason = undefined) {
    return this.#r.s === null ? released() : cancel(this.#r.s, reason);
  }
  read() {
    const reader = this.#r;
    if (reader.s === null) return released();
    return new Promise((resolve, reject) => {
      read(reader, {
        chunk: (value) => resolve({ value, done: false }),
        close: () => resolve({ value: undefined, done: true }),
        error: reject,
      });
    });
  }
  releaseLock() {
    if (this.#r.s !== null) release(this.#r);
  }
}

export class ReadableStreamBYOBReader {
  #r;
  constructor(stream) {
    const s = stateOf(stream);
    if (!s.bytes) throw new TypeError("a BYOB reader needs a stream of type bytes");
    this.#r = acquire(s);
  }
  static {
    makeByobReader = (s) => new ReadableStreamBYOBReader(s.self);
  }
  get closed() {
    return this.#r.closed.promise;
  }
  cancel(reason = undefined) {
    return this.#r.s === null ? released() : cancel(this.#r.s, reason);
  }
  async read(view, options = undefined) {
    const reader = this.#r, { min = 1 } = dictionary(options, "the read options");
    if (!ArrayBuffer.isView(view) || view.byteLength === 0) throw new TypeError("read of a BYOB reader needs a view that is not empty");
    const least = enforceRange(min, "min");
    if (least === 0) throw new TypeError("min is zero");
    if (least > (view.length ?? view.byteLength)) throw new RangeError("min is larger than the view");
    return reader.s === null ? released() : readInto(reader, view, least);
  }
  releaseLock() {
    if (this.#r.s !== null) release(this.#r);
  }
}

export const newReadable = (source, size, mark, bytes = false) => stateOf(new ReadableStream(ILLEGAL, { source, size, mark, bytes }));

define(ReadableStream, ReadableStreamDefaultReader, ReadableStreamBYOBReader, ReadableStreamDefaultController, ReadableByteStreamController);

export const isStream = (value) => value instanceof ReadableStream;
export const isDisturbed = (stream) => stateOf(stream).disturbed;
export const isLocked = (stream) => stateOf(stream).reader !== null;

// A stream over `pull()`, which promises a Uint8Array or null at the end. It asks for nothing before somebody reads.
export function streamFrom(pull, stop = noop) {
  const s = newReadable({
    async pull() {
      let chunk = await pull();
      while (chunk !== null && chunk.length === 0) chunk = await pull();
      if (!open(s)) return;
      if (chunk === null) finish(s);
      else push(s, chunk);
    },
    cancel: (reason) => attempt(stop, undefined, [reason]),
  }, undefined, 0, true);
  begin(s, Promise.resolve());
  return s.self;
}

// All bytes of a stream. Beyond `limit` bytes it is cancelled and the promise rejects with what `tooLarge()` gives.
export function readAll(stream, limit = Infinity, tooLarge = () => new RangeError(`the body is larger than ${limit} bytes`)) {
  return new Promise((resolve, reject) => {
    const s = stateOf(stream), reader = acquire(s), chunks = [];
    let size = 0;
    const giveUp = (error) => {
      handled(cancel(s, error));
      release(reader);
      reject(error);
    };
    const request = {
      chunk(chunk) {
        if (!(chunk instanceof Uint8Array)) return giveUp(new TypeError("a chunk of the body is not a Uint8Array"));
        size += chunk.length;
        if (size > limit) return giveUp(tooLarge());
        chunks.push(chunk);
        step();
      },
      close() {
        release(reader);
        if (s.bytes && chunks.length === 1 && size === chunks[0].buffer.byteLength) return resolve(chunks[0]);
        const all = new Uint8Array(size);
        let at = 0;
        for (const chunk of chunks) {
          all.set(chunk, at);
          at += chunk.length;
        }
        resolve(all);
      },
      error(error) {
        release(reader);
        reject(error);
      },
    };
    let running = false, more = false;
    // A loop where a recursion would grow with the number of chunks that are queued.
    const step = () => {
      more = true;
      if (running) return;
      running = true;
      while (more) {
        more = false;
        read(reader, request);
      }
      running = false;
    };
    step();
  });
}
