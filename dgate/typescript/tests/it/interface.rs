//! Imports and exports, as the caller needs them to link modules and to find hooks.

use dgate_typescript::{DefaultExport, ExportFrom, ImportKind, Imported, Transpiled};

use crate::engine::{javascript, run, typescript};

/// `kind specifier@place [asked as local@place, …]` of each import.
fn imports(module: &Transpiled) -> Vec<String> {
    let one = |import: &dgate_typescript::Import| {
        let names: Vec<String> = import
            .names
            .iter()
            .map(|name| {
                let asked = match &name.imported {
                    Imported::Name(name) => name,
                    _ => "*",
                };
                format!("{asked} as {}@{}", name.local, name.position)
            })
            .collect();
        let kind = match import.kind {
            ImportKind::Reexport => "reexport",
            ImportKind::Star => "star",
            _ => "import",
        };
        format!(
            "{kind} {}@{} [{}]",
            import.specifier,
            import.position,
            names.join(", ")
        )
    };
    module.imports.iter().map(one).collect()
}

fn exports(module: &Transpiled) -> Vec<String> {
    let one = |export: &dgate_typescript::Export| match &export.from {
        ExportFrom::Module {
            specifier,
            imported: Imported::Name(name),
        } => {
            format!(
                "{}@{} = {name} of {specifier}",
                export.name, export.position
            )
        }
        ExportFrom::Module { specifier, .. } => {
            format!("{}@{} = * of {specifier}", export.name, export.position)
        }
        _ => format!("{}@{}", export.name, export.position),
    };
    module.exports.iter().map(one).collect()
}

/// Names of a default export that is an object, and whether there may be more.
fn object(module: &Transpiled) -> (Vec<&str>, bool) {
    match &module.default_export {
        Some(DefaultExport::Object { properties, open }) => (
            properties
                .iter()
                .map(|property| property.name.as_str())
                .collect(),
            *open,
        ),
        other => panic!("{other:?}"),
    }
}

#[test]
fn imports_are_listed_with_their_places() {
    let source = "\
import def, { a, b as c, default as d, \"odd name\" as e } from './m';
import * as ns from \"./n\";
import './side'; import {} from './empty';
import first, * as rest from './both';
console.log(def, a, c, d, e, ns, first, rest);
";
    let expected = [
        "import ./m@1:63 [default as def@1:8, a as a@1:15, b as c@1:18, default as d@1:26, odd name as e@1:40]",
        "import ./n@2:21 [* as ns@2:8]",
        "import ./side@3:8 []",
        "import ./empty@3:33 []",
        "import ./both@4:30 [default as first@4:8, * as rest@4:15]",
    ];
    assert_eq!(imports(&javascript(source)), expected);
    assert_eq!(imports(&typescript(source)), expected);
}

#[test]
fn type_only_and_unused_imports_are_gone() {
    for source in [
        "import type { Context, GatewayError } from 'dgate';",
        "import { type Context } from 'dgate'; type C = Context;",
        "import { Context } from 'dgate'; type C = Context; let x: Context;",
        "import type * as all from './gone'; import type Def from './gone';",
        "export type { Context } from 'dgate'; export { type Other } from 'dgate';",
        "type C = import('dgate').Context;",
        "import unused, { alsoUnused } from './gone';",
        "import { T } from './t'; class A { x!: T; m(a: T): T { return a as T; } } new A();",
    ] {
        let module = typescript(&format!(
            "{source}\nexport const requestHandler = () => 'ok';"
        ));
        // An `import { type T }` keeps its module for its side effects in `tsc` as well, if so set;
        // here nothing of it stays.
        assert_eq!(
            imports(&module),
            Vec::<String>::new(),
            "{source}\n{}",
            module.code
        );
        assert!(module.dynamic_imports.is_empty());
        assert_eq!(module.exports.len(), 1);
    }
    let mixed = typescript("import { A, f } from './x';\nlet a: A = f();\nexport { a };");
    assert_eq!(imports(&mixed), ["import ./x@1:22 [f as f@1:13]"]);
}

#[test]
fn exports_are_listed_with_their_places() {
    let source = "\
export const { p, q: [r, ...s], ...t } = { q: [1] };
export let u = 1, v = 2; export function w() {} export class X {}
const y = 1; export { y as z, y as \"odd name\" };
export { a, b as c, default } from './r'; export * from './s'; export * as all from './t';
";
    let expected = [
        "p@1:16",
        "r@1:23",
        "s@1:29",
        "t@1:36",
        "u@2:12",
        "v@2:19",
        "w@2:42",
        "X@2:62",
        "z@3:28",
        "odd name@3:36",
        "a@4:10 = a of ./r",
        "c@4:18 = b of ./r",
        "default@4:21 = default of ./r",
        "all@4:76 = * of ./t",
    ];
    for module in [javascript(source), typescript(source)] {
        assert_eq!(exports(&module), expected);
        assert_eq!(
            imports(&module),
            [
                "reexport ./r@4:36 [a as a@4:10, b as c@4:13, default as default@4:21]",
                "star ./s@4:57 []",
                "reexport ./t@4:85 [* as all@4:71]",
            ]
        );
        assert_eq!(module.default_export, Some(DefaultExport::Other));
        assert_eq!(module.export("z").unwrap().position.column, 28);
    }
}

#[test]
fn typescript_declarations_are_exports_if_they_leave_a_value() {
    let module = typescript(
        "export enum E { A } export const enum F { B } export namespace N { export const a = 1; }
         export namespace Types { export type T = 1 } export interface I {} export type T = 1;
         export abstract class A {} export declare const gone: number; export function f(a: 1): 1;
         export function f(a: any) { return a; } export import Alias = N.a;",
    );
    let mut names: Vec<&str> = module
        .exports
        .iter()
        .map(|export| export.name.as_str())
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["A", "Alias", "E", "F", "N", "f"]);
}

#[test]
fn hooks_of_a_default_export_are_listed() {
    let hooks = "{ async requestHandler(ctx) {}, 'responseModifier': () => 1, errorHandler, get g() { return 1; }, set s(x) {}, ['lit']: 2 }";
    let expected = (
        vec![
            "requestHandler",
            "responseModifier",
            "errorHandler",
            "g",
            "lit",
        ],
        false,
    );
    let tail = "\nfunction errorHandler() {}\n";
    for source in [
        format!("export default {hooks};{tail}"),
        format!("export default ({hooks});{tail}"),
        format!("const hooks = {hooks}; export default hooks;{tail}"),
        format!("const hooks = {hooks}; export {{ hooks as default }};{tail}"),
        format!("export default hooks; export const hooks = {hooks};{tail}"),
    ] {
        assert_eq!(object(&javascript(&source)), expected, "{source}");
    }
    let typed = format!(
        "const hooks: H = ({hooks} as const) satisfies H; type H = any; export default hooks as H;{tail}"
    );
    assert_eq!(object(&typescript(&typed)), expected);
    assert_eq!(
        object(&javascript(
            "export default { ...x, a: 1, [b]: 2 }; let x, b;"
        )),
        (vec!["a"], true)
    );
}

#[test]
fn other_default_exports_say_what_they_are() {
    for (source, expected) in [
        ("export default async () => {};", DefaultExport::Function),
        ("export default function f() {}", DefaultExport::Function),
        ("export default class {}", DefaultExport::Class),
        ("export default (class {});", DefaultExport::Class),
        (
            "export default make(); function make() {}",
            DefaultExport::Other,
        ),
        ("let o = {}; export default o;", DefaultExport::Other),
    ] {
        assert_eq!(
            javascript(source).default_export,
            Some(expected.clone()),
            "{source}"
        );
        assert_eq!(
            typescript(source).default_export,
            Some(expected),
            "{source}"
        );
    }
    assert_eq!(
        typescript("export default interface I {}").default_export,
        None
    );
    assert_eq!(javascript("export const a = 1;").default_export, None);
}

#[test]
fn dynamic_imports_are_listed() {
    let source = "import('./a').then(() => import(`./b`));\nconst f = (n) => import(n + '.js');";
    for module in [javascript(source), typescript(source)] {
        let found: Vec<(Option<&str>, String)> = module
            .dynamic_imports
            .iter()
            .map(|import| (import.specifier.as_deref(), import.position.to_string()))
            .collect();
        assert_eq!(found.len(), 3);
        for expected in [
            (Some("./a"), "1:8".to_owned()),
            (Some("./b"), "1:33".to_owned()),
            (None, "2:25".to_owned()),
        ] {
            assert!(found.contains(&expected), "{found:?}");
        }
    }
}

#[test]
fn compiled_modules_link() {
    let base = typescript(
        "export enum Level { Low = 1, High = 10 } export const enum C { X = 3 } export interface Shape { level: Level } export default 9; export let n = 0; export const up = () => { n++; };",
    );
    let between = typescript(
        "export * from 'base'; export { default as nine, C as Renamed } from 'base'; export * as all from 'base';",
    );
    let main = typescript(
        "import { Level, type Shape, nine, Renamed, all, n, up } from 'between'; up(); const s: Shape = { level: Level.High }; export const v = [s, nine, Renamed.X, Object.keys(all).sort(), n];",
    );
    let got = run(&[
        ("base", &base.code),
        ("between", &between.code),
        ("main", &main.code),
    ]);
    assert_eq!(
        got.as_deref(),
        Ok(r#"[{"level":10},9,3,["C","Level","default","n","up"],1]"#)
    );
}
