//! The cases of `cases.rs` in an engine with nothing else in it, and bytes at random at every way in.

use super::algorithm::{Curve, Fail, Hash};
use super::cases::{CASES, PRELUDE, vectors};
use super::key::{Algorithm, Data, Jwk, Key};
use super::rsa::{Padding, Use};
use rquickjs::loader::{BuiltinLoader, BuiltinResolver};
use rquickjs::{CatchResultExt, Context, Ctx, Function, Module, Object, Promise, Runtime};

const MODULES: [(&str, &str); 3] = [
    (
        "dgate:native",
        "export default globalThis.__native; delete globalThis.__native;",
    ),
    ("dgate:webcrypto", include_str!("../crypto.js")),
    ("dgate/crypto", include_str!("../dgate_crypto.js")),
];

/// Runs the source of a module that imports `dgate/crypto` as `c`, and gives what it puts at `globalThis.out`.
fn run(source: &str) -> String {
    let runtime = Runtime::new().unwrap();
    let context = Context::full(&runtime).unwrap();
    let (mut resolver, mut loader) = (BuiltinResolver::default(), BuiltinLoader::default());
    for (name, source) in MODULES {
        resolver.add_module(name);
        loader.add_module(name, source);
    }
    runtime.set_loader(resolver, loader);
    context.with(|ctx| {
        let native = Object::new(ctx.clone()).unwrap();
        super::install(&ctx, &native).unwrap();
        ctx.globals().set("__native", native).unwrap();
        let source = format!(
            "import * as web from 'dgate:webcrypto';\nObject.assign(globalThis, web);\nimport * as c from 'dgate/crypto';\n{PRELUDE}{}{source}",
            vectors()
        );
        let module = Module::evaluate(ctx.clone(), "test", source);
        settle(
            &ctx,
            module
                .catch(&ctx)
                .map_err(|error| error.to_string())
                .unwrap(),
        );
        ctx.globals().get("out").unwrap()
    })
}

fn settle<'js>(ctx: &Ctx<'js>, promise: Promise<'js>) {
    let done = promise.finish::<()>().catch(ctx);
    done.map_err(|error| error.to_string()).unwrap();
}

#[test]
fn cases() {
    let mut source = String::from("const all = {};\n");
    for (name, body, _) in CASES {
        source += &format!(
            "try {{ all.{name} = {{ value: await (async () => {{ {body} }})() }}; }} catch (e) {{ all.{name} = {{ error: `${{e}} ${{e.stack}}` }}; }}\n"
        );
    }
    source += "globalThis.out = JSON.stringify(all);";
    if let Ok(path) = std::env::var("CRYPTO_CASES") {
        std::fs::write(path, format!("{PRELUDE}{}{source}", vectors())).unwrap();
    }
    let all: serde_json::Value = serde_json::from_str(&run(&source)).unwrap();
    let mut failed = Vec::new();
    for (name, _, expected) in CASES {
        let expected: serde_json::Value = serde_json::from_str(expected).unwrap();
        if all[*name]["value"] != expected {
            failed.push(format!(
                "{name}\n  expected {expected}\n  found {}",
                all[*name]
            ));
        }
    }
    assert!(failed.is_empty(), "\n{}", failed.join("\n"));
}

/// Every algorithm in every format, with bytes at random, with good keys that were changed, and with parts of them.
#[test]
fn keys_of_random_bytes_do_no_harm() {
    let usages = Hash::ALL.into_iter().flat_map(|hash| {
        [Padding::Pkcs1, Padding::Pss].map(|padding| Algorithm::Rsa(Use { padding, hash }))
    });
    let algorithms: Vec<Algorithm> = [
        Algorithm::Hmac(Hash::Sha256),
        Algorithm::Aes,
        Algorithm::Base,
        Algorithm::Ed,
    ]
    .into_iter()
    .chain([Curve::P256, Curve::P384, Curve::P521].map(Algorithm::Ec))
    .chain(usages)
    .collect();
    let vectors: serde_json::Value = serde_json::from_str(include_str!("vectors.json")).unwrap();
    let seeds: Vec<Vec<u8>> = vectors
        .as_object()
        .unwrap()
        .values()
        .map(|text| {
            super::text::Encoding::Hex
                .decode(text.as_str().unwrap().into())
                .unwrap()
        })
        .chain((0..40).map(|len| vec![0; len]))
        .collect();
    let mut random = fastrand::Rng::with_seed(7);
    let (mut good, mut bad) = (0, 0);
    for round in 0..6000 {
        let mut bytes = seeds[random.usize(..seeds.len())].clone();
        for _ in 0..random.usize(..4) {
            let at = random.usize(..bytes.len() + 1);
            match random.u8(..3) {
                0 if at < bytes.len() => bytes[at] = random.u8(..),
                1 => bytes.truncate(at),
                _ => bytes.insert(at, random.u8(..)),
            }
        }
        if round % 7 == 0 {
            bytes = vec![0; random.usize(..200)];
            bytes.iter_mut().for_each(|byte| *byte = random.u8(..));
        }
        let algorithm = algorithms[random.usize(..algorithms.len())];
        let data = match random.u8(..4) {
            0 => Data::Raw(bytes),
            1 => Data::Spki(bytes),
            2 => Data::Pkcs8(bytes),
            _ => {
                let mut jwk = Jwk::new("");
                for name in Jwk::MEMBERS {
                    if random.bool() {
                        jwk.push(
                            name,
                            super::text::base64url(&bytes[..random.usize(..bytes.len() + 1)]),
                        );
                    }
                }
                Data::Jwk(jwk)
            }
        };
        match Key::import(algorithm, data) {
            Ok(key) => {
                good += 1;
                for option in [0, 1, 2, 3, 32, u32::MAX] {
                    let _ = key.sign(b"m", option);
                    let _ = key.verify(&[1; 64], b"m", option);
                    let _ = key.verify(&[], b"", option);
                }
                for format in ["raw", "spki", "pkcs8", "jwk", ""] {
                    let _ = key.export(format);
                }
                let _ = (key.jwk().is_ok(), key.bits(), key.exponent(), key.kind());
            }
            Err(Fail::Data(_) | Fail::NotSupported(_)) => bad += 1,
            Err(fail) => panic!("{fail}"),
        }
    }
    assert!(good > 100 && bad > 1000, "{good} {bad}");
}

/// Whatever values the native functions are called with, they answer or throw.
#[test]
fn native_functions_take_anything() {
    let runtime = Runtime::new().unwrap();
    let context = Context::full(&runtime).unwrap();
    context.with(|ctx| {
        let native = Object::new(ctx.clone()).unwrap();
        super::install(&ctx, &native).unwrap();
        let fuzz: Function<'_> = ctx.eval(r#"(native) => {
            let seed = 1;
            const next = (n) => (seed = (seed * 48271) % 2147483647) % n;
            const f = native.crypto;
            const keys = [f.importKey("HMAC", 1, "raw", new Uint8Array(3)), f.importKey("AES-GCM", 0, "raw", new Uint8Array(16)), f.importKey("HKDF", 0, "raw", new Uint8Array(3)), ...f.generateKey("ECDSA", 0, 0), ...f.generateKey("Ed25519", 0, 0)];
            const values = [undefined, null, true, 0, 1, 2, -1, 1.5, NaN, Infinity, 1e300, 12, 64, 2 ** 31, 2 ** 53, "", "raw", "jwk", "spki", "pkcs8", "\ud800", "SHA-256", "sha256", "HMAC", "AES-GCM", "ECDSA", "Ed25519", "RSA-PSS", "HKDF", 10n, Symbol(), {}, [], () => 1, { kty: "oct", k: "AQ" }, { k: 1 }, { get d() { throw new Error("no"); } }, new Proxy({}, { get() { return "AQAB"; } }),
                new Uint8Array(), new Uint8Array(12), new Uint8Array(16), new Uint8Array(64), new ArrayBuffer(32), new DataView(new ArrayBuffer(8), 3), new Float64Array(2), new SharedArrayBuffer(8), { buffer: new ArrayBuffer(4), byteOffset: 2, byteLength: 9 }, { buffer: new ArrayBuffer(4), byteOffset: -1, byteLength: 2 ** 60 },
                ...keys, f.createHash("sha1"), f.createHmac("sha1", "k")];
            let fine = 0;
            for (let i = 0; i < 60000; i++) {
                const names = Object.keys(f), name = names[next(names.length)];
                const call = (g, that) => { try { g.apply(that, Array.from({ length: next(7) }, () => values[next(values.length)])); fine++; } catch {} };
                if (name !== "generateKey" || i % 50 === 0) call(f[name]);
                const h = values[values.length - 1 - next(2)];
                call(h[["update", "digest", "copy"][next(3)]], next(3) ? h : values[next(values.length)]);
            }
            return fine;
        }"#).unwrap();
        let fine = fuzz.call::<_, i32>((native,)).catch(&ctx).map_err(|error| error.to_string());
        assert!(fine.unwrap() > 100);
    });
}
