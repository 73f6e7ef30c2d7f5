// Puts a line at the end of the <head> of every HTML page, while it streams: the page is never held as a
// whole, and its first bytes go out before its last ones have arrived. Everything else passes untouched.

import type { Context } from "dgate";

const INSERT = '<script src="/assets/consent.js" defer></script>';
/** Where there is no </head> in so many bytes there is none: the rest passes without a look. */
const SEARCH_LIMIT = 256 * 1024;

export function requestModifier(ctx: Context): void {
  // A compressed page cannot be changed. The plugin `compress` does it on the way out. A range of the
  // original would not fit the changed page.
  ctx.request.headers.set("accept-encoding", "identity");
  ctx.request.headers.delete("range");
}

export function responseModifier(ctx: Context): Response | void {
  const { body, headers, status, statusText } = ctx.response;
  const html = /^text\/html *(;|$)/i.test(headers.get("content-type") ?? "");
  if (!html || !body || status === 206 || headers.has("content-encoding")) return;

  // What describes the bytes is no longer true of them. Without a length the page is sent chunked.
  for (const name of ["content-length", "content-md5", "digest", "content-digest", "repr-digest", "accept-ranges"])
    headers.delete(name);
  const etag = headers.get("etag");
  if (etag && !etag.startsWith("W/")) headers.set("etag", `W/${etag}`);
  return new Response(body.pipeThrough(insertBefore("</head", INSERT)), { status, statusText, headers });
}

/**
 * Puts `text` before the first occurrence of `needle`, in any case. It works on bytes, so that the page may
 * have any encoding that extends ASCII; `needle` has to begin with "<".
 */
export function insertBefore(needle: string, text: string): TransformStream<Uint8Array, Uint8Array> {
  const small = bytes(needle.toLowerCase());
  const large = bytes(needle.toUpperCase());
  let kept = new Uint8Array(0); // the end of what came, when it might be the beginning of the needle
  let seen = 0;
  let done = false;

  /** Where the needle begins in `data`, or where what might become it does, or the end. */
  function find(data: Uint8Array): number {
    for (let at = data.indexOf(0x3c); at !== -1; at = data.indexOf(0x3c, at + 1)) {
      let i = 0;
      while (i < small.length && at + i < data.length && (data[at + i] === small[i] || data[at + i] === large[i])) i++;
      if (i === small.length || at + i === data.length) return at;
    }
    return data.length;
  }

  return new TransformStream<Uint8Array, Uint8Array>({
    transform(chunk, controller) {
      if (done) return controller.enqueue(chunk);
      const data = kept.length === 0 ? chunk : joined(kept, chunk);
      const at = find(data);
      if (data.length - at >= small.length) {
        done = true;
        controller.enqueue(joined(data.subarray(0, at), bytes(text), data.subarray(at)));
        return;
      }
      seen += chunk.length;
      done = seen > SEARCH_LIMIT;
      kept = done ? kept : data.slice(at);
      const ready = done ? data : data.subarray(0, at);
      if (ready.length > 0) controller.enqueue(ready);
    },
    flush(controller) {
      if (!done && kept.length > 0) controller.enqueue(kept);
    },
  });
}

function bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

function joined(...parts: Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
