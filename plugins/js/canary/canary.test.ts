import { type Gateway, type Upstream, beforeEach, expect, gateway, test, upstream } from "dgate/test";
import { bucket } from "./canary";

let stable: Upstream;
let canary: Upstream;
let gw: Gateway;
beforeEach(() => {
  stable = upstream(() => new Response("stable"));
  canary = upstream(() => new Response("canary"));
  gw = gateway({ modules: ["./canary"], service: [stable, canary] });
});

test("about the share of new clients meets the canary, and each stays", async () => {
  let met = 0;
  for (let i = 0; i < 200; i++) {
    const first = await gw.fetch("/");
    const version = await first.text();
    if (version === "canary") met++;
    const cookie = first.headers.getSetCookie()[0].split(";")[0];
    const second = await gw.fetch("/", { headers: { cookie: `a=b; ${cookie}` } });
    expect(await second.text()).toBe(version);
    expect(second.headers.getSetCookie()).toEqual([]);
  }
  expect(met).toBeGreaterThan(3);
  expect(met).toBeLessThan(50);
});

test("the share of buckets is even", () => {
  const counts = new Array<number>(100).fill(0);
  for (let i = 0; i < 20_000; i++) counts[bucket(`client ${i}`)]++;
  expect(Math.min(...counts)).toBeGreaterThan(120);
  expect(Math.max(...counts)).toBeLessThan(280);
});

test("a consumer is known without a cookie", async () => {
  const name = Array.from({ length: 500 }, (_, i) => `consumer-${i}`).find((name) => bucket(name) < 10)!;
  const known = gateway({ modules: ["./canary"], service: [stable, canary], consumer: { name } });
  const answer = await known.fetch("/");
  expect(await answer.text()).toBe("canary");
  expect(answer.headers.getSetCookie()).toEqual([]);
});

test("testers choose by a header", async () => {
  for (const [wish, version] of [
    ["always", "canary"],
    ["never", "stable"],
  ]) {
    const answer = await gw.fetch("/", { headers: { "x-canary": wish } });
    expect(await answer.text()).toBe(version);
    expect(answer.headers.get("x-version")).toBe(version);
  }
});

test("a canary that is down costs nobody a request", async () => {
  const broken = gateway({ modules: ["./canary"], service: [stable, upstream.down()] });
  const answer = await broken.fetch("/", { headers: { "x-canary": "always" } });
  expect(answer.status).toBe(200);
  expect(await answer.text()).toBe("stable");
});

test("a cookie that is not ours counts as none", async () => {
  const answer = await gw.fetch("/", { headers: { cookie: "canary=<script>" } });
  expect(answer.headers.getSetCookie()).toHaveLength(1);
});
