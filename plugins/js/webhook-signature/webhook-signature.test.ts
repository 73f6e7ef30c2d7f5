import { createHmac } from "dgate/crypto";
import { type Upstream, beforeEach, describe, expect, gateway, test, upstream } from "dgate/test";

const SECRET = "whsec_test";
const BODY = '{ "amount": 100,  "note": "ü" }';
const now = () => Math.floor(Date.now() / 1000);

function sign(body: string | Uint8Array, time: number | string = now(), secret = SECRET): string {
  return `t=${time},v1=${createHmac("sha256", secret).update(`${time}.`).update(body).digest("hex")}`;
}

let up: Upstream;
beforeEach(() => {
  up = upstream();
});

function send(
  signature: string | undefined,
  body: string | Uint8Array = BODY,
  secrets: Record<string, string> = { "webhook-secret": SECRET },
) {
  const gw = gateway({ modules: ["./webhook-signature"], service: up, secrets });
  return gw.fetch("/hook", {
    method: "POST",
    body,
    headers: signature === undefined ? {} : { "webhook-signature": signature },
  });
}

test("a signed webhook reaches the upstream byte for byte", async () => {
  expect((await send(sign(BODY))).status).toBe(200);
  expect(await up.requests[0].text()).toBe(BODY);
});

test("bodies that are no text are signed as bytes", async () => {
  const body = Uint8Array.from({ length: 256 }, (_, i) => i);
  expect((await send(sign(body), body)).status).toBe(200);
  expect(new Uint8Array(await up.requests[0].arrayBuffer())).toEqual(body);
});

test("one good signature of several is enough", async () => {
  expect((await send(`${sign(BODY, now(), "old key")},${sign(BODY).split(",")[1]},v0=whatever`)).status).toBe(200);
});

describe("refuses", () => {
  const cases: Record<string, string | undefined> = {
    "no signature": undefined,
    "an empty one": "",
    "one without a time": sign(BODY).split(",")[1],
    "one without a value": `t=${now()}`,
    "one of another body": sign(`${BODY} `),
    "one of another key": sign(BODY, now(), "another"),
    "one that is too old": sign(BODY, now() - 600),
    "one from the future": sign(BODY, now() + 600),
    "a time that was changed": sign(BODY).replace(/t=\d+/, `t=${now() - 1}`),
    "a time that is no number": sign(BODY, "NaN"),
    "a value that is cut short": sign(BODY).slice(0, -2),
  };
  for (const [name, signature] of Object.entries(cases)) {
    test(name, async () => {
      expect((await send(signature)).status).toBe(401);
      expect(up.requests).toHaveLength(0);
    });
  }
});

test("without its secret it lets nothing through", async () => {
  expect((await send(sign(BODY), BODY, {})).status).toBe(500);
  expect(up.requests).toHaveLength(0);
});
