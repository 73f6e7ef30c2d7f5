import { define, isObject } from "dgate:idl";
import { abortSignal, newSignal } from "dgate:events";
import { Deferred, Queue, attempt, handled, method, strategyOf } from "dgate:queue";

const ILLEGAL = {}, CLOSE = {};

let makeController, makeWriter, streamOf;

// A stream's state `w`; its functions are named as in the Streams standard, without the common prefix.
function create(self, sink, size, mark) {
  const w = {
    self, sink, size, mark, state: "writable", error: undefined, writer: null, requests: [], inFlight: null, closeRequest: null,
    inFlightClose: null, pendingAbort: null, backpressure: false, queue: new Queue(), started: false, signal: null, abortedWith: undefined, controller: null,
  };
  w.controller = makeController(w);
  w.backpressure = desired(w) <= 0;
  return w;
}

export function begin(w, started) {
  started.then(
    () => {
      w.started = true;
      advance(w);
    },
    (error) => {
      w.started = true;
      deal(w, error);
    },
  );
}

const desired = (w) => w.mark - w.queue.total;
export const closing = (w) => w.closeRequest !== null || w.inFlightClose !== null;

export function abort(w, reason) {
  if (w.state === "closed" || w.state === "errored") return Promise.resolve();
  if (w.signal !== null) abortSignal(w.signal, reason);
  else w.abortedWith = { reason };
  if (w.state === "closed" || w.state === "errored") return Promise.resolve();
  if (w.pendingAbort !== null) return w.pendingAbort.promise;
  const wasErroring = w.state === "erroring";
  w.pendingAbort = { ...Promise.withResolvers(), reason: wasErroring ? undefined : reason, wasErroring };
  const { promise } = w.pendingAbort;
  if (!wasErroring) startErroring(w, reason);
  return promise;
}

export function close(w) {
  if (w.state === "closed" || w.state === "errored") return Promise.reject(new TypeError(`the stream is ${w.state}`));
  w.closeRequest = Promise.withResolvers();
  if (w.writer !== null && w.backpressure && w.state === "writable") w.writer.ready.resolve();
  w.queue.push(CLOSE, 0);
  advance(w);
  return w.closeRequest?.promise ?? w.inFlightClose.promise;
}

function startErroring(w, reason) {
  w.state = "erroring";
  w.error = reason;
  if (w.writer !== null) w.writer.ready = w.writer.ready.rejected(reason);
  if (w.inFlight === null && w.inFlightClose === null && w.started) finishErroring(w);
}

function finishErroring(w) {
  w.state = "errored";
  w.queue.clear();
  for (const request of w.requests) request.reject(w.error);
  w.requests = [];
  const pending = w.pendingAbort;
  if (pending === null) return rejectCloseAndClosed(w);
  w.pendingAbort = null;
  if (pending.wasErroring) {
    pending.reject(w.error);
    return rejectCloseAndClosed(w);
  }
  const { sink } = w;
  w.sink = null;
  sink.abort(pending.reason).then(
    () => {
      pending.resolve();
      rejectCloseAndClosed(w);
    },
    (error) => {
      pending.reject(error);
      rejectCloseAndClosed(w);
    },
  );
}

function rejectCloseAndClosed(w) {
  if (w.closeRequest !== null) {
    w.closeRequest.reject(w.error);
    w.closeRequest = null;
  }
  if (w.writer !== null) {
    handled(w.writer.closed.promise);
    w.writer.closed.reject(w.error);
  }
}

function deal(w, error) {
  if (w.state === "writable") startErroring(w, error);
  else if (w.state === "erroring") finishErroring(w);
}

export function errorIfNeeded(w, error) {
  if (w.state === "writable") startErroring(w, error);
}

function updateBackpressure(w, backpressure) {
  if (w.writer !== null && backpressure !== w.backpressure) {
    if (backpressure) w.writer.ready = new Deferred();
    else w.writer.ready.resolve();
  }
  w.backpressure = backpressure;
}

function advance(w) {
  if (!w.started || w.inFlight !== null || w.state === "closed" || w.state === "errored") return;
  if (w.state === "erroring") {
    if (w.inFlightClose === null) finishErroring(w);
    return;
  }
  if (w.queue.items.length === 0 || w.inFlightClose !== null) return;
  const chunk = w.queue.items[0];
  if (chunk === CLOSE) processClose(w);
  else processWrite(w, chunk);
}

function processClose(w) {
  w.inFlightClose = w.closeRequest;
  w.closeRequest = null;
  w.queue.shift();
  const { sink } = w;
  w.sink = null;
  sink.close().then(
    () => {
      w.inFlightClose.resolve();
      w.inFlightClose = null;
      if (w.state === "erroring") {
        w.error = undefined;
        w.pendingAbort?.resolve();
        w.pendingAbort = null;
      }
      w.state = "closed";
      w.writer?.closed.resolve();
    },
    (error) => {
      w.inFlightClose.reject(error);
      w.inFlightClose = null;
      w.pendingAbort?.reject(error);
      w.pendingAbort = null;
      deal(w, error);
    },
  );
}

function processWrite(w, chunk) {
  w.inFlight = w.requests.shift();
  w.sink.write(chunk).then(
    () => {
      w.inFlight.resolve();
      w.inFlight = null;
      w.queue.shift();
      if (!closing(w) && w.state === "writable") updateBackpressure(w, desired(w) <= 0);
      advance(w);
    },
    (error) => {
      w.inFlight.reject(error);
      w.inFlight = null;
      deal(w, error);
    },
  );
}

export function write(writer, chunk) {
  const { w } = writer;
  let size = 1;
  if (w.size !== undefined && w.state === "writable") {
    try {
      const { size: sizeOf } = w;
      size = sizeOf(chunk);
    } catch (error) {
      errorIfNeeded(w, error);
    }
  }
  if (writer.w !== w) return Promise.reject(new TypeError("the writer was released"));
  if (w.state === "errored") return Promise.reject(w.error);
  if (closing(w) || w.state === "closed") return Promise.reject(new TypeError("the stream is closing or closed"));
  if (w.state === "erroring") return Promise.reject(w.error);
  const request = Promise.withResolvers();
  w.requests.push(request);
  try {
    w.queue.push(chunk, size);
  } catch (error) {
    errorIfNeeded(w, error);
    return request.promise;
  }
  if (!closing(w) && w.state === "writable") updateBackpressure(w, desired(w) <= 0);
  advance(w);
  return request.promise;
}

// A writer's state, which pipes use without the object.
export function acquire(w) {
  if (w.writer !== null) throw new TypeError("the stream is locked to a writer");
  const writer = { w, ready: new Deferred(), closed: new Deferred() };
  handled(writer.ready.promise);
  handled(writer.closed.promise);
  w.writer = writer;
  if (w.state === "writable" && (closing(w) || !w.backpressure)) writer.ready.resolve();
  else if (w.state === "erroring") writer.ready.reject(w.error);
  else if (w.state === "closed") {
    writer.ready.resolve();
    writer.closed.resolve();
  } else if (w.state === "errored") {
    writer.ready.reject(w.error);
    writer.closed.reject(w.error);
  }
  return writer;
}

export function release(writer) {
  const { w } = writer, error = new TypeError("the writer was released");
  writer.ready = writer.ready.rejected(error);
  writer.closed = writer.closed.rejected(error);
  w.writer = null;
  writer.w = null;
}

export function closeOrPropagate(writer) {
  const { w } = writer;
  if (closing(w) || w.state === "closed") return Promise.resolve();
  if (w.state === "errored") return Promise.reject(w.error);
  return close(w);
}

export function desiredSize(w) {
  if (w.state === "errored" || w.state === "erroring") return null;
  return w.state === "closed" ? 0 : desired(w);
}

export class WritableStreamDefaultController {
  #w;
  constructor(token, w) {
    if (token !== ILLEGAL) throw new TypeError("Illegal constructor");
    this.#w = w;
  }
  static {
    makeController = (w) => new WritableStreamDefaultController(ILLEGAL, w);
  }
  get signal() {
    const w = this.#w;
    if (w.signal === null) {
      w.signal = newSignal();
      if (w.abortedWith !== undefined) abortSignal(w.signal, w.abortedWith.reason);
    }
    return w.signal;
  }
  error(reason = undefined) {
    errorIfNeeded(this.#w, reason);
  }
}

export class WritableStream {
  #w;
  constructor(sink = undefined, strategy = undefined) {
    if (sink === ILLEGAL) {
      this.#w = create(this, strategy.sink, strategy.size, strategy.mark);
      return;
    }
    if (sink === undefined) sink = {};
    else if (!isObject(sink)) throw new TypeError("the sink is not an object");
    const [onStart, onWrite, onClose, onAborted] = ["start", "write", "close", "abort"].map((name) => method(sink, name, "the sink"));
    if (sink.type !== undefined) throw new RangeError("type of a sink is reserved");
    const { mark, size } = strategyOf(strategy, 1);
    const call = (callback, ...args) => (callback === undefined ? Promise.resolve() : attempt(callback, sink, args));
    const w = (this.#w = create(this, {
      write: (chunk) => call(onWrite, chunk, w.controller), close: () => call(onClose), abort: (reason) => call(onAborted, reason),
    }, size, mark));
    begin(w, Promise.resolve(onStart?.call(sink, w.controller)));
  }
  static {
    streamOf = (value) => {
      if (!isObject(value) || !(#w in value)) throw new TypeError("the argument is not a WritableStream");
      return value.#w;
    };
  }
  get locked() {
    return this.#w.writer !== null;
  }
  abort(reason = undefined) {
    if (!isObject(this) || !(#w in this)) return Promise.reject(new TypeError("abort needs a WritableStream"));
    if (this.locked) return Promise.reject(new TypeError("the stream is locked to a writer"));
    return abort(this.#w, reason);
  }
  close() {
    if (!isObject(this) || !(#w in this)) return Promise.reject(new TypeError("close needs a WritableStream"));
    if (this.locked || closing(this.#w)) return Promise.reject(new TypeError(this.locked ? "the stream is locked to a writer" : "the stream is closing"));
    return close(this.#w);
  }
  getWriter() {
    return makeWriter(this.#w);
  }
}

export class WritableStreamDefaultWriter {
  #s;
  constructor(stream) {
    this.#s = acquire(streamOf(stream));
  }
  static {
    makeWriter = (w) => new WritableStreamDefaultWriter(w.self);
  }
  get closed() {
    return this.#s.closed.promise;
  }
  get ready() {
    return this.#s.ready.promise;
  }
  get desiredSize() {
    if (this.#s.w === null) throw new TypeError("the writer was released");
    return desiredSize(this.#s.w);
  }
  #with(run) {
    return this.#s.w === null ? Promise.reject(new TypeError("the writer was released")) : run(this.#s.w);
  }
  abort(reason = undefined) {
    return this.#with((w) => abort(w, reason));
  }
  close() {
    return this.#with((w) => (closing(w) ? Promise.reject(new TypeError("the stream is closing")) : close(w)));
  }
  write(chunk = undefined) {
    return this.#with(() => write(this.#s, chunk));
  }
  releaseLock() {
    if (this.#s.w !== null) release(this.#s);
  }
}

export const writableOf = (stream) => streamOf(stream);
export const newWritable = (sink, size, mark) => streamOf(new WritableStream(ILLEGAL, { sink, size, mark }));

define(WritableStream, WritableStreamDefaultWriter, WritableStreamDefaultController);
