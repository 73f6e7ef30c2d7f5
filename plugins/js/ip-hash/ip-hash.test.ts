import { expect, gateway, test, upstream } from "dgate/test";

const clients = Array.from({ length: 60 }, (_, i) => `198.51.100.${i}`);

test("a client stays with its upstream, and all upstreams are used", async () => {
  const [a, b, c] = ["a", "b", "c"].map((name) => upstream(() => new Response(name)));
  const gw = gateway({ modules: ["./ip-hash"], service: [a, b, c] });
  const ask = async (ip: string) => (await gw.fetch("/", { client: { ip } })).text();
  for (const ip of clients) expect(await ask(ip)).toBe(await ask(ip));
  for (const up of [a, b, c]) expect(up.requests.length).toBeGreaterThan(10);
});

test("a retry goes to the second choice", async () => {
  const up = upstream(() => new Response("alive"));
  const gw = gateway({ modules: ["./ip-hash"], service: [upstream.down(), up] });
  for (const ip of clients.slice(0, 12)) expect((await gw.fetch("/", { client: { ip } })).status).toBe(200);
  expect(up.requests).toHaveLength(12);
});
