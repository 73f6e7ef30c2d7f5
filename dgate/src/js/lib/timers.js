import native from "dgate:native";

const timers = new Map();
let next = 1;

function arm(id, callback, delay, args, repeat) {
  const [operation, elapsed] = native.sleep(delay);
  timers.set(id, operation);
  elapsed.then(
    () => {
      if (!timers.has(id)) return;
      if (!repeat) timers.delete(id);
      try {
        callback(...args);
      } finally {
        if (repeat && timers.has(id)) arm(id, callback, delay, args, true);
      }
    },
    () => timers.delete(id), // the request has ended
  );
  return id;
}

function start(callback, delay, args, repeat) {
  if (typeof callback !== "function") throw new TypeError("a timer needs a function");
  return arm(next++, callback, delay > 0 ? Number(delay) : 0, args, repeat);
}

function clear(id) {
  const operation = timers.get(id);
  if (operation === undefined) return;
  timers.delete(id);
  native.drop(operation);
}

const define = (name, value) =>
  Object.defineProperty(globalThis, name, { value, writable: true, configurable: true, enumerable: true });
define("setTimeout", function setTimeout(callback, delay, ...args) { return start(callback, delay, args, false); });
define("setInterval", function setInterval(callback, delay, ...args) { return start(callback, Math.max(delay || 0, 1), args, true); });
define("clearTimeout", function clearTimeout(id) { clear(id); });
define("clearInterval", function clearInterval(id) { clear(id); });
