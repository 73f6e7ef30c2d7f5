//! Sources that are wrong on purpose: whatever comes in, the process goes on.

use dgate_typescript::{Language, transpile};

const SAMPLE: &str = r#"
import def, { type Context, Level as L } from './levels';
import * as all from "./all";
export * from './rest';
/** A doc comment with `ticks` and (brackets. */
export enum Kind { A = 1 << 2, B, C = 'c'.length }
namespace Outer.Inner { export const x = 'é日本'; }
namespace Outer { export const y = Inner.x; }
const re = /[/"'`({\]]+/giu, tpl = `a${1 + (2)}b${`nested ${re.source}`}`;
function tag<T extends { id: number }>(t: T): (c: any) => void { return (c) => { c.tag = t; }; }
@tag({ id: 1 })
abstract class Base<T = string> implements Iface {
    static #count = 0; declare y: T; accessor z = 1;
    constructor(private readonly a: number, public b?: string, @tag({ id: 2 }) c = 3) { Base.#count++; }
    @tag({ id: 3 }) async *gen(): AsyncGenerator<number> { yield* [1, 2]; await null; }
    get v(): number { return this.a! as number satisfies number; }
    abstract n(): void;
    static { try { label: for (const i of [1]) { if (i) continue label; else break; } } catch { } finally { } }
}
interface Iface { [k: string]: unknown; (a: string): void; new (): Iface; readonly m?: <U>(x: U) => U | undefined }
type Fn<A extends unknown[]> = A extends [infer H, ...infer R] ? H : never;
export default { async requestHandler(ctx: Context) { const { a = 1, ...rest } = ctx as any; return rest?.a?.[0] ?? all; } };
let x: number = <any>L.High, f = <T,>(q: T) => q, big = 10n ** 2n; x ||= 1; ({ x } = { x: 2 }); [x] = [3];
for (let i = 0, j; i < 1; i++, j--) switch (i) { case 0: default: do { } while (false); }
export const lazy = () => import('./lazy'); export { f as "quoted name", def };
"#;

/// Small, seeded, the same on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

fn survives(source: &str) {
    for language in [Language::TypeScript, Language::JavaScript] {
        match transpile("hostile", source, language) {
            Ok(module) => assert!(module.map.is_some() || module.code == source),
            Err(faults) => {
                assert!(!faults.is_empty(), "{source}");
                assert!(
                    faults.is_sorted_by_key(|fault| (fault.line, fault.column)),
                    "{faults:?}"
                );
                assert!(faults.len() <= 100);
                for fault in faults {
                    let failed = fault.message.contains("the compiler failed");
                    assert!(!failed, "{fault} on:\n{source}");
                    assert!(fault.line >= 1 && fault.column >= 1, "{fault:?}");
                    let _ = dgate_typescript::frame(source, fault.line, fault.column);
                }
            }
        }
    }
}

#[test]
fn the_sample_compiles() {
    let module = transpile("sample", SAMPLE, Language::TypeScript).unwrap();
    assert_eq!(module.imports.len(), 3);
    assert_eq!(module.exports.len(), 5);
}

#[test]
fn truncated_sources_are_survived() {
    for end in (0..SAMPLE.len())
        .filter(|&end| SAMPLE.is_char_boundary(end))
        .step_by(3)
    {
        survives(&SAMPLE[..end]);
    }
}

#[test]
fn mutated_sources_are_survived() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let pieces: Vec<char> = "(){}[]<>`'\"/\\*!?:;,.=+-@#$&|~^%0a \n\r\t\u{2028}\u{feff}é😀\0"
        .chars()
        .collect();
    let chars: Vec<char> = SAMPLE.chars().collect();
    for _ in 0..500 {
        let mut source = chars.clone();
        for _ in 0..=random.below(4) {
            let at = random.below(source.len());
            match random.below(4) {
                0 => drop(source.remove(at)),
                1 => source.insert(at, pieces[random.below(pieces.len())]),
                2 => source[at] = pieces[random.below(pieces.len())],
                _ => {
                    let other = random.below(source.len());
                    source.swap(at, other);
                }
            }
        }
        survives(&source.iter().collect::<String>());
    }
}

#[test]
fn shuffled_tokens_are_survived() {
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let tokens: Vec<&str> = SAMPLE
        .split_inclusive(|c: char| !c.is_alphanumeric())
        .collect();
    for _ in 0..300 {
        let source: String = (0..=random.below(60))
            .map(|_| tokens[random.below(tokens.len())])
            .collect();
        survives(&source);
    }
}

#[test]
fn deep_nesting_is_survived() {
    let shapes: &[(&str, &str, &str)] = &[
        ("(", "1", ")"),
        ("[", "1", "]"),
        ("{", "1", "}"),
        ("({a:", "1", "})"),
        ("a(", "1", ")"),
        ("a[", "1", "]"),
        ("`${", "1", "}`"),
        ("(a=", "1", ")=>1"),
        ("a=>", "1", ""),
        ("(a)=>{", "1", "}"),
        ("async(", "1", ")"),
        ("function f(){", "", "}"),
        ("class A{a=class{b=", "1", "}}"),
        ("!", "1", ""),
        ("- -", "1", ""),
        ("typeof ", "1", ""),
        ("await ", "1", ""),
        ("new ", "a", ""),
        ("a=", "1", ""),
        ("a?", "1", ":1"),
        ("a?1:", "1", ""),
        ("a+", "1", ""),
        ("a**", "1", ""),
        ("a,", "1", ""),
        ("a&&", "1", ""),
        ("a.", "a", ""),
        ("a?.", "a", ""),
        ("", "a", "!"),
        ("", "a", "()"),
        ("", "a", "[0]"),
        ("", "a", "``"),
        ("", "a", " as any"),
        ("if(1)", "1", ""),
        ("if(1);else ", "1", ""),
        ("for(;;)", "1", ""),
        ("while(1)", "1", ""),
        ("a:", "1", ""),
        ("try{", "", "}catch{}"),
        ("switch(1){default:", "", "}"),
        ("<T>(", "1", ")"),
        ("<T,>(a=", "1", ")=>1"),
        ("a<b>(", "1", ")"),
        ("@d(class{", "", "})class A{}"),
        ("/*", "", "*/"),
    ];
    let prefixed: &[(&str, &str, &str, &str)] = &[
        ("type A=", "(", "b", ")"),
        ("type A=", "[", "b", "]"),
        ("type A=", "{a:", "b", "}"),
        ("type A=", "B<", "b", ">"),
        ("type A=", "keyof ", "b", ""),
        ("type A=", "a extends b?", "b", ":c"),
        ("type A=", "(a:", "b", ")=>1"),
        ("type A=", "", "b", "[]"),
        ("type A=", "a.", "b", ""),
        ("type A=", "a|", "b", ""),
        ("let a:typeof ", "a.", "b", ""),
        ("namespace A", ".A", "{}", ""),
        ("", "namespace A{", "", "}"),
        ("import a=", "a.", "a", ""),
        ("let ", "[", "a", "]"),
        ("let ", "{a:", "a", "}"),
        ("x=", "<a.", "a", "/>"),
        ("x=", "<a>", "", "</a>"),
    ];
    let all = shapes
        .iter()
        .map(|&(open, middle, close)| ("", open, middle, close));
    for (prefix, open, middle, close) in all.chain(prefixed.iter().copied()) {
        for depth in [20, 1900, 8000] {
            let closed = format!(
                "{prefix}{}{middle}{}",
                open.repeat(depth),
                close.repeat(depth)
            );
            survives(&closed);
            survives(&format!("{prefix}{}{middle}", open.repeat(depth)));
        }
    }
}

#[test]
fn what_is_too_deep_says_so() {
    for source in ["(".repeat(1000), format!("x = {}a", "a + ".repeat(3000))] {
        let faults = transpile("deep", &source, Language::JavaScript).unwrap_err();
        assert_eq!(faults[0].message, "nested too deeply");
        assert_eq!((faults.len(), faults[0].line), (1, 1));
    }
}

#[test]
fn reasonable_depth_is_taken() {
    let sum = format!("export const v = {}1;", "1 + ".repeat(900));
    let nested = format!(
        "export const v = {}1{};",
        "[(".repeat(100),
        ")]".repeat(100)
    );
    let chain = format!(
        "export const v = {};",
        "b".to_owned() + &".then(() => 1)".repeat(400)
    );
    for source in [sum, nested, chain] {
        for language in [Language::TypeScript, Language::JavaScript] {
            transpile("deep", &source, language).unwrap();
        }
    }
}
