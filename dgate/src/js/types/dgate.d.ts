// Types of DGate modules: what `dgate module types` prints.
//
// One ambient file: it declares the modules "dgate", "dgate/state", "dgate/cache", "dgate/secrets",
// "dgate/crypto" and "dgate/test", and the web globals that exist in a module. Use it without the DOM
// library and without @types/node, so that what does not exist is an error in the editor too:
//
//   { "compilerOptions": { "strict": true, "noEmit": true, "target": "ES2022", "lib": ["ES2023"], "types": [],
//                          "module": "esnext", "moduleResolution": "bundler" } }
//
// The ES library itself declares `Intl`, which modules do not have.
// Durations are texts such as "250ms", "5s" or "1m30s". Times without a unit are milliseconds.

/** Hooks and what they are given. */
declare module "dgate" {
  /** A value or a promise of it: every hook may be `async`. */
  export type MaybePromise<T> = T | Promise<T>;

  /** A duration with its unit: "250ms", "5s", "1m30s". Units are ns, us, ms, s, m, h, d. */
  export type Duration = `${number}${"ns" | "us" | "ms" | "s" | "m" | "h" | "d"}${string}`;

  /**
   * One request and its response: what every hook gets, made anew for each. To hand something on to a later
   * hook use `state`.
   */
  export interface Context {
    /** The request id, as in `X-Request-Id`, in the logs and in problem documents. */
    readonly id: string;
    /**
     * The request, as the next hook or the upstream will get it. Its headers are mutable; for another
     * method, URL or body assign or return a new `Request`: `new Request(url, ctx.request)` keeps the rest.
     *
     * The body streams past a module that does not read it. A body that was only read still reaches the
     * upstream. Above the route's `max_body` reading rejects, and the client gets 413. It is there in
     * `requestModifier` and `requestHandler`; later hooks see the request without it.
     *
     * A new request keeps the client's host unless it sets `host`, and `X-Forwarded-*`, `X-Request-Id` and the
     * trace headers unless it sets its own. The upstream is chosen by the service, not by the host of the URL.
     */
    request: Request;
    /**
     * The response that will be sent: in `responseModifier` only, `undefined` in every other hook. Status
     * and headers are mutable; for another body assign or return a new `Response`.
     */
    get response(): MutableResponse;
    set response(response: Response);
    /** The URL of `request`, parsed. Changing it changes nothing else; see `request`. */
    readonly url: URL;
    /** Path parameters of the route, percent-decoded: `{id}` and `{*rest}`. */
    readonly params: Record<string, string>;
    /** The query of `url`. */
    readonly query: URLSearchParams;
    /** Who asks. */
    readonly client: Client;
    readonly namespace: { readonly name: string; readonly tags: string[] };
    readonly route: { readonly name: string; readonly tags: string[]; readonly paths: string[] };
    /** The route's service, if it has one; `urls` as they are configured, without weights. */
    readonly service?: { readonly name: string; readonly tags: string[]; readonly urls: string[] };
    /** This module, and the revision that last wrote it. */
    readonly module: { readonly name: string; readonly revision: number };
    /** Whom an authentication plugin recognised. Absent without one. */
    readonly consumer?: Consumer;
    /** The number of the attempt at the upstream, from 0: in `fetchUpstream` and `errorHandler`. */
    readonly attempt: number;
    /**
     * JSON values that all hooks of this request share, those of other modules and native plugins too. They
     * see what is in there when the hook has ended. Empty at the start of each request.
     */
    readonly state: Record<string, unknown>;
    /**
     * Lets work go on after the response was sent, until the module's `wall` limit. Its `cpu` and `fetches`
     * count as usual. A rejection is logged and changes nothing else.
     */
    waitUntil(work: Promise<unknown>): void;
  }

  export interface Client {
    /** The client's address: the peer, or what a trusted proxy says. `null` when there is none (Unix sockets). */
    readonly ip: string | null;
    /** The port of the connection's peer. */
    readonly port: number;
    /** Of a TLS connection; `cert` when the client showed a certificate that the domain's `mtls` accepted. */
    readonly tls?: {
      /** For example "TLSv1.3". */
      readonly version: string;
      readonly sni?: string;
      readonly cert?: { readonly subject: string; readonly sha256: string };
    };
  }

  export interface Consumer {
    readonly name: string;
    readonly groups: string[];
    /** Any JSON; what the consumer's resource says. */
    readonly metadata: unknown;
  }

  /** A response in a `responseModifier`: its status can be assigned, 200 to 599, otherwise a RangeError. */
  export interface MutableResponse extends Response {
    status: number;
  }

  /** Codes of the gateway. New ones may come. */
  export type ErrorCode =
    | "bad_request"
    | "request_timeout"
    | "body_too_large"
    | "internal"
    | "module_error"
    | "module_limit"
    | "upstream_connect_failed"
    | "upstream_connect_timeout"
    | "upstream_reset"
    | "upstream_protocol"
    | "upstream_timeout"
    | "overloaded"
    | "circuit_open"
    | "no_endpoint"
    | (string & {});

  /** Why there is no response: the second argument of `errorHandler`. */
  export interface GatewayError {
    /** What happened, as in problem documents. */
    readonly code: ErrorCode;
    /** For logs. It may name addresses and modules: think before you send it to a client. */
    readonly message: string;
    /** The status of the default answer: 502 for network failures, 504 for timeouts, 500 for modules. */
    readonly status: number;
    /** How many attempts at the upstream were made, retries included; 0 when none was. */
    readonly attempts: number;
    /** The upstream of the last attempt. */
    readonly upstream?: string;
    /** What a module threw, where it was one. */
    readonly cause?: unknown;
  }

  /**
   * What a `requestHandler` may give. A `Response` is sent as it is; a string becomes text/plain, any other
   * JSON value application/json. Functions, maps, sets and headers are no JSON.
   */
  export type HandlerResult = Response | string | number | boolean | null | readonly unknown[] | JsonObject;

  /** An object that `JSON.stringify` gives as it is meant. */
  export type JsonObject = object & {
    readonly bind?: never;
    readonly bodyUsed?: never;
    readonly forEach?: never;
    readonly then?: never;
  };

  /**
   * Before the handler or the upstream, once for each request. Nothing: go on, with the changes made to
   * `ctx.request`. A `Request`: go on with that one. A `Response`: answer at once; the upstream is not called,
   * and only the response modifiers of modules listed before this one see the answer.
   */
  export type RequestModifier = (ctx: Context) => MaybePromise<Request | Response | void>;

  /**
   * Before each attempt at the upstream, `ctx.attempt` counts from 0. A URL: the base of this attempt, the
   * path of the request is appended. Nothing: the next module, and in the end the service's balancer, decides.
   * A URL that is none of the service's needs a `net` permission when its address is private.
   */
  export type FetchUpstream = (ctx: Context) => MaybePromise<string | URL | null | void>;

  /** Instead of an upstream. The first module of the route that has one answers; giving nothing is an error. */
  export type RequestHandler = (ctx: Context) => MaybePromise<HandlerResult>;

  /**
   * After a response arrived, also one with an error status, and after the retries. Nothing: send it with
   * the changes made to `ctx.response`. A `Response`: send that one.
   */
  export type ResponseModifier = (ctx: Context) => MaybePromise<Response | void>;

  /**
   * Instead of a response: network failure, timeout, open breaker, a module's exception or limit. Only after
   * the retries. A `Response`: answer; no response modifier sees it. Nothing: the next module outward is
   * asked, and in the end the problem document goes out.
   */
  export type ErrorHandler = (ctx: Context, error: GatewayError) => MaybePromise<Response | void>;

  /**
   * The hooks of a module, as named exports or as its default export:
   *
   * ```ts
   * import type { Module } from "dgate";
   *
   * export default {
   *   requestModifier(ctx) {
   *     ctx.request.headers.set("x-hello", "there");
   *   },
   * } satisfies Module;
   * ```
   */
  export interface Module {
    requestModifier?: RequestModifier;
    fetchUpstream?: FetchUpstream;
    /** Another name of `fetchUpstream`. */
    fetchUpstreamUrl?: FetchUpstream;
    requestHandler?: RequestHandler;
    responseModifier?: ResponseModifier;
    errorHandler?: ErrorHandler;
  }

  /** Limits of a module, for one invocation of a hook. Reaching one is a `module_limit` error that names it. */
  export interface Limits {
    /** Time in JavaScript, added up over awaits. Default 50ms. */
    cpu?: Duration;
    /** Time in all, waiting included. Default 30s. */
    wall?: Duration;
    /** Of the runtime, in bytes or as "64MiB". Default 64MiB. */
    memory?: number | `${number}${"B" | "KiB" | "MiB" | "GiB" | "KB" | "MB" | "GB"}`;
    /** How many `fetch` calls. Default 50. */
    fetches?: number;
  }

  /** What a module may reach. What is left out has its default; an empty list allows nothing. */
  export interface Permissions {
    /** "host" or "host:port". Default: every public address. Loopback and private ones have to be named. */
    net?: string[];
    /** Names of collections. Default: those of the namespace, and public ones of others. */
    state?: string[];
    /** Names of secrets. Default: none. */
    secrets?: string[];
  }

  /** Waits. @param ms milliseconds; a value below 0 counts as 0 */
  export function sleep(ms: number): Promise<void>;

  /**
   * Calls `fn` until it succeeds, at most `attempts` times, and gives its value or throws its last error.
   * Between two calls it waits a random time of up to 25, 50, 100 … milliseconds, at most 1 second.
   * @param attempts calls in all, at least 1
   * @param fn gets the number of the attempt, from 0
   */
  export function retry<T>(attempts: number, fn: (attempt: number) => MaybePromise<T>): Promise<T>;
}

/** Documents: the collections of a namespace. In memory for now; later durable and replicated. */
declare module "dgate/state" {
  import type { Duration } from "dgate";

  export interface Document<T> {
    readonly id: string;
    readonly data: T;
    /** Counts the writes to this document, from 1. */
    readonly version: number;
  }

  export interface PutOptions {
    /** Store only if the document has this version now; 0: only if there is none. Otherwise code "conflict". */
    if_version?: number;
    /** How long it lives. Default: the collection's `ttl`, or for ever. */
    ttl?: Duration;
  }

  export interface ListOptions {
    /** Only ids that begin with it. */
    prefix?: string;
    /** At most so many. Default 100, at most 1000. */
    limit?: number;
    /** `next` of the page before. */
    cursor?: string | null;
  }

  export interface Page<T> {
    /** In the order of their ids. */
    readonly items: Document<T>[];
    /** The `cursor` of the next page, or null after the last. */
    readonly next: string | null;
  }

  /**
   * A collection. The type argument is what you believe is in there: a schema on the collection makes it so.
   * Every call can reject with a {@link StateError}. Ids are 1 to 256 bytes without control characters.
   */
  export interface Collection<T = unknown> {
    readonly name: string;
    get(id: string): Promise<Document<T> | null>;
    /** Creates or replaces. `data` is any JSON that the collection's schema accepts. Gives what was stored. */
    put(id: string, data: T, options?: PutOptions): Promise<Document<T>>;
    /** Does nothing when there is none. */
    delete(id: string): Promise<void>;
    list(options?: ListOptions): Promise<Page<T>>;
  }

  /** What the calls of a collection reject with. */
  export interface StateError extends Error {
    readonly code: StateErrorCode;
  }

  /**
   * - "conflict": `if_version` does not hold
   * - "invalid": the collection's schema or the form of the id; the message names the place
   * - "not_found": no such collection
   * - "forbidden": not in the module's permissions, private to another namespace, or a write to another's
   * - "too_large": above the limit of a document
   * - "unavailable": no quorum in the cluster, or the node is shutting down; worth another try
   */
  export type StateErrorCode = "conflict" | "invalid" | "not_found" | "forbidden" | "too_large" | "unavailable";

  /**
   * A collection of this namespace, or "namespace/name" for a public one of another, which can only be read.
   * Checks nothing: a collection that does not exist rejects in its calls.
   */
  export function collection<T = unknown>(name: string): Collection<T>;
}

/**
 * Values in the memory of this node, for all modules of the namespace. Bounded: what was not used for longest
 * goes first, so anything may be missing at any time. Lost at a restart, and other nodes do not see it.
 */
declare module "dgate/cache" {
  import type { Duration } from "dgate";

  /** The value, or undefined when there is none, or none any more. */
  export function get<T = unknown>(key: string): Promise<T | undefined>;
  /** Stores a copy of a JSON value. Without `ttl` until room is needed. Too large a value rejects with a RangeError. */
  export function set(key: string, value: unknown, options?: { ttl?: Duration }): Promise<void>;
  function remove(key: string): Promise<void>;
  export { remove as delete };
}

/** Secrets of the namespace, as far as the module's `permissions.secrets` name them. */
declare module "dgate/secrets" {
  /**
   * The present value: a change is seen by the next call. Rejects with a {@link SecretError} when the secret is
   * not there or not permitted, so that a forgotten secret is never an empty key.
   */
  export function get(name: string): Promise<string>;

  export interface SecretError extends Error {
    readonly code: "not_found" | "forbidden";
  }
}

/** The part of `node:crypto` that is worth having beside `crypto.subtle`: synchronous, for small data. */
declare module "dgate/crypto" {
  /** Names in lower case, as in node:crypto. Any other one throws. */
  export type HashAlgorithm = "sha1" | "sha256" | "sha384" | "sha512";
  export type Encoding = "hex" | "base64" | "base64url";

  export interface Hash {
    /** Adds data; text counts as UTF-8. Throws after `digest`. */
    update(data: string | BufferSource): this;
    /** Ends it, once: as bytes, or as text in an encoding. */
    digest(): Uint8Array;
    digest(encoding: Encoding): string;
  }

  export function createHash(algorithm: HashAlgorithm): Hash;
  export function createHmac(algorithm: HashAlgorithm, key: string | BufferSource): Hash;
  /** Random bytes for keys and nonces. @param size at most 65536 */
  export function randomBytes(size: number): Uint8Array;
  /** Compares in a time that depends on the length only. Throws a RangeError when the lengths differ. */
  export function timingSafeEqual(a: BufferSource, b: BufferSource): boolean;
}

/**
 * Tests of modules, run by `dgate module test`: a test file is a module named `*.test.ts` or `*.test.js`, and
 * meets the gateway's own router, hooks, retries and engine. No test reaches the network.
 *
 * What is made inside a test or a `beforeEach` (gateways, upstreams, mocks of fetch) ends with that test; what
 * is made outside lives until the end of the file. Files do not see each other.
 */
declare module "dgate/test" {
  import type { Consumer, Duration, Limits, MaybePromise, Permissions } from "dgate";
  import type { Collection } from "dgate/state";

  // ---- tests ----

  export interface TestFunction {
    /** A test. It fails when `fn` throws, rejects, or takes longer than `timeout`, 5s if not given. */
    (name: string, fn: () => MaybePromise<unknown>, options?: { timeout?: Duration }): void;
    /** Not run, and reported as skipped. */
    skip(name: string, fn: () => MaybePromise<unknown>): void;
    /** Only these of the file are run. */
    only(name: string, fn: () => MaybePromise<unknown>): void;
    /** Reported as to be written. */
    todo(name: string): void;
  }

  export interface DescribeFunction {
    /** A group: its name goes before those of its tests. `fn` is called at once and may not be async. */
    (name: string, fn: () => void): void;
    skip(name: string, fn: () => void): void;
    only(name: string, fn: () => void): void;
  }

  /** Tests run one after the other, in the order they are written. */
  export const test: TestFunction;
  /** The same as `test`. */
  export const it: TestFunction;
  export const describe: DescribeFunction;
  /** Before each test of this group and of groups in it, outermost first. */
  export function beforeEach(fn: () => MaybePromise<unknown>): void;
  /** After each test, failed ones too, innermost first. */
  export function afterEach(fn: () => MaybePromise<unknown>): void;

  // ---- expectations ----

  /** Begins an expectation; one that does not hold throws an error with both values. */
  export function expect<T>(value: T): Expectation<T>;

  export interface Expectation<T> extends Matchers<void> {
    /** The opposite. */
    readonly not: Matchers<void>;
    /** Of what the promise gives; fails when it rejects. To be awaited. */
    readonly resolves: AsyncMatchers;
    /** Of what the promise rejects with; fails when it does not. To be awaited. */
    readonly rejects: AsyncMatchers;
  }

  export interface AsyncMatchers extends Matchers<Promise<void>> {
    readonly not: Matchers<Promise<void>>;
  }

  export interface Matchers<R> {
    /** The same value, by `Object.is`. */
    toBe(expected: unknown): R;
    /** The same structure, of any depth; properties that are undefined count as absent. */
    toEqual(expected: unknown): R;
    /** An object that has at least these properties, of any depth; arrays in it as a whole. */
    toMatchObject(expected: object): R;
    /** A string that contains the text or matches the expression. */
    toMatch(expected: string | RegExp): R;
    /** A string that contains the text, or an array or set with an element that is the same (`Object.is`). */
    toContain(expected: unknown): R;
    toHaveLength(expected: number): R;
    toBeInstanceOf(expected: abstract new (...args: any[]) => unknown): R;
    toBeDefined(): R;
    toBeUndefined(): R;
    toBeNull(): R;
    toBeTruthy(): R;
    toBeFalsy(): R;
    toBeGreaterThan(expected: number | bigint): R;
    toBeGreaterThanOrEqual(expected: number | bigint): R;
    toBeLessThan(expected: number | bigint): R;
    toBeLessThanOrEqual(expected: number | bigint): R;
    /** Within half of the last digit. @param digits after the point, 2 if not given */
    toBeCloseTo(expected: number, digits?: number): R;
    /**
     * Of a function: it throws. After `rejects`: the promise rejects. With an error whose message contains the
     * text or matches the expression, or that is an instance of the class.
     */
    toThrow(expected?: string | RegExp | (abstract new (...args: any[]) => Error)): R;
  }

  // ---- a gateway ----

  export interface GatewayOptions {
    /**
     * The modules of the route in order: files relative to the test file without extension ("./jwt-check"), or
     * objects for a source in the test or for other fields. Siblings that they import come along.
     */
    modules: (string | ModuleOptions)[];
    /** Path or paths of the route. Default "/**". */
    path?: string | string[];
    /** The other fields of the route resource, such as `strip_path`, `methods` or `max_body`. */
    route?: Record<string, unknown>;
    /** The upstream, several, or a service resource with upstreams in its `urls`. */
    service?: Upstream | Upstream[] | ServiceOptions;
    /** Collections: names, or resources with a `schema` or `ttl`. */
    collections?: (string | { name: string; schema?: object; ttl?: Duration })[];
    /** Secrets by name. The modules may read them, unless they have `permissions`. */
    secrets?: Record<string, string>;
    /** Of all modules that have none of their own. Default: the secrets above, and the defaults of the gateway. */
    permissions?: Permissions;
    /** Of all modules that have none of their own. */
    limits?: Limits;
    /** Whom the authentication plugin of the route would have recognised. */
    consumer?: Pick<Consumer, "name"> & Partial<Consumer>;
    /** Where requests come from, if they do not say. Default 127.0.0.1. */
    client?: { ip: string };
    /** Default "default". */
    namespace?: string;
  }

  export interface ModuleOptions {
    /** A file, as above. One of `file` and `source`. */
    file?: string;
    /** TypeScript or JavaScript. */
    source?: string;
    /** Default: the file's name without extension, or "module-0" by its place. */
    name?: string;
    permissions?: Permissions;
    limits?: Limits;
    isolation?: "shared" | "request" | "thread";
    on_error?: "fail" | "continue";
  }

  /** A service: any field of the resource, such as `retry` or `timeouts`. */
  export interface ServiceOptions {
    urls: (Upstream | string | { url: Upstream | string; weight: number })[];
    retry?: Record<string, unknown>;
    timeouts?: Record<string, Duration | "none">;
    circuit_breaker?: Record<string, unknown>;
    [field: string]: unknown;
  }

  export interface FetchOptions extends RequestInit {
    /** Where this request comes from. */
    client?: { ip: string };
  }

  export interface Gateway {
    /**
     * Sends a request through router, hooks and retries, and gives what a client would get: also the 404 of no
     * route and the problem document of a module that threw. A path is relative to `http://localhost`.
     * Redirects are not followed.
     */
    fetch(input: string | URL | Request, init?: FetchOptions): Promise<Response>;
    /** A collection of the gateway, to prepare and to look at documents. */
    collection<T = unknown>(name: string): Collection<T>;
    /** Waits for what modules gave to `ctx.waitUntil`. */
    settled(): Promise<void>;
    /** What modules wrote to `console` and what they threw, oldest first. */
    readonly logs: readonly LogEntry[];
  }

  export interface LogEntry {
    readonly level: "debug" | "info" | "warn" | "error";
    readonly module: string;
    /** As text; of an exception with its position in the TypeScript source. */
    readonly message: string;
    readonly request_id?: string;
  }

  /**
   * A gateway with one route. Wrong options (a module that does not compile, an unknown field) reject the first
   * call of it, with what `dgate check` would say.
   */
  export function gateway(options: GatewayOptions): Gateway;

  // ---- what modules talk to ----

  /** Answers a request. When it throws, the connection breaks off without an answer. */
  export type Handler = (request: Request) => MaybePromise<Response>;

  export interface Upstream {
    /** Its base URL, different for each, as in `ctx.service.urls`. */
    readonly url: string;
    /** What it was asked, oldest first, retries too. Bodies can be read. */
    readonly requests: readonly Request[];
  }

  export interface UpstreamFunction {
    /** An upstream. Without a handler it answers 200 with an empty body. */
    (handler?: Handler): Upstream;
    /** One that takes no connection. */
    down(): Upstream;
  }

  export const upstream: UpstreamFunction;

  export interface FetchMock {
    /** The requests it took, oldest first. */
    readonly requests: readonly Request[];
    /** Ends it early. */
    restore(): void;
  }

  /**
   * Answers the `fetch` calls of modules. The mock that was made last wins. A call that no mock takes rejects
   * with a TypeError that names it, and so does one whose handler throws.
   * @param target a URL without fragment in which `*` stands for any text, or an expression on the whole URL
   */
  export function mockFetch(target: string | URL | RegExp, handler: Handler): FetchMock;
}

// ---------------------------------------------------------------------------------------------------------------
// Web globals. They follow the WHATWG and W3C texts; what is not here does not exist in a module: no DOM, no Node,
// no Blob, File, FormData, WebSocket, WebAssembly, Intl. Messages of errors are not part of the interface.
// ---------------------------------------------------------------------------------------------------------------

// ---- bodies and headers ----

type BufferSource = ArrayBuffer | ArrayBufferView;
type BodyInit = string | BufferSource | URLSearchParams | ReadableStream<Uint8Array>;
type HeadersInit =
  Headers | Record<string, string> | Iterable<readonly [string, string]> | readonly (readonly [string, string])[];

/** Header fields. Names are case-insensitive; a bad name or value is a TypeError. */
interface Headers {
  append(name: string, value: string): void;
  delete(name: string): void;
  /** All values of the name, joined by ", "; null when there is none. */
  get(name: string): string | null;
  /** The values of `Set-Cookie`, which cannot be joined. */
  getSetCookie(): string[];
  has(name: string): boolean;
  /** Replaces all values of the name. */
  set(name: string, value: string): void;
  forEach(callback: (value: string, name: string, headers: Headers) => void, thisArg?: unknown): void;
  /** Sorted, in lower case; values of a name joined, `Set-Cookie` one by one. */
  entries(): IterableIterator<[string, string]>;
  keys(): IterableIterator<string>;
  values(): IterableIterator<string>;
  [Symbol.iterator](): IterableIterator<[string, string]>;
}
declare var Headers: { prototype: Headers; new (init?: HeadersInit): Headers };

/** What requests and responses have in common. A body is read once: after that, reading rejects with a TypeError. */
interface Body {
  /** A stream of the bytes; null when there is no body. */
  readonly body: ReadableStream<Uint8Array> | null;
  readonly bodyUsed: boolean;
  arrayBuffer(): Promise<ArrayBuffer>;
  bytes(): Promise<Uint8Array>;
  /** Rejects with a SyntaxError when it is no JSON. */
  json(): Promise<any>;
  /** As UTF-8. */
  text(): Promise<string>;
}

interface RequestInit {
  /** Default GET. CONNECT, TRACE and TRACK are a TypeError. */
  method?: string;
  headers?: HeadersInit;
  /** A TypeError with GET and HEAD. */
  body?: BodyInit | null;
  signal?: AbortSignal | null;
  /** Default "follow". With "manual" the answer is the redirect itself. */
  redirect?: "follow" | "error" | "manual";
  /** Taken for streams as bodies, without effect: bodies always stream. */
  duplex?: "half";
}

interface Request extends Body {
  readonly method: string;
  /** Absolute. */
  readonly url: string;
  readonly headers: Headers;
  readonly signal: AbortSignal;
  readonly redirect: "follow" | "error" | "manual";
  /** A second request with the same body; what one of them has read is kept until the other has. */
  clone(): Request;
}
declare var Request: { prototype: Request; new (input: string | URL | Request, init?: RequestInit): Request };

interface ResponseInit {
  /** 200 to 599, otherwise a RangeError. Default 200. */
  status?: number;
  /** HTTP/2 does not send it. */
  statusText?: string;
  headers?: HeadersInit;
}

interface Response extends Body {
  readonly status: number;
  readonly statusText: string;
  /** Status 200 to 299. */
  readonly ok: boolean;
  readonly headers: Headers;
  readonly type: "default" | "basic" | "error";
  /** Of the last redirect; empty when it does not come from `fetch`. */
  readonly url: string;
  readonly redirected: boolean;
  clone(): Response;
}
declare var Response: {
  prototype: Response;
  /** A body with status 204, 205 or 304 is a TypeError. */
  new (body?: BodyInit | null, init?: ResponseInit): Response;
  error(): Response;
  /** `data` as JSON, with its content type. */
  json(data: unknown, init?: ResponseInit): Response;
  /** @param status 301, 302, 303, 307 or 308; default 302 */
  redirect(url: string | URL, status?: number): Response;
};

/**
 * Sends a request, over http or https, with a connection pool of the gateway. An error status does not reject; a
 * network failure, a bad URL, another scheme and an address that the module's `net` permission does not cover reject with a
 * TypeError, an aborted signal with its reason. Counts as one of the module's `fetches`.
 */
declare function fetch(input: string | URL | Request, init?: RequestInit): Promise<Response>;

// ---- URLs ----

interface URL {
  hash: string;
  host: string;
  hostname: string;
  href: string;
  readonly origin: string;
  password: string;
  pathname: string;
  port: string;
  protocol: string;
  search: string;
  /** Changing it changes the URL. */
  readonly searchParams: URLSearchParams;
  username: string;
  toString(): string;
  toJSON(): string;
}
declare var URL: {
  prototype: URL;
  /** A TypeError when it cannot be parsed. */
  new (url: string | URL, base?: string | URL): URL;
  canParse(url: string | URL, base?: string | URL): boolean;
};

interface URLSearchParams {
  readonly size: number;
  append(name: string, value: string): void;
  delete(name: string, value?: string): void;
  get(name: string): string | null;
  getAll(name: string): string[];
  has(name: string, value?: string): boolean;
  set(name: string, value: string): void;
  sort(): void;
  toString(): string;
  forEach(callback: (value: string, name: string, params: URLSearchParams) => void, thisArg?: unknown): void;
  entries(): IterableIterator<[string, string]>;
  keys(): IterableIterator<string>;
  values(): IterableIterator<string>;
  [Symbol.iterator](): IterableIterator<[string, string]>;
}
declare var URLSearchParams: {
  prototype: URLSearchParams;
  new (init?: string | URLSearchParams | Record<string, string> | Iterable<readonly [string, string]>): URLSearchParams;
};

// ---- text ----

interface TextEncoder {
  readonly encoding: "utf-8";
  encode(input?: string): Uint8Array;
  encodeInto(source: string, destination: Uint8Array): { read: number; written: number };
}
declare var TextEncoder: { prototype: TextEncoder; new (): TextEncoder };

interface TextDecoder {
  readonly encoding: string;
  readonly fatal: boolean;
  readonly ignoreBOM: boolean;
  /** With `stream` an unfinished character waits for the next call. With `fatal` bad bytes are a TypeError. */
  decode(input?: BufferSource, options?: { stream?: boolean }): string;
}
declare var TextDecoder: {
  prototype: TextDecoder;
  /** @param label "utf-8"; one that is not known is a RangeError */
  new (label?: string, options?: { fatal?: boolean; ignoreBOM?: boolean }): TextDecoder;
};

/** Base64 to a string of bytes; an InvalidCharacterError when it is none. */
declare function atob(data: string): string;
/** A string of bytes to base64; an InvalidCharacterError for characters beyond U+00FF. */
declare function btoa(data: string): string;

// ---- events and aborting ----

interface EventInit {
  bubbles?: boolean;
  cancelable?: boolean;
}
interface Event {
  readonly type: string;
  readonly target: EventTarget | null;
  readonly currentTarget: EventTarget | null;
  readonly bubbles: boolean;
  readonly cancelable: boolean;
  readonly defaultPrevented: boolean;
  readonly timeStamp: number;
  preventDefault(): void;
  stopImmediatePropagation(): void;
  stopPropagation(): void;
}
declare var Event: { prototype: Event; new (type: string, init?: EventInit): Event };

type EventListenerOrObject = ((event: Event) => void) | { handleEvent(event: Event): void };
interface EventTarget {
  addEventListener(
    type: string,
    listener: EventListenerOrObject | null,
    options?: { once?: boolean; signal?: AbortSignal } | boolean,
  ): void;
  removeEventListener(
    type: string,
    listener: EventListenerOrObject | null,
    options?: { capture?: boolean } | boolean,
  ): void;
  dispatchEvent(event: Event): boolean;
}
declare var EventTarget: { prototype: EventTarget; new (): EventTarget };

interface AbortSignal extends EventTarget {
  readonly aborted: boolean;
  readonly reason: any;
  onabort: ((this: AbortSignal, event: Event) => void) | null;
  throwIfAborted(): void;
}
declare var AbortSignal: {
  prototype: AbortSignal;
  abort(reason?: unknown): AbortSignal;
  /** Aborts after so many milliseconds, with a TimeoutError. */
  timeout(milliseconds: number): AbortSignal;
  /** Aborts with the first of them. */
  any(signals: Iterable<AbortSignal>): AbortSignal;
};

interface AbortController {
  readonly signal: AbortSignal;
  /** Without a reason it is an AbortError. */
  abort(reason?: unknown): void;
}
declare var AbortController: { prototype: AbortController; new (): AbortController };

/** An error with a name of the web platform, such as "AbortError", "TimeoutError" or "DataCloneError". */
interface DOMException extends Error {
  readonly code: number;
}
declare var DOMException: { prototype: DOMException; new (message?: string, name?: string): DOMException };

// ---- time and tasks ----

/** Calls once after so many milliseconds, within the invocation's `wall` limit. What it throws is logged. */
declare function setTimeout<A extends unknown[]>(callback: (...args: A) => void, delay?: number, ...args: A): number;
declare function setInterval<A extends unknown[]>(callback: (...args: A) => void, delay?: number, ...args: A): number;
declare function clearTimeout(id: number | undefined): void;
declare function clearInterval(id: number | undefined): void;
declare function queueMicrotask(callback: () => void): void;

interface Performance {
  /** Milliseconds since `timeOrigin`; never goes back. */
  now(): number;
  readonly timeOrigin: number;
}
declare var performance: Performance;

/** A deep copy, with cycles, dates, maps, sets, buffers and errors. Functions and symbols are a DataCloneError. */
declare function structuredClone<T>(value: T, options?: { transfer?: ArrayBuffer[] }): T;

// ---- console ----

/** Writes to the module's log, with request id and module. Objects are written in full, up to a limit. */
interface Console {
  debug(...data: unknown[]): void;
  error(...data: unknown[]): void;
  info(...data: unknown[]): void;
  /** The same as `info`. */
  log(...data: unknown[]): void;
  warn(...data: unknown[]): void;
}
declare var console: Console;

// ---- crypto ----

type KeyFormat = "raw" | "pkcs8" | "spki" | "jwk";
type KeyUsage = "encrypt" | "decrypt" | "sign" | "verify";
// Names are open strings, so that `const algorithm = { name: "HMAC", … }` fits: a wrong one is a NotSupportedError.
type AlgorithmName = "HMAC" | "AES-GCM" | "RSASSA-PKCS1-v1_5" | "RSA-PSS" | "ECDSA" | "Ed25519" | (string & {});
type DigestName = "SHA-1" | "SHA-256" | "SHA-384" | "SHA-512" | (string & {});
type HashIdentifier = DigestName | { name: DigestName };

interface AesGcmParams {
  name: AlgorithmName;
  /** 12 bytes, never twice with one key. */
  iv: BufferSource;
  additionalData?: BufferSource;
  /** In bits. Default 128. */
  tagLength?: number;
}
/** For importKey. */
interface ImportParams {
  name: AlgorithmName;
  /** HMAC and RSA: what signatures are made with. */
  hash?: HashIdentifier;
  /** ECDSA: "P-256" or "P-384". */
  namedCurve?: string;
  /** HMAC: of the key, in bits. */
  length?: number;
}
/** For sign and verify. */
interface SignParams {
  name: AlgorithmName;
  /** ECDSA. */
  hash?: HashIdentifier;
  /** RSA-PSS: in bytes. */
  saltLength?: number;
}

interface JsonWebKey {
  kty?: string;
  alg?: string;
  use?: string;
  key_ops?: string[];
  ext?: boolean;
  crv?: string;
  x?: string;
  y?: string;
  d?: string;
  n?: string;
  e?: string;
  p?: string;
  q?: string;
  dp?: string;
  dq?: string;
  qi?: string;
  k?: string;
}

interface CryptoKey {
  readonly type: "secret" | "public" | "private";
  readonly extractable: boolean;
  readonly algorithm: { readonly name: string; readonly [parameter: string]: unknown };
  readonly usages: KeyUsage[];
}
declare var CryptoKey: { prototype: CryptoKey };
interface CryptoKeyPair {
  publicKey: CryptoKey;
  privateKey: CryptoKey;
}

/**
 * Rejects with NotSupportedError for an unknown algorithm, InvalidAccessError for a key that may not do this,
 * DataError for a bad key, OperationError when it fails, as a decryption of changed data does.
 */
interface SubtleCrypto {
  digest(algorithm: HashIdentifier, data: BufferSource): Promise<ArrayBuffer>;
  sign(algorithm: AlgorithmName | SignParams, key: CryptoKey, data: BufferSource): Promise<ArrayBuffer>;
  /** False for a signature that does not fit, whatever is wrong with it. In constant time. */
  verify(
    algorithm: AlgorithmName | SignParams,
    key: CryptoKey,
    signature: BufferSource,
    data: BufferSource,
  ): Promise<boolean>;
  encrypt(algorithm: AesGcmParams, key: CryptoKey, data: BufferSource): Promise<ArrayBuffer>;
  decrypt(algorithm: AesGcmParams, key: CryptoKey, data: BufferSource): Promise<ArrayBuffer>;
  importKey(
    format: "jwk",
    key: JsonWebKey,
    algorithm: AlgorithmName | ImportParams,
    extractable: boolean,
    usages: readonly KeyUsage[],
  ): Promise<CryptoKey>;
  importKey(
    format: Exclude<KeyFormat, "jwk">,
    key: BufferSource,
    algorithm: AlgorithmName | ImportParams,
    extractable: boolean,
    usages: readonly KeyUsage[],
  ): Promise<CryptoKey>;
  /** The key has to be extractable. */
  exportKey(format: "jwk", key: CryptoKey): Promise<JsonWebKey>;
  exportKey(format: Exclude<KeyFormat, "jwk">, key: CryptoKey): Promise<ArrayBuffer>;
  /** AES-GCM (128 or 256 bits), HMAC. */
  generateKey(
    algorithm: { name: AlgorithmName; length: number } | { name: AlgorithmName; hash: HashIdentifier },
    extractable: boolean,
    usages: readonly KeyUsage[],
  ): Promise<CryptoKey>;
  /** Ed25519, ECDSA. */
  generateKey(
    algorithm: "Ed25519" | { name: "Ed25519" } | { name: AlgorithmName; namedCurve: string },
    extractable: boolean,
    usages: readonly KeyUsage[],
  ): Promise<CryptoKeyPair>;
}
declare var SubtleCrypto: { prototype: SubtleCrypto };

interface Crypto {
  readonly subtle: SubtleCrypto;
  /** Fills an array of integers, up to 65536 bytes, above which it is a QuotaExceededError. */
  getRandomValues<T extends ArrayBufferView>(array: T): T;
  /** Version 4. */
  randomUUID(): `${string}-${string}-${string}-${string}-${string}`;
}
declare var Crypto: { prototype: Crypto };
declare var crypto: Crypto;

// ---- streams ----

interface QueuingStrategy<T> {
  highWaterMark?: number;
  size?: (chunk: T) => number;
}
interface StreamPipeOptions {
  preventAbort?: boolean;
  preventCancel?: boolean;
  preventClose?: boolean;
  signal?: AbortSignal;
}

interface ReadableStreamDefaultController<R> {
  readonly desiredSize: number | null;
  close(): void;
  enqueue(chunk: R): void;
  error(reason?: unknown): void;
}
interface UnderlyingSource<R> {
  start?(controller: ReadableStreamDefaultController<R>): void | Promise<void>;
  pull?(controller: ReadableStreamDefaultController<R>): void | Promise<void>;
  cancel?(reason?: unknown): void | Promise<void>;
}
type ReadableStreamReadResult<R> = { done: false; value: R } | { done: true; value: R | undefined };
interface ReadableStreamDefaultReader<R> {
  readonly closed: Promise<undefined>;
  cancel(reason?: unknown): Promise<void>;
  read(): Promise<ReadableStreamReadResult<R>>;
  releaseLock(): void;
}
interface ReadableStream<R = any> extends AsyncIterable<R> {
  readonly locked: boolean;
  cancel(reason?: unknown): Promise<void>;
  getReader(): ReadableStreamDefaultReader<R>;
  pipeThrough<T>(
    transform: { readable: ReadableStream<T>; writable: WritableStream<R> },
    options?: StreamPipeOptions,
  ): ReadableStream<T>;
  pipeTo(destination: WritableStream<R>, options?: StreamPipeOptions): Promise<void>;
  tee(): [ReadableStream<R>, ReadableStream<R>];
}
declare var ReadableStream: {
  prototype: ReadableStream;
  new <R = any>(source?: UnderlyingSource<R>, strategy?: QueuingStrategy<R>): ReadableStream<R>;
};

interface WritableStreamDefaultController {
  readonly signal: AbortSignal;
  error(reason?: unknown): void;
}
interface UnderlyingSink<W> {
  start?(controller: WritableStreamDefaultController): void | Promise<void>;
  write?(chunk: W, controller: WritableStreamDefaultController): void | Promise<void>;
  close?(): void | Promise<void>;
  abort?(reason?: unknown): void | Promise<void>;
}
interface WritableStreamDefaultWriter<W> {
  readonly closed: Promise<undefined>;
  readonly desiredSize: number | null;
  readonly ready: Promise<undefined>;
  abort(reason?: unknown): Promise<void>;
  close(): Promise<void>;
  releaseLock(): void;
  write(chunk: W): Promise<void>;
}
interface WritableStream<W = any> {
  readonly locked: boolean;
  abort(reason?: unknown): Promise<void>;
  close(): Promise<void>;
  getWriter(): WritableStreamDefaultWriter<W>;
}
declare var WritableStream: {
  prototype: WritableStream;
  new <W = any>(sink?: UnderlyingSink<W>, strategy?: QueuingStrategy<W>): WritableStream<W>;
};

interface TransformStreamDefaultController<O> {
  readonly desiredSize: number | null;
  enqueue(chunk: O): void;
  error(reason?: unknown): void;
  terminate(): void;
}
interface Transformer<I, O> {
  start?(controller: TransformStreamDefaultController<O>): void | Promise<void>;
  transform?(chunk: I, controller: TransformStreamDefaultController<O>): void | Promise<void>;
  flush?(controller: TransformStreamDefaultController<O>): void | Promise<void>;
}
interface TransformStream<I = any, O = any> {
  readonly readable: ReadableStream<O>;
  readonly writable: WritableStream<I>;
}
declare var TransformStream: {
  prototype: TransformStream;
  new <I = any, O = any>(
    transformer?: Transformer<I, O>,
    writable?: QueuingStrategy<I>,
    readable?: QueuingStrategy<O>,
  ): TransformStream<I, O>;
};

declare var CountQueuingStrategy: { new (init: { highWaterMark: number }): Required<QueuingStrategy<any>> };
declare var ByteLengthQueuingStrategy: {
  new (init: { highWaterMark: number }): Required<QueuingStrategy<ArrayBufferView>>;
};
