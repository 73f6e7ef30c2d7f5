import { beforeEach, expect, gateway, mockFetch, test } from "dgate/test";

const gw = gateway({ modules: ["./merge-responses"], path: "/profile/{id}" });

beforeEach(() => {
  mockFetch("http://users.internal:8080/*", () => Response.json({ name: "Ann" }));
  mockFetch("http://orders.internal:8080/*", () => Response.json([1, 2]));
  mockFetch("http://recommender.internal:8080/*", () => Response.json(["tea"]));
});

test("merges the three answers", async () => {
  const answer = await gw.fetch("/profile/7");
  expect(answer.status).toBe(200);
  expect(await answer.json()).toEqual({
    data: { user: { name: "Ann" }, orders: [1, 2], recommended: ["tea"] },
    errors: [],
  });
});

test("leaves out a part that fails, after a second try", async () => {
  const broken = mockFetch("http://recommender.internal:8080/*", () => new Response("sorry", { status: 500 }));
  const answer = await gw.fetch("/profile/7");
  expect(answer.status).toBe(200);
  expect(await answer.json()).toMatchObject({ data: { user: { name: "Ann" } }, errors: ["recommended"] });
  expect(broken.requests).toHaveLength(2);
});

test("does not wait for a part that is late", async () => {
  mockFetch(
    "http://orders.internal:8080/*",
    () => new Promise<Response>((resolve) => setTimeout(() => resolve(Response.json([])), 3000)),
  );
  const begun = performance.now();
  expect((await (await gw.fetch("/profile/7")).json()).errors).toEqual(["orders"]);
  expect(performance.now() - begun).toBeLessThan(2500);
});

test("answers 502 when nothing came, without the reason", async () => {
  mockFetch(/internal/, () => {
    throw new Error("connection refused at 10.0.0.7");
  });
  const answer = await gw.fetch("/profile/7");
  expect(answer.status).toBe(502);
  expect(await answer.text()).not.toMatch("10.0.0.7");
});

test("passes on who asks, and nothing else", async () => {
  const users = mockFetch("http://users.internal:8080/*", () => Response.json({}));
  await gw.fetch("/profile/a%2Fb", { headers: { authorization: "Bearer t", cookie: "secret=1" } });
  const [request] = users.requests;
  expect(request.url).toBe("http://users.internal:8080/users/a%2Fb");
  expect(request.headers.get("authorization")).toBe("Bearer t");
  expect(request.headers.get("cookie")).toBeNull();
});
