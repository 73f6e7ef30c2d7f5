// The same client meets the same upstream, by rendezvous hashing: each URL gets a score from the client's
// address and itself, and the highest wins. When a URL is added or taken away, only its share of the
// clients moves. A retry goes to the client's second choice.

import type { Context } from "dgate";

export function fetchUpstream(ctx: Context): string | undefined {
  const { ip } = ctx.client;
  const urls = ctx.service?.urls ?? [];
  if (ip === null || urls.length === 0) return undefined; // the balancer of the service decides

  const ranked = urls.map((url) => ({ url, score: hash(`${ip}|${url}`) })).sort((a, b) => b.score - a.score);
  return ranked[ctx.attempt % ranked.length].url;
}

/** FNV-1a with a final mix, without which URLs that differ in the last character would rank alike. */
function hash(text: string): number {
  let h = 2166136261;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 16777619);
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}
