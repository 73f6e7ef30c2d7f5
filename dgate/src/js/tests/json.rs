//! JSON that goes through Rust is what `JSON.stringify` and `JSON.parse` would make of it.

use super::{answer, compiled, module};

/// Each of `values` must give the same by `Response.json` as by `JSON.stringify`, each of `texts` the same by
/// `json()` as by `JSON.parse`. What throws must throw the same class. Answers with what differs.
const SAME: &str = r#"
    const keys = [];
    const keyed = { toJSON(key) { keys.push(key); return key; } };
    const circle = { list: [] };
    circle.list.push(circle);
    let deep = 1;
    for (let i = 0; i < 200; i++) deep = i % 2 ? [deep] : { deep };
    const sparse = [1, , 3];
    class Point { x = 1; get y() { return 2; } }
    class Told { toJSON() { return { told: [true] }; } }
    const values = [
      null, true, false, 0, -0, 1, -1, 2147483648, 2 ** 53, 1e15, 1e21, 1e-7, 0.1, -1.5, 1 / 3, NaN, Infinity,
      5e-324, 1.7976931348623157e308, "", "a", "ä€😀", 'quote" back\\ slash/', "\0\b\t\n\v\f\r\x1f\x7f\u2028",
      "\ud800", "a\udc00b", [], {}, [[]], [{}], sparse, [undefined, () => 1, Symbol("s")], deep, keyed, [keyed, { key: keyed }],
      { a: undefined, b: () => 1, c: Symbol("s"), d: 1 }, { a: undefined }, { 2: "two", b: 1, 1: "one" },
      { "": 1, "\ud800": 2, 'q"': 3, "ä": 4, __proto__: null }, { ["__proto__"]: 1 }, new Point(), new Told(), [new Told(), new Date(0)],
      new Date(NaN), new Number(3), new String("s"), new Boolean(false), Object(1n), new Map([[1, 2]]), new Uint8Array(3),
      Object.create({ inherited: 1 }), Object.create(null), Object.assign(Object.create(null), { a: [1] }),
      new Proxy([1, 2], {}), new Proxy({ a: 1 }, {}), new Proxy({}, { ownKeys: () => ["x"], getOwnPropertyDescriptor: () => ({ value: 1, enumerable: true, configurable: true }), get: (_, k) => k === "toJSON" ? undefined : k }),
      Object.defineProperty({ seen: 1 }, "hidden", { value: 1 }), { get made() { return [1]; } }, { get bad() { throw new RangeError("bad"); } },
      JSON.rawJSON?.("1.50") ?? null, [JSON.rawJSON?.("true") ?? null], circle, 1n, { big: 1n }, undefined, () => 1, Symbol("s"), new Error("e"), /x/,
      Object.fromEntries(Array.from({ length: 40 }, (_, i) => ["key" + i, { ["key" + (39 - i)]: i }])),
      new URL("http://h/p?q"), globalThis.JSON, Math, { toJSON: 1 }, { toJSON() { return undefined; } }, [{ toJSON() { return undefined; } }],
    ];
    const texts = [
      "null", "true", "false", "0", "-0", "1", "-1", "1.0", "1e3", "-1.5e-3", "2147483648", "9007199254740993", "18446744073709551616",
      "123456789012345678901234567890", "0.1", "5e-324", "1e999", "-1e999", "1.7976931348623158e308", "0.30000000000000004", "2.2250738585072011e-308",
      '""', '"a"', '"ä€😀"', '"\\u0041\\n\\/\\""', '"\\ud83d\\ude00"', '"\\ud800"', '"\u2028"', "[]", "{}", "[1,[2,[3]]]", ' [ 1 , 2 ] ', "\t{\n}\r",
      '{"a":1,"b":{"a":2}}', '{"b":1,"1":2,"a":3,"0":4}', '{"a":1,"a":2}', '{"__proto__":{"x":1}}', '{"a":{"__proto__":1}}', '{"constructor":1,"":2}',
      "[".repeat(200) + "]".repeat(200), "", " ", "x", "nul", "[1,]", "{a:1}", "{'a':1}", '{"a"}', "[1 2]", "1 2", "01", "+1", ".5", "1.", '"', '"\n"', "NaN", "\ufeff1", "\v1",
      JSON.stringify(Object.fromEntries(Array.from({ length: 40 }, (_, i) => ["key" + i, { ["key" + (39 - i)]: i }]))),
    ];
    const shape = (value) => {
      if (typeof value !== "object" || value === null) return [Object.is(value, -0) ? "-0" : typeof value, String(value)];
      const own = Object.getOwnPropertyDescriptors(value);
      return [Object.getPrototypeOf(value) === Array.prototype ? "array" : Object.getPrototypeOf(value) === Object.prototype ? "object" : "other",
        Reflect.ownKeys(own).map((key) => [key, own[key].writable, own[key].enumerable, own[key].configurable, shape(own[key].value)])];
    };
    const outcome = async (work) => {
      keys.length = 0;
      try {
        return JSON.stringify([await work(), keys]);
      } catch (error) {
        return error.name;
      }
    };
    export const requestHandler = async () => {
      const different = [];
      const compare = async (what, ours, theirs) => {
        const [one, two] = [await outcome(ours), await outcome(theirs)];
        if (one !== two) different.push(`${what}: ${one} is not ${two}`);
      };
      for (const [at, value] of values.entries()) {
        const text = () => {
          const json = JSON.stringify(value);
          if (json === undefined) throw new TypeError("no form");
          return json;
        };
        await compare(`value ${at}`, () => Response.json(value).text(), text);
      }
      for (const text of texts)
        await compare(`text ${text.slice(0, 60)}`, async () => shape(await new Response(text).json()), () => shape(JSON.parse(text.replace(/^\ufeff/, ""))));
      return different.join("\n") || `${values.length} values, ${texts.length} texts`;
    };"#;

#[tokio::test]
async fn json_is_what_the_language_says() {
    let module = compiled(&module(SAME));
    let answer = answer(&module).await.unwrap();
    assert!(answer.ends_with(" texts"), "{answer}");
}

/// The text of a value is not in the engine's memory; the limit holds all the same.
#[tokio::test]
async fn a_json_text_has_the_memory_limit() {
    let mut module = module(
        "const long = 'x'.repeat(1 << 20);
         export const requestHandler = () => Response.json(new Array(64).fill(long));",
    );
    module.limits.memory = Some(dgate_core::units::Size::mib(16));
    let answer = answer(&compiled(&module)).await;
    assert_eq!(answer.unwrap_err().code(), "module_limit");
}
