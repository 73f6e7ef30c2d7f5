import { later } from "dgate:idl";
import "dgate:events";
import "dgate:url";
import "dgate:encoding";
import "dgate:clone";
import "dgate:transform";

export { hrefOf, urlOf, queryOf } from "dgate:url";
export { isSignal, newSignal, abortSignal, onAbort } from "dgate:events";
export { readAll, streamFrom, isStream, isDisturbed, isLocked } from "dgate:streams";

later("dgate:console", ["console"], false);
later("dgate:console", ["reportError"], true);

// Upstream mends memory-safety faults of these nearly each release, and a gateway's module has no thread to share with.
for (const name of ["SharedArrayBuffer", "Atomics", "FinalizationRegistry"]) delete globalThis[name];

const navigator = Object.freeze({ userAgent: "DGate" });
for (const [name, value] of Object.entries({ self: globalThis, navigator })) {
  Object.defineProperty(globalThis, name, { value, writable: true, enumerable: true, configurable: true });
}
