// One answer out of several: asks three services at once and merges what they say. A part that fails or is
// late is left out and named under `errors`; only when nothing came is the whole a 502.

import { type Context, retry } from "dgate";

/** Part of the answer → where it comes from. `{id}` is the path parameter. */
const SOURCES: Record<string, string> = {
  user: "http://users.internal:8080/users/{id}",
  orders: "http://orders.internal:8080/orders?user={id}",
  recommended: "http://recommender.internal:8080/for/{id}",
};

/** For one part, all its tries together. The slowest part decides how long a client waits. */
const TIMEOUT_MS = 800;

/** What the services need to know of the request. Everything else stays here. */
const PASSED_ON = ["authorization", "accept-language", "traceparent"];

export async function requestHandler(ctx: Context): Promise<Response> {
  const headers = new Headers({ accept: "application/json", "x-request-id": ctx.id });
  for (const name of PASSED_ON) {
    const value = ctx.request.headers.get(name);
    if (value !== null) headers.set(name, value);
  }

  const names = Object.keys(SOURCES);
  const parts = await Promise.allSettled(names.map((name) => load(SOURCES[name], ctx.params.id, headers)));

  const data: Record<string, unknown> = {};
  const errors: string[] = [];
  parts.forEach((part, i) => {
    if (part.status === "fulfilled") {
      data[names[i]] = part.value;
    } else {
      errors.push(names[i]);
      console.warn(`${names[i]} is missing:`, part.reason); // the reason is for us, not for the client
    }
  });
  return Response.json({ data, errors }, { status: errors.length === names.length ? 502 : 200 });
}

async function load(template: string, id: string, headers: Headers): Promise<unknown> {
  const url = template.replace("{id}", encodeURIComponent(id));
  const signal = AbortSignal.timeout(TIMEOUT_MS);
  return retry(2, async () => {
    signal.throwIfAborted();
    const answer = await fetch(url, { headers, signal });
    if (!answer.ok) throw new Error(`${url} answered ${answer.status}`);
    return answer.json();
  });
}
