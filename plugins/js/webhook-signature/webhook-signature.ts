// Lets webhooks through only with a valid signature: HMAC-SHA-256 over "<timestamp>.<body>", in the form that
// Stripe, Slack and others use with their own names. The upstream can rely on what it gets.
//
//   Webhook-Signature: t=1700000000,v1=5257a869…

import type { Context } from "dgate";
import { createHmac, timingSafeEqual } from "dgate/crypto";
import * as secrets from "dgate/secrets";

/** Each secret that a sender may sign with at present: two while a key is being changed. */
const SECRETS = ["webhook-secret"];
/** How old a signature may be, or how far ahead, in seconds. It bounds replays; keep it small. */
const TOLERANCE = 300;

export async function requestModifier(ctx: Context): Promise<Response | void> {
  const signature = parse(ctx.request.headers.get("webhook-signature") ?? "");
  if (!signature) return refused(ctx, "no signature, or not in its form");
  if (Math.abs(Date.now() / 1000 - signature.time) > TOLERANCE) return refused(ctx, "too old, or from the future");

  // The signature is over the bytes as they came: JSON that was parsed and written anew need not be the same.
  // The route's max_body bounds what is read here; the upstream gets it all the same.
  const body = new Uint8Array(await ctx.request.arrayBuffer());
  for (const name of SECRETS) {
    const expected = createHmac("sha256", await secrets.get(name))
      .update(`${signature.time}.`)
      .update(body)
      .digest();
    if (signature.values.some((value) => value.length === expected.length && timingSafeEqual(value, expected))) return;
  }
  return refused(ctx, "no secret fits");
}

interface Signature {
  time: number;
  values: Uint8Array[];
}

/** `t=…,v1=…`, with a `v1` for each secret the sender has. Elements of other versions are passed over. */
function parse(header: string): Signature | undefined {
  let time: number | undefined;
  const values: Uint8Array[] = [];
  for (const element of header.split(",")) {
    const [, name, value] = /^ *(\w+)=([\w.-]+) *$/.exec(element) ?? [];
    if (name === "t" && /^\d{1,12}$/.test(value)) time = Number(value);
    if (name === "v1" && /^[0-9a-f]{64}$/i.test(value))
      values.push(Uint8Array.from(value.match(/../g) ?? [], (pair) => parseInt(pair, 16)));
  }
  // The number goes into the signed text as it is written: a leading zero would be lost, and must not match.
  return time !== undefined && values.length > 0 ? { time, values } : undefined;
}

/** The reason is for the log: it would help only someone who tries. */
function refused(ctx: Context, reason: string): Response {
  console.warn(`webhook of ${ctx.client.ip} refused: ${reason}`);
  return Response.json({ status: 401, detail: "the signature is missing or wrong" }, { status: 401 });
}
