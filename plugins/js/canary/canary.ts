// Sends a share of the clients to a new version: the last URL of the service. A client stays where it is, by
// consumer or else by a cookie; testers choose by a header. A try that fails there goes to the old version.

import type { Context } from "dgate";

/** Of the clients, in percent. A change moves no client but those that it has to. */
const PERCENT = 10;
const COOKIE = "canary";
/** `always` or `never`, for testers. It says nothing secret, so everyone may send it. */
const HEADER = "x-canary";
const WEEK = 7 * 24 * 3600;

export function requestModifier(ctx: Context): void {
  // Who comes without an identity gets a random number, which the cookie keeps; `bucket` turns it into 0 to 99.
  const known = ctx.consumer?.name ?? cookie(ctx.request.headers.get("cookie") ?? "");
  const id = known ?? crypto.randomUUID();
  if (known === undefined) ctx.state.canaryId = id;

  const wish = ctx.request.headers.get(HEADER);
  ctx.state.canary = wish === "always" || (wish !== "never" && bucket(id) < PERCENT);
}

export function fetchUpstream(ctx: Context): string | undefined {
  const urls = ctx.service?.urls ?? [];
  if (urls.length < 2) return undefined;
  const [canary, ...stable] = urls.toReversed();
  if (ctx.state.canary && ctx.attempt === 0) return canary;
  return stable[(bucket(ctx.id) + ctx.attempt) % stable.length];
}

export function responseModifier(ctx: Context): void {
  const { headers } = ctx.response;
  const { canary, canaryId } = ctx.state;
  if (typeof canaryId === "string") {
    headers.append("set-cookie", `${COOKIE}=${canaryId}; Path=/; Max-Age=${WEEK}; HttpOnly; SameSite=Lax`);
    headers.append("vary", "Cookie"); // shared caches must not hand it to the next client
  }
  headers.set("x-version", canary ? "canary" : "stable");
}

/** The client's random number. What is no UUID was not made here and counts as none. */
function cookie(header: string): string | undefined {
  for (const pair of header.split(";")) {
    const [name, value] = pair.trim().split("=", 2);
    if (name === COOKIE && value !== undefined && /^[0-9a-f-]{36}$/.test(value)) return value;
  }
  return undefined;
}

/** 0 to 99, always the same for a text (FNV-1a). Exported for the tests. */
export function bucket(text: string): number {
  let h = 2166136261;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 16777619);
  return ((h ^ (h >>> 15)) >>> 0) % 100;
}
