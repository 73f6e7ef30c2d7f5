import {
  type GatewayOptions,
  type Upstream,
  beforeEach,
  describe,
  expect,
  gateway,
  mockFetch,
  test,
  upstream,
} from "dgate/test";

const utf8 = (text: string) => new TextEncoder().encode(text);
const base64url = (data: Uint8Array) =>
  btoa(String.fromCharCode(...data))
    .replace(/\+/g, "-")
    .replace(/\//g, "_")
    .replace(/=+$/, "");
const json = (value: unknown) => base64url(utf8(JSON.stringify(value)));

const SECRET = "a secret of at least 32 characters";
const good = {
  sub: "ann",
  iss: "https://login.example.com",
  aud: ["orders-api", "other"],
  exp: Date.now() / 1000 + 60,
};

async function sign(algorithm: SignParams, key: CryptoKey, header: object, claims: object): Promise<string> {
  const text = `${json(header)}.${json(claims)}`;
  return `${text}.${base64url(new Uint8Array(await crypto.subtle.sign(algorithm, key, utf8(text))))}`;
}

async function hs256(claims: object = good, secret = SECRET, header: object = { alg: "HS256" }): Promise<string> {
  const key = await crypto.subtle.importKey("raw", utf8(secret), { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  return sign({ name: "HMAC" }, key, header, claims);
}

let up: Upstream;
beforeEach(() => {
  up = upstream();
});

function ask(authorization: string | undefined, options: Partial<GatewayOptions> = {}): Promise<Response> {
  const gw = gateway({ modules: ["./jwt-check"], service: up, secrets: { "jwt-hs256": SECRET }, ...options });
  return gw.fetch("/", { headers: { "x-user": "root", ...(authorization !== undefined && { authorization }) } });
}

test("a good token goes through, with the user named and without the token", async () => {
  expect((await ask(`Bearer ${await hs256()}`)).status).toBe(200);
  expect(up.requests[0].headers.get("x-user")).toBe("ann");
  expect(up.requests[0].headers.has("authorization")).toBe(false);
});

describe("refuses", () => {
  const now = Date.now() / 1000;
  const cases: Record<string, () => string | undefined | Promise<string>> = {
    "no header": () => undefined,
    "another scheme": async () => `Basic ${await hs256()}`,
    "no token": () => "Bearer x",
    "what is not JSON": () => "Bearer a.b.c",
    "another key": async () => `Bearer ${await hs256(good, "another secret of 32 characters !!")}`,
    "the algorithm none": async () => `Bearer ${await hs256(good, SECRET, { alg: "none" })}`,
    "names of Object.prototype as algorithm": async () => `Bearer ${await hs256(good, SECRET, { alg: "constructor" })}`,
    "a changed payload": async () =>
      `Bearer ${(await hs256()).replace(/\.[\w-]+\./, `.${json({ ...good, sub: "root" })}.`)}`,
    "an expired one": async () => `Bearer ${await hs256({ ...good, exp: now - 60 })}`,
    "one that never expires": async () => `Bearer ${await hs256({ ...good, exp: undefined })}`,
    "one from the future": async () => `Bearer ${await hs256({ ...good, nbf: now + 60 })}`,
    "another issuer": async () => `Bearer ${await hs256({ ...good, iss: "https://evil.example" })}`,
    "one without a subject": async () => `Bearer ${await hs256({ ...good, sub: undefined })}`,
    "another audience": async () => `Bearer ${await hs256({ ...good, aud: "billing" })}`,
  };
  for (const [name, authorization] of Object.entries(cases)) {
    test(name, async () => {
      const answer = await ask(await authorization());
      expect(answer.status).toBe(401);
      expect(answer.headers.get("www-authenticate")).toMatch(/^Bearer/);
      expect(up.requests).toHaveLength(0);
    });
  }
});

describe("public keys", () => {
  const header = { alg: "ES256", kid: "k1" };
  const signature = { name: "ECDSA", hash: "SHA-256" };

  async function pair() {
    const { privateKey, publicKey } = await crypto.subtle.generateKey({ name: "ECDSA", namedCurve: "P-256" }, true, [
      "sign",
      "verify",
    ]);
    return { privateKey, jwk: { ...(await crypto.subtle.exportKey("jwk", publicKey)), kid: "k1", use: "sig" } };
  }

  test("verify ES256, and are asked for once", async () => {
    const { privateKey, jwk } = await pair();
    const issuer = mockFetch("https://login.example.com/.well-known/jwks.json", () => Response.json({ keys: [jwk] }));
    const gw = gateway({ modules: ["./jwt-check"], service: up });
    const headers = { authorization: `Bearer ${await sign(signature, privateKey, header, good)}` };
    for (let i = 0; i < 3; i++) expect((await gw.fetch("/", { headers })).status).toBe(200);
    expect(issuer.requests).toHaveLength(1);
  });

  test("refuse a token of another key", async () => {
    const [{ jwk }, { privateKey }] = await Promise.all([pair(), pair()]);
    mockFetch("https://login.example.com/*", () => Response.json({ keys: [jwk] }));
    expect((await ask(`Bearer ${await sign(signature, privateKey, header, good)}`)).status).toBe(401);
  });

  test("that can't be loaded let nothing through", async () => {
    const { privateKey } = await pair();
    mockFetch("https://login.example.com/*", () => new Response("sorry", { status: 503 }));
    expect((await ask(`Bearer ${await sign(signature, privateKey, header, good)}`)).status).toBe(500);
    expect(up.requests).toHaveLength(0);
  });
});

test("without its secret HS256 lets nothing through", async () => {
  expect((await ask(`Bearer ${await hs256()}`, { secrets: {} })).status).toBe(500);
  expect(up.requests).toHaveLength(0);
});
