// Answers by itself: the route needs no service.
import type { Context } from "dgate";

export function requestHandler(ctx: Context) {
  const name = ctx.params.name;
  return { message: `hello ${name}`, path: ctx.url.pathname, id: ctx.id };
}
