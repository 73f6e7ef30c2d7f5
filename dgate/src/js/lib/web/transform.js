import { define, isObject } from "dgate:idl";
import { Deferred, attempt, method, strategyOf } from "dgate:queue";
import * as readable from "dgate:streams";
import * as writable from "dgate:writable";

const ILLEGAL = {};
let makeController;

function setBackpressure(t, backpressure) {
  t.change?.resolve();
  t.change = new Deferred();
  t.backpressure = backpressure;
}

function errorWritable(t, error) {
  t.transformer = null;
  writable.errorIfNeeded(t.w, error);
  if (t.backpressure) setBackpressure(t, false);
}

function fail(t, error) {
  readable.fail(t.r, error);
  errorWritable(t, error);
}

function enqueue(t, chunk) {
  if (!readable.open(t.r)) throw new TypeError("the readable side is closed or closing");
  try {
    readable.enqueue(t.r, chunk);
  } catch (error) {
    errorWritable(t, error);
    throw t.r.error;
  }
  if (!readable.wanted(t.r) && !t.backpressure) setBackpressure(t, true);
}

async function transform(t, chunk) {
  if (t.backpressure) {
    await t.change.promise;
    if (t.w.state === "erroring") throw t.w.error;
  }
  try {
    await t.transformer.transform(chunk);
  } catch (error) {
    fail(t, error);
    throw error;
  }
}

// `ended` is one promise for whichever of close, abort and cancel came first.
function end(t, run, settled) {
  if (t.ended !== null) return t.ended.promise;
  t.ended = new Deferred();
  const { promise } = t.ended, { transformer } = t;
  t.transformer = null;
  (transformer === null ? Promise.resolve() : run(transformer)).then(
    () => settled(undefined),
    (error) => settled({ error }),
  );
  return promise;
}

function abort(t, reason) {
  return end(t, (transformer) => transformer.cancel(reason), (failed) => {
    if (failed !== undefined) {
      readable.fail(t.r, failed.error);
      t.ended.reject(failed.error);
    } else if (t.r.state === "errored") t.ended.reject(t.r.error);
    else {
      readable.fail(t.r, reason);
      t.ended.resolve();
    }
  });
}

function close(t) {
  return end(t, (transformer) => transformer.flush(), (failed) => {
    if (failed !== undefined) {
      readable.fail(t.r, failed.error);
      t.ended.reject(failed.error);
    } else if (t.r.state === "errored") t.ended.reject(t.r.error);
    else {
      if (readable.open(t.r)) readable.finish(t.r);
      t.ended.resolve();
    }
  });
}

function cancel(t, reason) {
  return end(t, (transformer) => transformer.cancel(reason), (failed) => {
    if (failed !== undefined) {
      errorWritable(t, failed.error);
      t.ended.reject(failed.error);
    } else if (t.w.state === "errored") t.ended.reject(t.w.error);
    else {
      errorWritable(t, reason);
      t.ended.resolve();
    }
  });
}

export class TransformStreamDefaultController {
  #t;
  constructor(token, t) {
    if (token !== ILLEGAL) throw new TypeError("Illegal constructor");
    this.#t = t;
  }
  static {
    makeController = (t) => new TransformStreamDefaultController(ILLEGAL, t);
  }
  get desiredSize() {
    return readable.desiredSize(this.#t.r);
  }
  enqueue(chunk = undefined) {
    enqueue(this.#t, chunk);
  }
  error(reason = undefined) {
    fail(this.#t, reason);
  }
  terminate() {
    const t = this.#t;
    if (readable.open(t.r)) readable.finish(t.r);
    errorWritable(t, new TypeError("the transform was terminated"));
  }
}

export class TransformStream {
  #t;
  constructor(transformer = undefined, writableStrategy = undefined, readableStrategy = undefined) {
    if (transformer === undefined || transformer === null) transformer = {};
    else if (!isObject(transformer)) throw new TypeError("the transformer is not an object");
    const [onStart, onTransform, onFlush, onCancel] = ["start", "transform", "flush", "cancel"].map((name) => method(transformer, name, "the transformer"));
    for (const type of ["readableType", "writableType"]) {
      if (transformer[type] !== undefined) throw new RangeError(`${type} is reserved`);
    }
    const read = strategyOf(readableStrategy, 0), write = strategyOf(writableStrategy, 1), started = Promise.withResolvers();
    const call = (callback, ...args) => (callback === undefined ? Promise.resolve() : attempt(callback, transformer, args));
    const t = (this.#t = { r: null, w: null, change: null, backpressure: undefined, ended: null, transformer: null });
    const controller = makeController(t);
    t.w = writable.newWritable({
      write: (chunk) => transform(t, chunk), close: () => close(t), abort: (reason) => abort(t, reason),
    }, write.size, write.mark);
    t.r = readable.newReadable({
      pull() {
        setBackpressure(t, false);
        return t.change.promise;
      },
      cancel: (reason) => cancel(t, reason),
    }, read.size, read.mark);
    setBackpressure(t, true);
    t.transformer = {
      transform: (chunk) => (onTransform === undefined ? attempt(enqueue, undefined, [t, chunk]) : attempt(onTransform, transformer, [chunk, controller])),
      flush: () => call(onFlush, controller), cancel: (reason) => call(onCancel, reason),
    };
    writable.begin(t.w, started.promise);
    readable.begin(t.r, started.promise);
    started.resolve(onStart?.call(transformer, controller));
  }
  get readable() {
    return this.#t.r.self;
  }
  get writable() {
    return this.#t.w.self;
  }
}

define(TransformStream, TransformStreamDefaultController);
