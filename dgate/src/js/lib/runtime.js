import native from "dgate:native";
import "dgate:timers";
import { later } from "dgate:idl";
import { isDisturbed, isLocked, readAll, streamFrom } from "dgate:web";

const { Headers, ReadableStream, Request, Response, URL, URLSearchParams } = globalThis;

const methods = (object, values) => {
  for (const [name, value] of Object.entries(values))
    Object.defineProperty(object, name, { value, writable: true, configurable: true, enumerable: true });
};
for (const type of [Headers, Request, Response])
  Object.defineProperty(type.prototype, Symbol.toStringTag, { value: type.name, configurable: true });

methods(Headers.prototype, {
  entries() { return native.headersList(this).values(); },
  keys() { return native.headersList(this).map(([name]) => name).values(); },
  values() { return native.headersList(this).map(([, value]) => value).values(); },
  forEach(callback, self) {
    for (const [name, value] of native.headersList(this)) callback.call(self, value, name, this);
  },
});
Object.defineProperty(Headers.prototype, Symbol.iterator, { value: Headers.prototype.entries, writable: true, configurable: true });

later("dgate:webcrypto", ["crypto"], true);
later("dgate:webcrypto", ["Crypto", "CryptoKey", "SubtleCrypto"], false);

methods(globalThis, {
  fetch(input, init) {
    try {
      const request = new Request(input, init);
      const signal = native.signalOf(request);
      if (!signal) return native.fetch(request);
      if (signal.aborted) return Promise.reject(signal.reason);
      const [operation, answer] = native.fetchPair(request);
      const stop = () => native.cancel(operation, signal.reason);
      const arrived = () => signal.removeEventListener("abort", stop);
      signal.addEventListener("abort", stop);
      answer.then(arrived, arrived);
      return answer;
    } catch (error) {
      return Promise.reject(error);
    }
  },
});

export const watch = (promise, call) => {
  promise.then((value) => native.settle(call, true, value), (error) => native.settle(call, false, error));
};
export const until = (work, call) => {
  Promise.resolve(work).then(() => native.ended(call), (error) => native.ended(call, error));
};
export const resolve = (value) => Promise.resolve(value);
export const url = (href) => new URL(href);
export const params = (search) => new URLSearchParams(search);
export const disturbed = isDisturbed;
export const locked = isLocked;

const sources = new WeakMap();
export const stream = (body) => {
  const made = streamFrom(() => body.pull(), () => body.cancel());
  sources.set(made, body);
  return made;
};
export const source = (made) => sources.get(made);

export const read = async (from, how, limit) => {
  const bytes = await readAll(from, limit);
  if (how === "bytes") return bytes;
  if (how === "arrayBuffer") return bytes.byteLength === bytes.buffer.byteLength ? bytes.buffer : bytes.slice().buffer;
  const text = native.decode(bytes);
  return how === "json" ? JSON.parse(text) : text;
};

export const pump = async (from, sink) => {
  try {
    const reader = from.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      if (!(await sink.push(value))) {
        await reader.cancel(new DOMException("nobody reads this stream any more", "AbortError"));
        break;
      }
    }
    sink.close();
  } catch (error) {
    await sink.abort(String(error));
    throw error;
  }
};
