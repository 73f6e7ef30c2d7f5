import { inspect, inspectable } from "dgate:console";
import { Event, AbortSignal } from "dgate:events";
import { URL, URLSearchParams } from "dgate:url";
import "dgate:encoding";
import "dgate:clone";
import "dgate:transform";

export { inspect, inspectable, format, reportError } from "dgate:console";
export { hrefOf, urlOf, queryOf } from "dgate:url";
export { isSignal, newSignal, abortSignal, onAbort } from "dgate:events";
export { readAll, streamFrom, isStream, isDisturbed, isLocked } from "dgate:streams";

inspectable(URL, ({ href, origin, protocol, username, password, host, hostname, port, pathname, search, searchParams, hash }) =>
  ({ href, origin, protocol, username, password, host, hostname, port, pathname, search, searchParams, hash }));
inspectable(URLSearchParams, (params) => `URLSearchParams { ${[...params].map((pair) => pair.map((text) => inspect(text)).join(" => ")).join(", ")} }`);
inspectable(AbortSignal, ({ aborted, reason }) => (aborted ? { aborted, reason } : { aborted }));
inspectable(Event, ({ type, defaultPrevented, cancelable, timeStamp }) => ({ type, defaultPrevented, cancelable, timeStamp }));

// Upstream mends memory-safety faults of these nearly each release, and a gateway's module has no thread to share with.
for (const name of ["SharedArrayBuffer", "Atomics", "FinalizationRegistry"]) delete globalThis[name];

const navigator = Object.freeze({ userAgent: "DGate" });
for (const [name, value] of Object.entries({ self: globalThis, navigator })) {
  Object.defineProperty(globalThis, name, { value, writable: true, enumerable: true, configurable: true });
}
