// Lets a request through only with a valid JSON Web Token (RFC 7519): RS256 or ES256 by the issuer's public
// keys, HS256 by a shared secret. The upstream gets the subject as `X-User` and never the token.

import type { Context } from "dgate";
import * as cache from "dgate/cache";
import * as secrets from "dgate/secrets";

const ISSUER = "https://login.example.com";
const AUDIENCE = "orders-api";
const JWKS_URL = `${ISSUER}/.well-known/jwks.json`;
/** The secret with the HS256 key, or null to take none. */
const HS256_SECRET: string | null = "jwt-hs256";
/** How far the clocks of issuer and gateway may be apart, in seconds. */
const LEEWAY = 30;

interface Claims {
  sub: string;
  iss?: string;
  aud?: string | string[];
  exp?: number;
  nbf?: number;
}
type PublicKey = JsonWebKey & { kid?: string };

// Import and verification parameters by `alg`. What is not here, `none` above all, is refused.
const ALGORITHMS = {
  HS256: { name: "HMAC", hash: "SHA-256" },
  RS256: { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" },
  ES256: { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" },
} as const;

/** Why a token is refused. The client is told that it was, the log why. */
class Refused extends Error {}

export async function requestModifier(ctx: Context): Promise<Response | void> {
  const { headers } = ctx.request;
  headers.delete("x-user"); // only we say who it is
  const token = /^Bearer +([\w-]+\.[\w-]+\.[\w-]+)$/i.exec(headers.get("authorization") ?? "")?.[1];
  if (!token) return unauthorized();
  try {
    const claims = await verify(token);
    headers.delete("authorization");
    headers.set("x-user", encodeURIComponent(claims.sub));
    ctx.state.claims = claims;
  } catch (error) {
    // Anything else, such as keys that can't be loaded, is no fault of the client: it becomes a 500, and the
    // request does not go through either.
    if (!(error instanceof Refused)) throw error;
    console.info(`token refused: ${error.message}`);
    return unauthorized('error="invalid_token"');
  }
}

async function verify(token: string): Promise<Claims> {
  const [head, payload, signature] = token.split(".");
  const { alg, kid } = decode<{ alg?: string; kid?: string }>(head);
  const algorithm =
    alg !== undefined && Object.hasOwn(ALGORITHMS, alg) ? ALGORITHMS[alg as keyof typeof ALGORITHMS] : undefined;
  if (!algorithm) throw new Refused(`algorithm ${alg}`);

  const key = algorithm.name === "HMAC" ? await sharedKey() : await publicKey(algorithm, alg, kid);
  const signed = new TextEncoder().encode(`${head}.${payload}`);
  if (!(await crypto.subtle.verify(algorithm, key, bytes(signature), signed))) throw new Refused("signature");

  const claims = decode<Partial<Claims>>(payload);
  const now = Date.now() / 1000;
  if (typeof claims.exp !== "number" || claims.exp + LEEWAY <= now) throw new Refused("expired");
  if (claims.nbf !== undefined && !(claims.nbf - LEEWAY <= now)) throw new Refused("not yet valid");
  if (claims.iss !== ISSUER) throw new Refused("issuer");
  if (![claims.aud].flat().includes(AUDIENCE)) throw new Refused("audience");
  if (typeof claims.sub !== "string" || claims.sub === "") throw new Refused("no subject");
  return { ...claims, sub: claims.sub };
}

async function sharedKey(): Promise<CryptoKey> {
  if (HS256_SECRET === null) throw new Refused("HS256 is off");
  const secret = new TextEncoder().encode(await secrets.get(HS256_SECRET));
  return crypto.subtle.importKey("raw", secret, ALGORITHMS.HS256, false, ["verify"]);
}

async function publicKey(
  algorithm: (typeof ALGORITHMS)["RS256" | "ES256"],
  alg?: string,
  kid?: string,
): Promise<CryptoKey> {
  // The key's own type decides, not the token: an RSA key never verifies HMAC, whatever `alg` says.
  const kty = algorithm.name === "ECDSA" ? "EC" : "RSA";
  const fits = (key: PublicKey) =>
    key.kid === kid && key.kty === kty && (key.alg ?? alg) === alg && (key.use ?? "sig") === "sig";
  const jwk = (await jwks()).find(fits);
  if (!jwk) throw new Refused(`no ${kty} key ${kid}`);
  return crypto.subtle.importKey("jwk", jwk, algorithm, false, ["verify"]);
}

/** The issuer's keys, kept for ten minutes. */
async function jwks(): Promise<PublicKey[]> {
  const kept = await cache.get<PublicKey[]>(JWKS_URL);
  if (kept) return kept;
  const answer = await fetch(JWKS_URL, { signal: AbortSignal.timeout(2000), redirect: "error" });
  if (!answer.ok) throw new Error(`${JWKS_URL} answered ${answer.status}`);
  const { keys } = (await answer.json()) as { keys: PublicKey[] };
  await cache.set(JWKS_URL, keys, { ttl: "10m" });
  return keys;
}

function bytes(base64url: string): Uint8Array {
  try {
    return Uint8Array.from(atob(base64url.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
  } catch {
    throw new Refused("not base64url");
  }
}

function decode<T extends object>(part: string): T {
  try {
    const value: unknown = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes(part)));
    if (typeof value === "object" && value !== null) return value as T;
  } catch {
    // below
  }
  throw new Refused("not a JSON object");
}

function unauthorized(error?: string): Response {
  const challenge = error ? `Bearer ${error}` : "Bearer";
  return Response.json(
    { status: 401, detail: "a valid token is needed" },
    { status: 401, headers: { "www-authenticate": challenge } },
  );
}
