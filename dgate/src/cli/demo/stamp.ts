// On the way in and on the way out of the route to the echo upstream.
import type { Context } from "dgate";

export function requestModifier(ctx: Context) {
  ctx.state.begun = performance.now();
  ctx.request.headers.set("x-demo-module", ctx.module.name);
}

export function responseModifier(ctx: Context) {
  const begun = ctx.state.begun as number;
  ctx.response.headers.set("x-demo-ms", (performance.now() - begun).toFixed(1));
}
