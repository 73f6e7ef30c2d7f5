//! The tables of `lib/web` and `lib/crypto`, run by a module in a slot as it is in production: with everything
//! else that is there, with real timers, from bytecode.

use super::{answer, compiled, module};
use crate::js::lib::crypto::cases::{CASES, PRELUDE, vectors};
use serde_json::Value;

const RUN: &str = r#"
export const requestHandler = async () => {
    const wrong = [];
    for (const [name, [run, expected]] of Object.entries(cases)) {
        let value;
        try {
            value = await run();
        } catch (error) {
            value = `threw ${error?.name}: ${error?.message}\n${error?.stack}`;
        }
        const [found, wanted] = [value, expected].map((v) => JSON.stringify(v));
        if (found !== wanted) wrong.push(`${name}: got ${found}, expected ${wanted}`);
    }
    return { cases: Object.keys(cases).length, wrong };
};
"#;

async fn run(source: String) {
    let answer = answer(&compiled(&module(source))).await.unwrap();
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert!(answer["cases"].as_u64() > Some(30), "{answer}");
    let wrong: Vec<_> = answer["wrong"].as_array().unwrap().iter().collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn web_globals_behave_in_a_slot_as_their_standards_say() {
    run(include_str!("../lib/web/tests/web.js").to_owned() + RUN).await;
}

#[tokio::test]
async fn cryptography_behaves_in_a_slot_as_its_standards_say() {
    let mut source = format!(
        "import * as c from 'dgate/crypto';\n{PRELUDE}{}const cases = {{\n",
        vectors()
    );
    for (name, body, expected) in CASES {
        source += &format!("{name}: [async () => {{ {body} }}, {expected}],\n");
    }
    run(source + "};\n" + RUN).await;
}
