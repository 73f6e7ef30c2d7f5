import { type Gateway, beforeEach, describe, expect, gateway, test } from "dgate/test";
import type { Link } from "./url-shortener";

let gw: Gateway;
beforeEach(() => {
  gw = gateway({ modules: ["./url-shortener"], path: ["/s", "/s/{id}"], collections: ["links"] });
});

const shorten = (body: unknown) => gw.fetch("/s", { method: "POST", body: JSON.stringify(body) });

describe("POST", () => {
  test("makes a link", async () => {
    const answer = await shorten({ url: "https://example.com/long?x=1" });
    expect(answer.status).toBe(201);
    const { id, short } = await answer.json();
    expect(id).toMatch(/^[\w-]{7}$/);
    expect(short).toBe(`http://localhost/s/${id}`);
  });

  test("gives the same link for the same URL", async () => {
    const [one, two] = await Promise.all([
      shorten({ url: "https://example.com/" }),
      shorten({ url: "https://EXAMPLE.com" }),
    ]);
    expect((await one.json()).id).toBe((await two.json()).id);
  });

  test("takes a longer id when the short one belongs to another URL", async () => {
    const { id } = await (await shorten({ url: "https://example.com/" })).json();
    await gw.collection<Link>("links").put(id, { url: "https://other.example/", hits: 0 });
    expect((await (await shorten({ url: "https://example.com/" })).json()).id).toHaveLength(8);
  });

  for (const body of [{}, { url: 5 }, { url: "/relative" }, { url: "javascript:alert(1)" }, null]) {
    test(`refuses ${JSON.stringify(body)}`, async () => {
      expect((await shorten(body)).status).toBe(400);
    });
  }
});

describe("GET", () => {
  test("redirects and counts", async () => {
    const { id } = await (await shorten({ url: "https://example.com/x" })).json();
    for (let i = 0; i < 2; i++) {
      const answer = await gw.fetch(`/s/${id}`);
      expect(answer.status).toBe(302);
      expect(answer.headers.get("location")).toBe("https://example.com/x");
      await gw.settled();
    }
    expect((await gw.collection<Link>("links").get(id))?.data.hits).toBe(2);
  });

  test("answers 404 for an unknown id", async () => {
    expect((await gw.fetch("/s/nothing")).status).toBe(404);
  });

  test("answers 405 for other methods", async () => {
    const answer = await gw.fetch("/s/nothing", { method: "DELETE" });
    expect(answer.status).toBe(405);
    expect(answer.headers.get("allow")).toBe("GET, HEAD");
  });
});
