import { define, dictionary, enforceRange, isObject, load, need } from "dgate:idl";

const { setTimeout } = globalThis;
const ILLEGAL = {};

let eventState, listenersChanged;

export class Event {
  #s;
  constructor(type, options = undefined) {
    need(arguments, 1, "Event");
    const { bubbles, cancelable, composed } = dictionary(options, "event options");
    this.#s = {
      type: `${type}`, bubbles: Boolean(bubbles), cancelable: Boolean(cancelable), composed: Boolean(composed),
      target: null, current: null, phase: 0, stop: false, stopNow: false, canceled: false,
      passive: false, dispatching: false, trusted: false, time: performance.now(),
    };
  }
  static {
    eventState = (event) => {
      if (!isObject(event) || !(#s in event)) throw new TypeError("the argument is not an Event");
      return event.#s;
    };
  }
  get type() {
    return this.#s.type;
  }
  get target() {
    return this.#s.target;
  }
  get srcElement() {
    return this.#s.target;
  }
  get currentTarget() {
    return this.#s.current;
  }
  get eventPhase() {
    return this.#s.phase;
  }
  get bubbles() {
    return this.#s.bubbles;
  }
  get cancelable() {
    return this.#s.cancelable;
  }
  get composed() {
    return this.#s.composed;
  }
  get defaultPrevented() {
    return this.#s.canceled;
  }
  get returnValue() {
    return !this.#s.canceled;
  }
  set returnValue(value) {
    if (!value) this.preventDefault();
  }
  get cancelBubble() {
    return this.#s.stop;
  }
  set cancelBubble(value) {
    if (value) this.#s.stop = true;
  }
  get isTrusted() {
    return this.#s.trusted;
  }
  get timeStamp() {
    return this.#s.time;
  }
  composedPath() {
    return this.#s.current === null ? [] : [this.#s.current];
  }
  stopPropagation() {
    this.#s.stop = true;
  }
  stopImmediatePropagation() {
    this.#s.stop = this.#s.stopNow = true;
  }
  preventDefault() {
    if (this.#s.cancelable && !this.#s.passive) this.#s.canceled = true;
  }
}
for (const [name, value] of [["NONE", 0], ["CAPTURING_PHASE", 1], ["AT_TARGET", 2], ["BUBBLING_PHASE", 3]]) {
  Object.defineProperty(Event, name, { value, enumerable: true });
  Object.defineProperty(Event.prototype, name, { value, enumerable: true });
}

export class CustomEvent extends Event {
  #detail;
  constructor(type, options = undefined) {
    super(type, options);
    this.#detail = options?.detail ?? null;
  }
  get detail() {
    return this.#detail;
  }
}

let hasListeners, addListener, dispatch;

export class EventTarget {
  #listeners = null;

  static {
    addListener = (target, type, callback, capture, once, passive) => {
      const map = (target.#listeners ??= new Map()), list = map.get(type) ?? [];
      if (list.some((l) => l.callback === callback && l.capture === capture)) return;
      // A new array at each change: dispatch goes on over the one it began with.
      map.set(type, [...list, { callback, capture, once, passive, removed: false }]);
      listenersChanged(target, type);
    };
    hasListeners = (target, type) => target.#listeners?.has(type) ?? false;
    dispatch = (target, event, trusted) => {
      const s = eventState(event), list = target.#listeners?.get(s.type);
      s.trusted = trusted;
      s.target = target;
      if (list !== undefined && !s.stop) {
        s.dispatching = true;
        s.phase = 2;
        s.current = target;
        target.#invoke(list, event, s);
        s.phase = 0;
        s.current = null;
        s.dispatching = false;
      }
      s.passive = s.stop = s.stopNow = false;
      return !s.canceled;
    };
  }

  #invoke(list, event, s) {
    for (const listener of list) {
      if (listener.removed) continue;
      const { callback } = listener;
      if (listener.once) this.#remove(s.type, callback, listener.capture);
      s.passive = listener.passive;
      try {
        if (typeof callback === "function") callback.call(this, event);
        else {
          const handle = callback.handleEvent;
          if (typeof handle !== "function") throw new TypeError("handleEvent is not a function");
          handle.call(callback, event);
        }
      } catch (error) {
        load("dgate:console").reportError(error);
      }
      s.passive = false;
      if (s.stopNow) break;
    }
  }
  #remove(type, callback, capture) {
    const list = this.#listeners?.get(type), found = list?.find((l) => l.callback === callback && l.capture === capture);
    if (found === undefined) return;
    found.removed = true;
    if (list.length === 1) this.#listeners.delete(type);
    else this.#listeners.set(type, list.filter((l) => l !== found));
    listenersChanged(this, type);
  }

  addEventListener(type, callback, options = undefined) {
    const _ = this.#listeners;
    need(arguments, 2, "addEventListener");
    type = `${type}`;
    if (callback !== null && callback !== undefined && !isObject(callback)) throw new TypeError("the listener is not a function or an object");
    const { capture, once, passive, signal } = isObject(options) ? options : { capture: options };
    if (signal !== undefined && !isSignal(signal)) throw new TypeError("the signal option is not an AbortSignal");
    if (callback === null || callback === undefined || signal?.aborted) return;
    addListener(this, type, callback, Boolean(capture), Boolean(once), Boolean(passive));
    if (signal !== undefined) onAbort(signal, () => this.#remove(type, callback, Boolean(capture)));
  }
  removeEventListener(type, callback, options = undefined) {
    const _ = this.#listeners;
    need(arguments, 2, "removeEventListener");
    this.#remove(`${type}`, callback, Boolean(isObject(options) ? options.capture : options));
  }
  dispatchEvent(event) {
    const _ = this.#listeners;
    need(arguments, 1, "dispatchEvent");
    if (eventState(event).dispatching) throw new DOMException("the event is already being dispatched", "InvalidStateError");
    return dispatch(this, event, false);
  }
}

export let isSignal, onAbort, abortSignal;

export class AbortSignal extends EventTarget {
  #aborted = false;
  #reason = undefined;
  #steps = null;
  #sources = null;
  #dependents = null;
  #kept = null;
  #handler = null;

  constructor(token) {
    if (token !== ILLEGAL) throw new TypeError("Illegal constructor");
    super();
  }

  static {
    isSignal = (value) => isObject(value) && #aborted in value;
    // Calls `step` on abort, before the listeners; returns what takes it back.
    onAbort = (signal, step) => {
      if (signal.#aborted) return () => {};
      (signal.#steps ??= new Set()).add(step);
      signal.#keep();
      return () => {
        signal.#steps?.delete(step);
        signal.#keep();
      };
    };
    abortSignal = (signal, reason = new DOMException("This operation was aborted", "AbortError")) => {
      if (signal.#aborted) return;
      const all = [signal];
      for (const ref of signal.#dependents ?? []) {
        const dependent = ref.deref();
        if (dependent !== undefined && !dependent.#aborted) all.push(dependent);
      }
      for (const one of all) {
        one.#aborted = true;
        one.#reason = reason;
      }
      for (const one of all) one.#run();
    };
    listenersChanged = (target, type) => {
      if (type === "abort" && #aborted in target) target.#keep();
    };
  }

  #run() {
    const steps = this.#steps;
    this.#steps = this.#dependents = null;
    for (const step of steps ?? []) {
      try {
        step(this.#reason);
      } catch (error) {
        load("dgate:console").reportError(error);
      }
    }
    if (hasListeners(this, "abort")) dispatch(this, new Event("abort"), true);
    for (const source of this.#sources ?? []) source.#kept?.delete(this);
    this.#sources = null;
    this.#kept = null;
  }
  // Sources hold their dependents weakly, and strongly only while somebody listens to them.
  #keep() {
    if (this.#sources === null || this.#aborted) return;
    const wanted = hasListeners(this, "abort") || (this.#steps !== null && this.#steps.size > 0);
    for (const source of this.#sources) {
      if (wanted) (source.#kept ??= new Set()).add(this);
      else source.#kept?.delete(this);
    }
  }
  #follow(source) {
    if (this.#sources.has(source)) return;
    this.#sources.add(source);
    const refs = (source.#dependents ??= []);
    refs.push(new WeakRef(this));
    // Each time the list has doubled, those that are gone go.
    if (refs.length >= 16 && (refs.length & (refs.length - 1)) === 0) source.#dependents = refs.filter((ref) => ref.deref() !== undefined);
  }

  get aborted() {
    return this.#aborted;
  }
  get reason() {
    return this.#reason;
  }
  get onabort() {
    return this.#handler?.callback ?? null;
  }
  set onabort(callback) {
    const handler = this.#handler;
    if (!isObject(callback)) {
      if (handler !== null) this.removeEventListener("abort", handler.listener);
      this.#handler = null;
    } else if (handler !== null) {
      handler.callback = callback;
    } else {
      const added = { callback, listener: (event) => typeof added.callback === "function" && added.callback.call(this, event) };
      this.#handler = added;
      this.addEventListener("abort", added.listener);
    }
  }
  throwIfAborted() {
    if (this.#aborted) throw this.#reason;
  }

  static abort(reason = undefined) {
    const signal = new AbortSignal(ILLEGAL);
    abortSignal(signal, reason);
    return signal;
  }
  static timeout(milliseconds) {
    need(arguments, 1, "AbortSignal.timeout");
    const signal = new AbortSignal(ILLEGAL), delay = Math.min(enforceRange(milliseconds, "the timeout"), 0x7fffffff);
    setTimeout(() => abortSignal(signal, new DOMException("The operation was aborted due to timeout", "TimeoutError")), delay);
    return signal;
  }
  static any(signals) {
    need(arguments, 1, "AbortSignal.any");
    const list = [...signals], result = new AbortSignal(ILLEGAL);
    if (!list.every(isSignal)) throw new TypeError("AbortSignal.any needs AbortSignals");
    const aborted = list.find((signal) => signal.#aborted);
    if (aborted !== undefined) {
      abortSignal(result, aborted.#reason);
      return result;
    }
    result.#sources = new Set();
    for (const signal of list) {
      if (signal.#sources === null) result.#follow(signal);
      else for (const source of signal.#sources) result.#follow(source);
    }
    return result;
  }
}

export const newSignal = () => new AbortSignal(ILLEGAL);

export class AbortController {
  #signal = newSignal();
  get signal() {
    return this.#signal;
  }
  abort(reason = undefined) {
    abortSignal(this.#signal, reason);
  }
}

define(Event, CustomEvent, EventTarget, AbortSignal, AbortController);
