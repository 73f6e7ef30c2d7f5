// What the plugin of main.rs and this module tell each other is in `ctx.state`.

interface Order {
  id: string;
  customer: string;
}

export async function requestModifier(ctx) {
  const customer = ctx.request.headers.get("x-customer");
  if (!customer) return Response.json({ error: "who are you?" }, { status: 401 });
  const order: Order = { id: ctx.params.id ?? "?", customer: customer.toLowerCase() };
  ctx.state.order = order;
  ctx.request.headers.set("x-order", JSON.stringify(order));
}

export async function responseModifier(ctx) {
  const upstream = await ctx.response.text();
  const headers = new Headers(ctx.response.headers);
  headers.delete("content-type");
  return Response.json({ order: ctx.state.order, plan: ctx.state.plan, upstream }, { headers });
}

export function errorHandler(ctx, error) {
  return Response.json({ sorry: error.code, id: ctx.id }, { status: error.status });
}
