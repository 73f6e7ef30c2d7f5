import { type Gateway, type Upstream, beforeEach, expect, gateway, mockFetch, test, upstream } from "dgate/test";
import { lookUp } from "./geo-headers";

let up: Upstream;
let gw: Gateway;
beforeEach(() => {
  up = upstream();
  gw = gateway({ modules: ["./geo-headers"], service: up });
});

/** The place that the upstream was told for a client. */
async function place(ip: string, headers: Record<string, string> = {}): Promise<(string | null)[]> {
  const answer = await gw.fetch("/", { client: { ip }, headers });
  expect(answer.status).toBe(200);
  const told = up.requests[up.requests.length - 1].headers;
  return [told.get("x-geo-country"), told.get("x-geo-city")];
}

test("networks of the table are known without the service", async () => {
  expect(await place("10.255.0.1")).toEqual(["CH", "Z%C3%BCrich"]);
  expect(lookUp("192.0.2.255")?.city).toBe("Bern");
  expect(lookUp("192.0.3.0")).toBeUndefined();
});

test("other clients are looked up once", async () => {
  const service = mockFetch("https://geo.example.com/v1/*", () => Response.json({ country: "JP", city: "Tokyo" }));
  for (let i = 0; i < 3; i++) expect(await place("203.0.113.9")).toEqual(["JP", "Tokyo"]);
  expect(service.requests.map((request) => request.url)).toEqual(["https://geo.example.com/v1/203.0.113.9"]);
});

test("IPv6 addresses are escaped in the URL", async () => {
  const service = mockFetch(/geo\.example\.com/, () => Response.json({ country: "DE" }));
  expect(await place("2001:db8::1")).toEqual(["DE", null]);
  expect(service.requests[0].url).toBe("https://geo.example.com/v1/2001%3Adb8%3A%3A1");
});

for (const [what, body] of [
  ["a broken answer", "{"],
  ["a country that is none", '{"country":"x\\r\\ny"}'],
  ["an error", undefined],
] as const) {
  test(`${what} of the service makes the place unknown`, async () => {
    mockFetch(
      "https://geo.example.com/*",
      () => new Response(body ?? "sorry", { status: body === undefined ? 503 : 200 }),
    );
    expect(await place("203.0.113.9")).toEqual(["ZZ", null]);
  });
}

test("a client does not choose its place", async () => {
  expect(await place("127.0.0.1", { "x-geo-country": "US", "x-geo-city": "Nowhere" })).toEqual(["ZZ", null]);
});
