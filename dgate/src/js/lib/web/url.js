import native from "dgate:native";
import { define, isObject, need, tag, usv } from "dgate:idl";

const { urlParse, urlSet, queryParse, queryText } = native;
// The record that urlParse and urlSet return: the href, then where its parts begin and end.
const HREF = 0, SCHEME_END = 1, USER_START = 2, USER_END = 3, PASSWORD_START = 4, PASSWORD_END = 5;
const HOST_START = 6, HOST_END = 7, PORT_START = 8, PORT_END = 9, PATH_START = 10, PATH_END = 11, QUERY_END = 12;
const PROTOCOL = 0, USERNAME = 1, PASSWORD = 2, HOST = 3, HOSTNAME = 4, PORT = 5, PATHNAME = 6, SEARCH = 7, HASH = 8;

let linkedParams, relinkParams, setSearchOf;

const withoutMark = (text) => (text.startsWith("?") ? text.slice(1) : text);

function listFrom(init) {
  const list = [];
  const method = init[Symbol.iterator];
  if (method === undefined || method === null) {
    const record = new Map();
    for (const key of Reflect.ownKeys(init)) {
      if (Object.getOwnPropertyDescriptor(init, key)?.enumerable) record.set(usv(key), usv(init[key]));
    }
    for (const [key, value] of record) list.push(key, value);
    return list;
  }
  for (const entry of Iterator.from({ [Symbol.iterator]: () => method.call(init) })) {
    if (!isObject(entry)) throw new TypeError("each query pair must be an iterable of a name and a value");
    const pair = [...entry];
    if (pair.length !== 2) throw new TypeError("each query pair must be an iterable of a name and a value");
    list.push(usv(pair[0]), usv(pair[1]));
  }
  return list;
}

class ParamsIterator {
  #list;
  #at = 0;
  #pick;
  constructor(list, pick) {
    this.#list = list;
    this.#pick = pick;
  }
  next() {
    const list = this.#list(), at = this.#at;
    if (at >= list.length) return { value: undefined, done: true };
    this.#at = at + 2;
    return { value: this.#pick(list[at], list[at + 1]), done: false };
  }
}
delete ParamsIterator.prototype.constructor;
Object.setPrototypeOf(ParamsIterator.prototype, Iterator.prototype);
tag(ParamsIterator, "URLSearchParams Iterator");

export class URLSearchParams {
  #text = "";
  #list = null;
  #url = null;

  constructor(init = "") {
    if (!isObject(init)) this.#text = withoutMark(usv(init));
    else this.#list = listFrom(init);
  }

  static {
    linkedParams = (url, query) => {
      const params = new URLSearchParams();
      params.#url = url;
      params.#text = query;
      return params;
    };
    relinkParams = (params, query) => {
      params.#text = query;
      params.#list = null;
    };
  }

  #items() {
    return (this.#list ??= queryParse(this.#text));
  }
  #changed() {
    if (this.#url !== null) setSearchOf(this.#url, queryText(this.#list));
  }

  get size() {
    return this.#items().length / 2;
  }
  append(name, value) {
    const list = this.#items();
    need(arguments, 2, "append");
    list.push(usv(name), usv(value));
    this.#changed();
  }
  delete(name, value = undefined) {
    this.#items();
    need(arguments, 1, "delete");
    name = usv(name);
    if (value !== undefined) value = usv(value);
    const list = this.#items(), kept = [];
    for (let i = 0; i < list.length; i += 2) {
      if (list[i] !== name || (value !== undefined && list[i + 1] !== value)) kept.push(list[i], list[i + 1]);
    }
    this.#list = kept;
    this.#changed();
  }
  get(name) {
    const list = this.#items();
    need(arguments, 1, "get");
    name = usv(name);
    for (let i = 0; i < list.length; i += 2) if (list[i] === name) return list[i + 1];
    return null;
  }
  getAll(name) {
    const list = this.#items(), all = [];
    need(arguments, 1, "getAll");
    name = usv(name);
    for (let i = 0; i < list.length; i += 2) if (list[i] === name) all.push(list[i + 1]);
    return all;
  }
  has(name, value = undefined) {
    const list = this.#items();
    need(arguments, 1, "has");
    name = usv(name);
    if (value !== undefined) value = usv(value);
    for (let i = 0; i < list.length; i += 2) {
      if (list[i] === name && (value === undefined || list[i + 1] === value)) return true;
    }
    return false;
  }
  set(name, value) {
    this.#items();
    need(arguments, 2, "set");
    name = usv(name);
    value = usv(value);
    const list = this.#items(), kept = [];
    let found = false;
    for (let i = 0; i < list.length; i += 2) {
      if (list[i] !== name) kept.push(list[i], list[i + 1]);
      else if (!found) {
        found = true;
        kept.push(name, value);
      }
    }
    if (!found) kept.push(name, value);
    this.#list = kept;
    this.#changed();
  }
  sort() {
    const list = this.#items(), pairs = [];
    for (let i = 0; i < list.length; i += 2) pairs.push([list[i], list[i + 1]]);
    pairs.sort((a, b) => (a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : 0));
    this.#list = pairs.flat();
    this.#changed();
  }
  forEach(callback, thisArg = undefined) {
    this.#items();
    if (typeof callback !== "function") throw new TypeError("forEach needs a function");
    for (let i = 0; i < this.#items().length; i += 2) {
      const list = this.#items();
      callback.call(thisArg, list[i + 1], list[i], this);
    }
  }
  entries() {
    this.#items();
    return new ParamsIterator(() => this.#items(), (name, value) => [name, value]);
  }
  keys() {
    this.#items();
    return new ParamsIterator(() => this.#items(), (name) => name);
  }
  values() {
    this.#items();
    return new ParamsIterator(() => this.#items(), (_, value) => value);
  }
  toString() {
    return queryText(this.#items());
  }
}
Object.defineProperty(URLSearchParams.prototype, Symbol.iterator, { value: URLSearchParams.prototype.entries, writable: true, configurable: true });

function parse(url, base) {
  return urlParse(usv(url), base === undefined ? undefined : usv(base));
}

export class URL {
  #parts;
  #params = null;

  constructor(url, base = undefined) {
    need(arguments, 1, "URL");
    this.#parts = parse(url, base);
    if (this.#parts === undefined) throw new TypeError(`Invalid URL: ${usv(url)}`);
  }

  static {
    setSearchOf = (url, query) => url.#set(SEARCH, query);
  }
  static parse(url, base = undefined) {
    need(arguments, 1, "URL.parse");
    const parts = parse(url, base);
    return parts === undefined ? null : new URL(parts[HREF]);
  }
  static canParse(url, base = undefined) {
    need(arguments, 1, "URL.canParse");
    return parse(url, base) !== undefined;
  }

  #slice(start, end) {
    const parts = this.#parts;
    return parts[HREF].slice(parts[start], parts[end]);
  }
  #tail(start, end) {
    const parts = this.#parts, from = parts[start], to = end === undefined ? parts[HREF].length : parts[end];
    return to - from < 2 ? "" : parts[HREF].slice(from, to);
  }
  #set(part, value) {
    this.#parts = urlSet(this.#parts[HREF], part, usv(value)) ?? this.#parts;
  }
  #relink() {
    if (this.#params !== null) relinkParams(this.#params, withoutMark(this.search));
  }

  get href() {
    return this.#parts[HREF];
  }
  set href(value) {
    const _ = this.#parts, text = usv(value), parts = urlParse(text);
    if (parts === undefined) throw new TypeError(`Invalid URL: ${text}`);
    this.#parts = parts;
    this.#relink();
  }
  get origin() {
    const protocol = this.protocol;
    switch (protocol) {
      case "http:": case "https:": case "ws:": case "wss:": case "ftp:":
        return `${protocol}//${this.host}`;
      case "blob:": {
        const inner = urlParse(this.pathname);
        if (inner !== undefined && /^https?:/.test(inner[HREF])) return new URL(inner[HREF]).origin;
      }
    }
    return "null";
  }
  get protocol() {
    const parts = this.#parts;
    return parts[HREF].slice(0, parts[SCHEME_END] + 1);
  }
  set protocol(value) {
    this.#set(PROTOCOL, value);
  }
  get username() {
    return this.#slice(USER_START, USER_END);
  }
  set username(value) {
    this.#set(USERNAME, value);
  }
  get password() {
    return this.#slice(PASSWORD_START, PASSWORD_END);
  }
  set password(value) {
    this.#set(PASSWORD, value);
  }
  get host() {
    return this.#slice(HOST_START, PORT_END);
  }
  set host(value) {
    this.#set(HOST, value);
  }
  get hostname() {
    return this.#slice(HOST_START, HOST_END);
  }
  set hostname(value) {
    this.#set(HOSTNAME, value);
  }
  get port() {
    return this.#slice(PORT_START, PORT_END);
  }
  set port(value) {
    this.#set(PORT, value);
  }
  get pathname() {
    return this.#slice(PATH_START, PATH_END);
  }
  set pathname(value) {
    this.#set(PATHNAME, value);
  }
  get search() {
    return this.#tail(PATH_END, QUERY_END);
  }
  set search(value) {
    this.#set(SEARCH, value);
    this.#relink();
  }
  get searchParams() {
    return (this.#params ??= linkedParams(this, withoutMark(this.search)));
  }
  get hash() {
    return this.#tail(QUERY_END);
  }
  set hash(value) {
    this.#set(HASH, value);
  }
  toString() {
    return this.#parts[HREF];
  }
  toJSON() {
    return this.#parts[HREF];
  }

  static hrefOf(value) {
    return isObject(value) && #parts in value ? value.#parts[HREF] : undefined;
  }
}
export const hrefOf = URL.hrefOf;
delete URL.hrefOf;
export const urlOf = (href) => new URL(href);
export const queryOf = (text) => new URLSearchParams(text);

define(URL, URLSearchParams);
