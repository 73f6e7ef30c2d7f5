import { describe, expect, gateway, test, upstream } from "dgate/test";
import { insertBefore } from "./html-rewrite";

const SCRIPT = '<script src="/assets/consent.js" defer></script>';
const PAGE = "<html><head><title>é</title></head><body>hi</body></html>";
const CHANGED = PAGE.replace("</head>", `${SCRIPT}</head>`);

/** What a client gets when the upstream answers this. */
function through(body: string | null, init: ResponseInit, request?: RequestInit): Promise<Response> {
  const up = upstream(() => new Response(body, init));
  return gateway({ modules: ["./html-rewrite"], service: up }).fetch("/", request);
}

test("a page gets the script, and no stale length", async () => {
  const headers = {
    "content-type": "text/html; charset=utf-8",
    etag: '"1"',
    "content-length": String(new TextEncoder().encode(PAGE).length),
  };
  const answer = await through(PAGE, { headers });
  expect(await answer.text()).toBe(CHANGED);
  expect(answer.headers.get("etag")).toBe('W/"1"');
  expect(Number(answer.headers.get("content-length") ?? 0)).not.toBe(Number(headers["content-length"]));
});

for (const [what, body, init] of [
  ["JSON", '{"html":"</head>"}', { headers: { "content-type": "application/json" } }],
  ["a compressed page", "</head>", { headers: { "content-type": "text/html", "content-encoding": "x-test" } }],
  ["a page without a head", "<p>hi</p>", { headers: { "content-type": "text/html" } }],
] as const) {
  test(`${what} passes untouched`, async () => {
    expect(await (await through(body, init)).text()).toBe(body);
  });
}

test("an answer without body passes", async () => {
  const answer = await through(null, { status: 304, headers: { "content-type": "text/html" } });
  expect(answer.status).toBe(304);
});

test("the upstream is asked for the plain whole", async () => {
  const up = upstream();
  await gateway({ modules: ["./html-rewrite"], service: up }).fetch("/", {
    headers: { "accept-encoding": "gzip", range: "bytes=0-9" },
  });
  expect(up.requests[0].headers.get("accept-encoding")).toBe("identity");
  expect(up.requests[0].headers.get("range")).toBeNull();
});

describe("insertBefore", () => {
  /** The text in chunks of a size, after the insertion. */
  async function inserted(text: string, size: number): Promise<string> {
    const data = new TextEncoder().encode(text);
    const source = new ReadableStream<Uint8Array>({
      start(controller) {
        for (let at = 0; at < data.length; at += size) controller.enqueue(data.slice(at, at + size));
        controller.close();
      },
    });
    return new Response(source.pipeThrough(insertBefore("</head", SCRIPT))).text();
  }

  test("finds the place wherever chunks begin and end", async () => {
    for (let size = 1; size <= PAGE.length; size++) expect(await inserted(PAGE, size)).toBe(CHANGED);
  });

  test("does so in any case, once", async () => {
    expect(await inserted("<</HEAD ></head>", 3)).toBe(`<${SCRIPT}</HEAD ></head>`);
  });

  test("loses nothing of a text that only begins like it", async () => {
    for (const text of ["</hea", "<<<</", "</he</hea<", ""]) expect(await inserted(text, 2)).toBe(text);
  });
});
