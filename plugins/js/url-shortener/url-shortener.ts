// Short links: POST {"url": "https://…"} makes one, GET /s/{id} follows it and counts.
// Links are documents of the collection `links`, which are in memory for now; later durable, and visible to the Admin API.

import type { Context } from "dgate";
import { createHash } from "dgate/crypto";
import { type Document, type StateError, collection } from "dgate/state";

/** A document of `links`. */
export interface Link {
  url: string;
  hits: number;
}

const links = collection<Link>("links");

export async function requestHandler(ctx: Context): Promise<Response> {
  if (ctx.params.id === undefined) {
    return ctx.request.method === "POST" ? shorten(ctx) : problem(405, "send a POST", { allow: "POST" });
  }
  if (ctx.request.method !== "GET" && ctx.request.method !== "HEAD")
    return problem(405, "send a GET", { allow: "GET, HEAD" });
  return follow(ctx, ctx.params.id);
}

async function shorten(ctx: Context): Promise<Response> {
  const url = target(await ctx.request.text());
  if (!url) return problem(400, "the body has to be JSON with an absolute http or https `url`");

  // The id is the hash of the URL, so that asking twice gives one link. If another URL has taken a short
  // one, the next length is tried. `if_version: 0` lets two requests at once not overwrite each other.
  const hash = createHash("sha256").update(url).digest("base64url");
  for (let length = 7; length <= hash.length; length++) {
    const id = hash.slice(0, length);
    const taken: Document<Link> = (await links.get(id)) ?? (await create(id, url));
    if (taken.data.url === url)
      return Response.json({ id, url, short: `${ctx.url.origin}${ctx.url.pathname}/${id}` }, { status: 201 });
  }
  throw new Error("two URLs have the same SHA-256");
}

async function create(id: string, url: string): Promise<Document<Link>> {
  try {
    return await links.put(id, { url, hits: 0 }, { if_version: 0 });
  } catch (error) {
    const other = (error as StateError).code === "conflict" ? await links.get(id) : null;
    if (!other) throw error;
    return other;
  }
}

async function follow(ctx: Context, id: string): Promise<Response> {
  const link = await links.get(id);
  if (!link) return problem(404, "no such link");
  if (ctx.request.method === "GET") ctx.waitUntil(count(id)); // nobody waits for the counter
  return new Response(null, { status: 302, headers: { location: link.data.url, "cache-control": "no-store" } });
}

/** Adds a hit. When others write at the same time it reads anew; a few lost hits do no harm, so it gives up. */
async function count(id: string): Promise<void> {
  for (let attempt = 0; attempt < 5; attempt++) {
    const link = await links.get(id);
    if (!link) return;
    try {
      await links.put(id, { ...link.data, hits: link.data.hits + 1 }, { if_version: link.version });
      return;
    } catch (error) {
      if ((error as StateError).code !== "conflict") throw error;
    }
  }
}

/** The normalised URL of a request body; nothing if it is none, or of a scheme such as `javascript:`. */
function target(body: string): string | undefined {
  try {
    const { url } = JSON.parse(body) as { url?: unknown };
    if (typeof url !== "string") return undefined;
    const parsed = new URL(url);
    return ["http:", "https:"].includes(parsed.protocol) ? parsed.href : undefined;
  } catch {
    return undefined;
  }
}

function problem(status: number, detail: string, headers: Record<string, string> = {}): Response {
  return Response.json(
    { status, detail },
    { status, headers: { ...headers, "content-type": "application/problem+json" } },
  );
}
