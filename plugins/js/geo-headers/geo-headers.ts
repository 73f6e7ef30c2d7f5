// Tells the upstream where a client is: `X-Geo-Country` and `X-Geo-City`, from a table of our own networks or
// else from a geo service, whose answers are kept. A request never waits long and never fails for it.

import type { Context } from "dgate";
import * as cache from "dgate/cache";

interface Place {
  country: string;
  city?: string;
}

const SERVICE = "https://geo.example.com/v1/";
const TIMEOUT_MS = 150;
const UNKNOWN: Place = { country: "ZZ" }; // "unknown" in ISO 3166-1's range for users

/** Asked before the service: our offices and whatever it does not know. */
const NETWORKS: readonly (readonly [cidr: string, place: Place])[] = [
  ["10.0.0.0/8", { country: "CH", city: "Zürich" }],
  ["192.0.2.0/24", { country: "CH", city: "Bern" }],
  ["127.0.0.0/8", UNKNOWN],
];
const table = NETWORKS.map(([cidr, place]) => ({ ...parse(cidr), place }));

export async function requestModifier(ctx: Context): Promise<void> {
  const { headers } = ctx.request;
  // Whatever happens below, a client must not choose its place.
  headers.delete("x-geo-country");
  headers.delete("x-geo-city");
  const place = ctx.client.ip === null ? UNKNOWN : await locate(ctx.client.ip);
  headers.set("x-geo-country", place.country);
  if (place.city) headers.set("x-geo-city", encodeURIComponent(place.city)); // header values are Latin-1
}

async function locate(ip: string): Promise<Place> {
  const known = lookUp(ip);
  if (known) return known;

  const key = `geo:${ip}`;
  const kept = await cache.get<Place>(key);
  if (kept) return kept;
  try {
    const answer = await fetch(SERVICE + encodeURIComponent(ip), { signal: AbortSignal.timeout(TIMEOUT_MS) });
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    const place = checked(await answer.json());
    await cache.set(key, place, { ttl: "6h" });
    return place;
  } catch (error) {
    console.warn("geo service:", error);
    await cache.set(key, UNKNOWN, { ttl: "30s" }); // a service that is down is not asked for each request
    return UNKNOWN;
  }
}

/** The answer is another system's: only what has the right form becomes a header. */
function checked(answer: { country?: unknown; city?: unknown }): Place {
  const { country, city } = answer;
  if (typeof country !== "string" || !/^[A-Z]{2}$/.test(country)) throw new Error("an answer without a country");
  return typeof city === "string" && city.length <= 100 ? { country, city } : { country };
}

/** Exported for the tests. */
export function lookUp(ip: string): Place | undefined {
  const address = number(ip);
  if (address === undefined) return undefined; // IPv6: the service knows
  return table.find(({ base, size }) => address >= base && address < base + size)?.place;
}

function parse(cidr: string): { base: number; size: number } {
  const [ip, bits] = cidr.split("/");
  const base = number(ip);
  const size = 2 ** (32 - Number(bits));
  if (base === undefined || !Number.isInteger(size) || base % size !== 0) throw new Error(`not a network: ${cidr}`);
  return { base, size };
}

function number(ip: string): number | undefined {
  if (!/^\d{1,3}(\.\d{1,3}){3}$/.test(ip)) return undefined;
  return ip.split(".").reduce((n, part) => n * 256 + Number(part), 0);
}
