import { AbortSignal, Event } from "dgate:events";
import native from "dgate:native";
import { URL, URLSearchParams } from "dgate:url";

const { log, peek } = native;
const { getOwnPropertyDescriptor: own, getPrototypeOf } = Object;
const LIMIT = 10_000, DEPTH = 4, WIDTH = 72, ITEMS = 100, LABELS = 1000;
const getter = (proto, name) => own(proto, name).get;
const typed = getPrototypeOf(Uint8Array.prototype);
const arrayName = getter(typed, Symbol.toStringTag), arrayLength = getter(typed, "length");
const stackOf = getter(Error.prototype, "stack");
const sizeOfMap = getter(Map.prototype, "size"), sizeOfSet = getter(Set.prototype, "size");
const byteLength = getter(ArrayBuffer.prototype, "byteLength");
const { entries: mapEntries } = Map.prototype, { values: setValues } = Set.prototype;
const shapes = new WeakMap();

// Tells `inspect` what to show for instances of a class of the gateway's own: `show` gives the fields, or a string.
export function inspectable(constructor, show) {
  shapes.set(constructor.prototype, show);
}

function data(object, key) {
  for (let at = object; at !== null; at = getPrototypeOf(at)) {
    if (peek(at) !== undefined) return undefined;
    const found = own(at, key);
    if (found !== undefined) return found.value;
  }
  return undefined;
}

function className(object) {
  for (let at = getPrototypeOf(object); at !== null; at = getPrototypeOf(at)) {
    const constructor = own(at, "constructor")?.value, name = typeof constructor === "function" ? own(constructor, "name")?.value : undefined;
    if (typeof name === "string" && name !== "") return name;
    if (peek(at) !== undefined) break;
  }
  return null;
}

const ESCAPES = { "\n": "\\n", "\t": "\\t", "\r": "\\r", "\b": "\\b", "\f": "\\f", "\v": "\\v", "\\": "\\\\" };

function quote(text) {
  const mark = !text.includes("'") ? "'" : !text.includes('"') ? '"' : !text.includes("`") && !text.includes("${") ? "`" : "'";
  const more = text.length > LIMIT ? `... ${text.length - LIMIT} more characters` : "";
  const body = text.slice(0, LIMIT).replace(/[\\'\x00-\x1f\x7f-\x9f]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g, (c) => {
    if (c === "'") return mark === "'" ? "\\'" : c;
    const code = c.charCodeAt(0);
    return ESCAPES[c] ?? (code < 256 ? `\\x${code.toString(16).toUpperCase().padStart(2, "0")}` : `\\u${code.toString(16).toUpperCase()}`);
  });
  return mark + body + mark + more;
}

const keyText = (key) => (typeof key === "symbol" ? `[${key.toString()}]` : /^[A-Za-z_$][\w$]*$/.test(key) ? key : quote(key));

class Printer {
  left = LIMIT;
  path = [];
  circular = null;

  constructor(depth) {
    this.depth = depth;
  }

  value(value) {
    const text = this.text(value);
    this.left -= text.length;
    return text;
  }

  text(value) {
    switch (typeof value) {
      case "string":
        return quote(value);
      case "bigint":
        return `${value}n`;
      case "symbol":
        return value.toString();
      case "number":
        return Object.is(value, -0) ? "-0" : `${value}`;
      case "object":
      case "function":
        return value === null ? "null" : this.object(value);
      default:
        return `${value}`;
    }
  }

  object(value) {
    if (this.left <= 0) return "...";
    if (this.path.includes(value)) {
      this.circular = value;
      return "[Circular *1]";
    }
    try {
      const inner = peek(value);
      if (inner !== undefined && inner[0] === "proxy") return inner[1] === undefined ? "<Revoked Proxy>" : this.text(inner[1]);
      this.path.push(value);
      const text = this.shape(value, inner);
      return this.circular === value ? ((this.circular = null), `<ref *1> ${text}`) : text;
    } catch (error) {
      return "[object that cannot be shown]";
    } finally {
      if (this.path.at(-1) === value) this.path.pop();
    }
  }

  shape(value, inner) {
    for (let at = getPrototypeOf(value); at !== null; at = getPrototypeOf(at)) {
      const show = shapes.get(at);
      if (show === undefined) continue;
      const shown = show(value);
      return typeof shown === "string" ? shown : `${className(value)} ${this.text(shown).replace(/^Map\(\d+\) /, "")}`;
    }
    const name = className(value);
    if (typeof value === "function") return this.braces(this.functionName(value, name), [], value);
    if (Error.isError(value) || (typeof DOMException === "function" && value instanceof DOMException)) return this.error(value);
    const deep = this.path.length > this.depth + 1;
    if (Array.isArray(value)) {
      if (deep) return "[Array]";
      const prefix = name === "Array" ? "" : `${name ?? "[Array: null prototype]"}(${value.length}) `;
      return this.braces(prefix, this.items(value.length, (i) => own(value, i)), value, "[]", /^\d+$/);
    }
    if (ArrayBuffer.isView(value)) {
      const kind = arrayName.call(value);
      if (kind !== undefined) {
        const length = arrayLength.call(value);
        return deep ? `[${name ?? kind}]` : this.braces(`${name ?? kind}(${length}) `, this.items(length, (i) => ({ value: value[i] })), value, "[]", /^\d+$/);
      }
    }
    if (value instanceof Date) {
      const time = Date.prototype.getTime.call(value);
      return this.braces(Number.isNaN(time) ? "Invalid Date" : new Date(time).toISOString(), [], value);
    }
    if (value instanceof RegExp) return this.braces(RegExp.prototype.toString.call(value), [], value);
    for (const boxed of [Number, String, Boolean, BigInt, Symbol]) {
      if (value instanceof boxed) return this.braces(`[${boxed.name}: ${this.text(boxed.prototype.valueOf.call(value))}]`, [], value, "{}", /^(\d+|length)$/);
    }
    if (deep) return `[${name ?? "Object: null prototype"}]`;
    if (value instanceof Map) {
      const lines = this.limited(sizeOfMap.call(value), mapEntries.call(value), ([k, v]) => `${this.value(k)} => ${this.value(v)}`);
      return this.braces(`${name}(${sizeOfMap.call(value)}) `, lines, value);
    }
    if (value instanceof Set) {
      const lines = this.limited(sizeOfSet.call(value), setValues.call(value), (v) => this.value(v));
      return this.braces(`${name}(${sizeOfSet.call(value)}) `, lines, value);
    }
    if (value instanceof ArrayBuffer) {
      const size = byteLength.call(value), shown = [...new Uint8Array(value, 0, Math.min(size, 50))];
      const bytes = shown.map((b) => b.toString(16).padStart(2, "0")).join(" ") + (size > 50 ? ` ... ${size - 50} more bytes` : "");
      return this.braces(`${name} `, [`[Uint8Contents]: <${bytes}>`, `byteLength: ${size}`], value);
    }
    if (value instanceof Promise && inner !== undefined) {
      const [state, result] = inner;
      return this.braces(`${name} `, [state === "pending" ? "<pending>" : (state === "rejected" ? "<rejected> " : "") + this.value(result)], value);
    }
    if (value instanceof WeakMap || value instanceof WeakSet || value instanceof WeakRef) return `${name} { <items unknown> }`;
    const label = data(value, Symbol.toStringTag), tagged = typeof label === "string" && label !== "" && label !== name ? `[${label}] ` : "";
    return this.braces(name === "Object" && tagged === "" ? "" : `${name ?? "[Object: null prototype]"} ${tagged}`, [], value, "{}", null, true);
  }

  functionName(value, kind) {
    const name = own(value, "name")?.value, named = typeof name === "string" && name !== "";
    const prototype = own(value, "prototype");
    if (prototype !== undefined && !prototype.writable && kind === "Function") {
      const parent = getPrototypeOf(value), base = typeof parent === "function" ? own(parent, "name")?.value : "";
      return `[class ${named ? name : "(anonymous)"}${base ? ` extends ${base}` : ""}]`;
    }
    return `[${kind ?? "Function (null prototype)"}${named ? `: ${name}` : " (anonymous)"}]`;
  }

  error(value) {
    const name = data(value, "name"), message = data(value, "message");
    const label = typeof name === "string" && name !== "Error" ? name : (className(value) ?? "Error");
    let head = value instanceof DOMException ? `${value.name}: ${value.message}` : message ? `${label}: ${message}` : label;
    let stack = own(value, "stack")?.value ?? stackOf.call(value);
    if (typeof stack === "string" && stack !== "") {
      stack = (native.mapStack?.(stack) ?? stack).trimEnd();
      head = stack.startsWith(head) ? stack : `${head}\n${stack}`;
    } else {
      head = `[${head}]`;
    }
    const indent = "  ".repeat(this.path.length - 1), lines = [];
    for (const key of ["cause", "errors"]) {
      const found = own(value, key);
      if (found !== undefined && !found.enumerable) lines.push(`[${key}]: ${this.property(found)}`);
    }
    return this.braces(head.replaceAll("\n", `\n${indent}`) + (lines.length ? " " : ""), lines, value, "{}", /^(stack|message|name)$/);
  }

  property(found) {
    if ("value" in found) return this.value(found.value);
    return found.get === undefined ? "[Setter]" : found.set === undefined ? "[Getter]" : "[Getter/Setter]";
  }

  items(length, at) {
    const lines = [];
    for (let i = 0; i < length && lines.length < ITEMS && this.left > 0; i++) {
      const found = at(i);
      if (found !== undefined) {
        lines.push(this.property(found));
        continue;
      }
      let end = i + 1;
      while (end < length && end - i < 10_000 && at(end) === undefined) end++;
      lines.push(`<${end - i} empty item${end - i > 1 ? "s" : ""}>`);
      i = end - 1;
    }
    const shown = Math.min(length, ITEMS);
    if (lines.length >= ITEMS && length > shown) lines.push(`... ${length - shown} more item${length - shown > 1 ? "s" : ""}`);
    return lines;
  }

  limited(size, iterator, line) {
    const lines = [];
    for (const item of iterator) {
      if (lines.length === ITEMS || this.left <= 0) {
        lines.push(`... ${size - lines.length} more items`);
        break;
      }
      lines.push(line(item));
    }
    return lines;
  }

  // `prefix` is all there is to see when no line and no property follows, unless `always`.
  braces(prefix, lines, value, [open, close] = "{}", hidden = null, always = false) {
    const listed = lines.length;
    for (const key of Reflect.ownKeys(value)) {
      if (typeof key === "string" && hidden?.test(key)) continue;
      const found = own(value, key);
      if (found === undefined || !found.enumerable) continue;
      if (lines.length >= listed + ITEMS || this.left <= 0) {
        lines.push("...");
        break;
      }
      lines.push(`${keyText(key)}: ${this.property(found)}`);
    }
    if (lines.length === 0) return always || prefix === "" || prefix.endsWith(" ") ? `${prefix}${open}${close}` : prefix;
    if (prefix !== "" && !prefix.endsWith(" ")) prefix += " ";
    const width = lines.reduce((sum, line) => sum + line.length + 2, 0);
    if (width <= WIDTH && !lines.some((line) => line.includes("\n"))) return `${prefix}${open} ${lines.join(", ")} ${close}`;
    const indent = "  ".repeat(this.path.length), rows = open === "[" ? packed(lines) : lines;
    return `${prefix}${open}\n${rows.map((row) => indent + row).join(",\n")}\n${indent.slice(2)}${close}`;
  }
}

function packed(lines) {
  if (lines.length <= 6 || lines.some((line) => line.length > 20 || line.includes("\n"))) return lines;
  const rows = [];
  for (const line of lines) {
    const last = rows.length - 1;
    if (last >= 0 && rows[last].length + line.length + 2 <= WIDTH) rows[last] += `, ${line}`;
    else rows.push(line);
  }
  return rows;
}

const cut = (text) => (text.length > LIMIT ? `${text.slice(0, LIMIT)}... ${text.length - LIMIT} more characters` : text);

export function inspect(value, depth = DEPTH) {
  return cut(new Printer(depth).text(value));
}

function number(value, parse) {
  try {
    if (typeof value === "bigint") return `${value}n`;
    if (typeof value === "symbol" || (typeof value === "object" && value !== null)) return "NaN";
    return inspect(parse(value));
  } catch {
    return "NaN";
  }
}

function json(value) {
  try {
    return `${JSON.stringify(value)}`;
  } catch (error) {
    return error instanceof TypeError ? "[Circular]" : "[object that cannot be shown]";
  }
}

const plain = (value, depth) => (typeof value === "string" ? value : inspect(value, depth));

export function format(...args) {
  const parts = [];
  let next = 0;
  if (typeof args[0] === "string" && args.length > 1) {
    next = 1;
    parts.push(args[0].replace(/%[sdifjoOc%]/g, (directive) => {
      if (directive === "%%") return "%";
      if (next >= args.length) return directive;
      const value = args[next++];
      switch (directive) {
        case "%s":
          return plain(value, 0);
        case "%d":
          return number(value, Number);
        case "%i":
          return number(value, (v) => Number.parseInt(v, 10));
        case "%f":
          return number(value, Number.parseFloat);
        case "%j":
          return json(value);
        case "%c":
          return "";
        default:
          return inspect(value);
      }
    }));
  }
  for (; next < args.length; next++) parts.push(plain(args[next]));
  return cut(parts.join(" "));
}

export function reportError(error) {
  log("error", `Uncaught ${inspect(error)}`);
}

let indent = "";
const counts = new Map(), timers = new Map();

function write(level, text) {
  log(level, indent === "" ? text : indent + text.replaceAll("\n", `\n${indent}`));
}

function bounded(map, label, value) {
  if (map.size >= LABELS && !map.has(label)) map.delete(map.keys().next().value);
  map.set(label, value);
}

function elapsed(label, args) {
  const begun = timers.get(label);
  if (begun === undefined) return write("warn", `No such label '${label}' for console.time()`);
  write("info", `${label}: ${(performance.now() - begun).toFixed(3)}ms${args.length > 0 ? ` ${format(...args)}` : ""}`);
}

function table(rows, columns) {
  if (typeof rows !== "object" || rows === null || peek(rows) !== undefined) return write("info", format(rows));
  const list = rows instanceof Map ? [...rows] : rows instanceof Set ? [...rows].map((v, i) => [i, v]) : Object.keys(rows).map((k) => [k, own(rows, k)]);
  const shown = list.slice(0, ITEMS).map(([k, v]) => [k, rows instanceof Map || rows instanceof Set ? { value: v } : v]);
  const cell = (found) => (found === undefined ? "" : "value" in found ? inspect(found.value, 0) : "[Getter]");
  const isRow = ({ value }) => typeof value === "object" && value !== null && peek(value) === undefined;
  const names = new Set(), plainValues = shown.some(([, v]) => !isRow(v));
  for (const [, v] of shown) if (isRow(v)) for (const key of Object.keys(v.value).slice(0, ITEMS)) names.add(key);
  const heads = Array.isArray(columns) ? columns.map(String) : [...names];
  const lines = [["(index)", ...heads, ...(plainValues && !columns ? ["Values"] : [])]];
  for (const [k, v] of shown) {
    const row = [`${typeof k === "object" ? inspect(k, 0) : String(k)}`, ...heads.map((h) => (isRow(v) ? cell(own(v.value, h)) : ""))];
    if (plainValues && !columns) row.push(isRow(v) ? "" : cell(v));
    lines.push(row);
  }
  const widths = lines[0].map((_, i) => Math.max(...lines.map((line) => line[i].length)) + 2);
  const rule = (left, mid, right) => left + widths.map((w) => "─".repeat(w)).join(mid) + right;
  const text = lines.map((line) => `│${line.map((c, i) => ` ${c}`.padEnd(widths[i])).join("│")}│`);
  write("info", cut([rule("┌", "┬", "┐"), text[0], rule("├", "┼", "┤"), ...text.slice(1), rule("└", "┴", "┘")].join("\n")));
}

const label = (value) => (value === undefined ? "default" : `${value}`);

export const console = {
  log: (...args) => write("info", format(...args)),
  info: (...args) => write("info", format(...args)),
  warn: (...args) => write("warn", format(...args)),
  error: (...args) => write("error", format(...args)),
  debug: (...args) => write("debug", format(...args)),
  trace(...args) {
    const stack = new Error().stack.replace(/^.*\n/, "").trimEnd();
    write("info", `Trace${args.length > 0 ? `: ${format(...args)}` : ""}\n${native.mapStack?.(stack) ?? stack}`);
  },
  assert(condition, ...args) {
    if (condition) return;
    if (typeof args[0] === "string") args[0] = `Assertion failed: ${args[0]}`;
    else args.unshift("Assertion failed");
    write("error", format(...args));
  },
  count(name) {
    name = label(name);
    bounded(counts, name, (counts.get(name) ?? 0) + 1);
    write("info", `${name}: ${counts.get(name)}`);
  },
  countReset: (name) => void counts.delete(label(name)),
  time: (name) => bounded(timers, label(name), performance.now()),
  timeLog: (name, ...args) => elapsed(label(name), args),
  timeEnd(name) {
    elapsed(label(name), []);
    timers.delete(label(name));
  },
  group(...args) {
    if (args.length > 0) write("info", format(...args));
    if (indent.length < 40) indent += "  ";
  },
  groupCollapsed: (...args) => console.group(...args),
  groupEnd() {
    indent = indent.slice(2);
  },
  table,
  dir: (value, options) => write("info", inspect(value, typeof options?.depth === "number" ? options.depth : DEPTH)),
  dirxml: (...args) => write("info", format(...args)),
  clear() {},
};

inspectable(URL, ({ href, origin, protocol, username, password, host, hostname, port, pathname, search, searchParams, hash }) =>
  ({ href, origin, protocol, username, password, host, hostname, port, pathname, search, searchParams, hash }));
inspectable(URLSearchParams, (params) => `URLSearchParams { ${[...params].map((pair) => pair.map((text) => inspect(text)).join(" => ")).join(", ")} }`);
inspectable(AbortSignal, ({ aborted, reason }) => (aborted ? { aborted, reason } : { aborted }));
inspectable(Event, ({ type, defaultPrevented, cancelable, timeStamp }) => ({ type, defaultPrevented, cancelable, timeStamp }));
