//! What is wrong with a source, and where.

use dgate_typescript::{Language, transpile};

fn faults(source: &str, language: Language) -> Vec<String> {
    let faults = transpile("test", source, language).expect_err(source);
    faults.iter().map(ToString::to_string).collect()
}

fn check(cases: &[(&str, &[&str])], language: Language) {
    for (source, expected) in cases {
        assert_eq!(faults(source, language), *expected, "in:\n{source}");
    }
}

#[test]
fn syntax_errors_have_their_place() {
    let cases: &[(&str, &[&str])] = &[
        (
            "const a = 1;\nexport const b = ;\n",
            &["2:18: expression expected"],
        ),
        (
            "export function requestHandler() {\n  return 'x';\n",
            &["2:14: expected `}`, got the end of the file"],
        ),
        ("type A = ;\nexport const a = 1;", &["1:10: unexpected `;`"]),
        (
            "const x = 'é日本'; let y = ;",
            &["1:26: expression expected"],
        ),
        ("const x = \"abc\n", &["1:11: unterminated string constant"]),
        ("const x = `abc", &["1:11: unterminated template"]),
        (
            "import { a } form './x';",
            &["1:14: expected `from`, got an identifier"],
        ),
        (
            "class A {\n  constructor() {}\n  constructor() {}\n}",
            &["3:3: a class can only have one constructor"],
        ),
        (
            "function f() { await g(); }",
            &["1:16: await isn't allowed in non-async function"],
        ),
        (
            "const a;",
            &["1:7: 'const' declarations must be initialized"],
        ),
    ];
    check(cases, Language::TypeScript);
}

#[test]
fn all_errors_are_reported_in_order_and_once() {
    check(
        &[
            (
                "const b;\nenum E { 1 = 2 }\nreturn;\n",
                &[
                    "1:7: 'const' declarations must be initialized",
                    "2:10: an enum member cannot have a numeric name",
                    "3:1: `return` outside of a function",
                ],
            ),
            (
                "let a; let a;\nimport fs = require('fs');\nfunction b(c) { let c; }\n",
                &[
                    "1:12: `a` is already declared",
                    "2:1: there is no `require` here: write `import fs from 'fs'`",
                    "3:21: `c` is already declared",
                ],
            ),
        ],
        Language::TypeScript,
    );
}

#[test]
fn the_end_of_a_fault_is_known() {
    let faults = transpile("test", "let abc;\nlet abc;", Language::TypeScript).unwrap_err();
    let fault = &faults[0];
    assert_eq!(
        (fault.line, fault.column, fault.end_line, fault.end_column),
        (2, 5, 2, 8)
    );
}

#[test]
fn a_bad_token_is_reported_on_its_line() {
    let faults = faults(
        "export const a = 1;\n\n\nlet 9x = 2;\n",
        Language::TypeScript,
    );
    assert!(
        faults.iter().all(|fault| fault.starts_with("4:")),
        "{faults:?}"
    );
}

#[test]
fn return_outside_of_a_function_is_an_error() {
    let case: &[(&str, &[&str])] = &[(
        "export const a = 1;\nreturn a;\n",
        &["2:1: `return` outside of a function"],
    )];
    check(case, Language::TypeScript);
    check(case, Language::JavaScript);
}

#[test]
fn exports_must_be_declared_and_unique() {
    let cases: &[(&str, &[&str])] = &[
        (
            "export const a = 1;\nexport { nothing };\n",
            &["2:10: `nothing` is exported but not declared"],
        ),
        (
            "export const a = 1; export { a };",
            &["1:30: `a` is already exported at 1:14"],
        ),
        (
            "const a = 1; export { a as b, a as b };",
            &["1:36: `b` is already exported at 1:28"],
        ),
        (
            "export default 1;\nexport default 2;",
            &["2:1: `default` is already exported at 1:1"],
        ),
        (
            "export { a } from 'x'; export * as a from 'y';",
            &["1:36: `a` is already exported at 1:10"],
        ),
    ];
    check(cases, Language::TypeScript);
    check(cases, Language::JavaScript);
}

#[test]
fn redeclarations_are_errors() {
    for source in [
        "let a = 1;\nlet a = 2;",
        "const a = 1; var a;",
        "var a; class a {}",
        "import a from 'x'; const a = 1;",
        "import { a } from 'x'; import * as a from 'y';",
        "function a() {} function a() {}",
        "export default function a() {} let a;",
        "{ let a; { var a; } }",
        "{ function a() {} function a() {} }",
        "for (let a;;) { var a; }",
        "try {} catch (a) { let a; }",
        "try {} catch ([a]) { var a; }",
        "switch (1) { case 1: let a; case 2: let a; }",
        "(a, a) => 1;",
        "((a) => { const a = 1; });",
        "class C { static { let a; var a; } m(a) { let a; } }",
        "const { a, b: [a] } = {};",
        "using a = x, a = y;",
    ] {
        for language in [Language::TypeScript, Language::JavaScript] {
            let faults = faults(source, language);
            assert!(
                faults[0].contains("`a` is already declared"),
                "{faults:?} in {source}"
            );
        }
    }
}

#[test]
fn what_may_be_declared_again_may() {
    let both = [
        "var a; var a; { var a; }",
        "let a; { let a; { let a; } } for (let a;;) { let a; break; }",
        "function f(a) { var a; function a() {} function a() {} }",
        "try {} catch (a) { var a; }",
        "const f = function f() { let f; }; class C {} { class C {} }",
        "switch (1) { case 1: { let a; } case 2: { let a; } }",
        "(a) => (a) => { { let a; } };",
        "let a; const g = (a) => a, h = { a(a) { return a; } };",
    ];
    for source in both {
        transpile("test", source, Language::JavaScript).unwrap();
        transpile("test", source, Language::TypeScript).unwrap();
    }
    for source in [
        "function a(x: string): void; function a(x: any) {}",
        "enum A { X } enum A { Y = 1 } namespace A {}",
        "class A {} interface A {} namespace A {}",
        "function a() {} namespace a { export const b = 1; }",
        "type A = 1; const A = 1; interface B {} const B = 2;",
        "import type { A } from 'x'; import { type B } from 'x'; const A = 1, B = 2;",
        "declare const a: 1; declare function b(): void; export {};",
        "namespace N { let a; } namespace N { let a; } let a;",
        "class A { m(a: number): void; m(a: any) {} constructor(private a: number) {} }",
        "abstract class A { abstract m(a: 1): void; }",
    ] {
        transpile("test", source, Language::TypeScript)
            .unwrap_or_else(|f| panic!("{f:?}: {source}"));
    }
}

#[test]
fn what_a_module_can_not_have_is_named() {
    check(
        &[
            (
                "import fs = require(\"fs\");",
                &["1:1: there is no `require` here: write `import fs from \"fs\"`"],
            ),
            (
                "const a = 1;\nexport = a;",
                &["2:1: `export =` is CommonJS: write `export default`"],
            ),
            (
                "export as namespace Foo;",
                &["1:1: `export as namespace` is for declaration files only"],
            ),
            (
                "const a = <div>hello {1}</div>;\nconst b = <p/>;",
                &[
                    "1:11: JSX is not supported in modules",
                    "2:11: JSX is not supported in modules",
                ],
            ),
            (
                "class A { accessor [x()] = 1; }",
                &["1:20: an `accessor` can't have a computed name here"],
            ),
            (
                "import defer * as x from './x';",
                &["1:1: `import defer` is not supported"],
            ),
        ],
        Language::TypeScript,
    );
    check(
        &[(
            "let a = <A.B x={1}/>;",
            &["1:9: JSX is not supported in modules"],
        )],
        Language::JavaScript,
    );
}

#[test]
fn typescript_in_javascript_is_named() {
    for (source, place) in [
        ("export const a: number = 1;", "1:15"),
        ("interface A {}\nexport const a = 1;", "1:1"),
        ("let a;\nlet x = a as number;", "2:11"),
        ("enum E { A }", "1:1"),
    ] {
        let expected = format!("{place}: this is TypeScript, and the module is JavaScript");
        assert_eq!(faults(source, Language::JavaScript), [expected]);
    }
    // What is wrong in both is no matter of languages.
    assert_eq!(
        faults("let a = ;", Language::JavaScript),
        ["1:9: expression expected"]
    );
}

#[test]
fn a_byte_order_mark_moves_nothing() {
    assert_eq!(
        faults("\u{feff}let a = ;", Language::TypeScript),
        ["1:9: expression expected"]
    );
}

#[test]
fn types_are_not_checked() {
    transpile(
        "test",
        "const n: number = 'text'; n.gone();",
        Language::TypeScript,
    )
    .unwrap();
}
