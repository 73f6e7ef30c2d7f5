//! Every feature of TypeScript that leaves something behind, by what the compiled module does.

use crate::engine::{run, typescript};

/// Name, TypeScript that declares `v`, JSON of `v`.
const FEATURES: &[(&str, &str, &str)] = &[
    (
        "enum",
        "enum E { A, B = 5, C } const v = [E.A, E.B, E.C, E[5]];",
        r#"[0,5,6,"B"]"#,
    ),
    (
        "string_enum",
        "enum E { A = 'a', B = 'b' } const v = [E.A, E['B'], Object.keys(E)];",
        r#"["a","b",["A","B"]]"#,
    ),
    (
        "const_enum",
        "const enum E { A = 1 << 3, B } const v = [E.A, E.B];",
        "[8,9]",
    ),
    (
        "enum_with_computed_member",
        "enum E { A = 'abc'.length, B = A * 2 } const v = [E.A, E.B];",
        "[3,6]",
    ),
    (
        "namespace",
        "namespace N { export const a = 1; const hidden = 2; export const f = () => a + hidden; } const v = [N.a, N.f(), 'hidden' in N];",
        "[1,3,false]",
    ),
    (
        "nested_namespace",
        "namespace A.B { export const x = 'deep'; } namespace A { export const y = B.x + '!'; } const v = [A.B.x, A.y];",
        r#"["deep","deep!"]"#,
    ),
    (
        "generics",
        "function first<T extends { id: number }>(xs: readonly T[]): T | undefined { return xs[0]; } const v = first<{ id: number }>([{ id: 7 }])?.id;",
        "7",
    ),
    (
        "generic_arrow",
        "const same = <T,>(x: T): T => x; const v = same<string>('s');",
        r#""s""#,
    ),
    (
        "legacy_method_decorator",
        "function twice(_t: any, _k: string, d: PropertyDescriptor) { const f = d.value; d.value = function (n: number) { return 2 * f.call(this, n); }; }
class C { @twice run(n: number) { return n + 1; } } const v = new C().run(4);",
        "10",
    ),
    (
        "legacy_class_decorator_factory",
        "function tag(t: string) { return (c: any) => { c.tag = t; }; } @tag('x') class C { static tag: string; } const v = C.tag;",
        r#""x""#,
    ),
    (
        "legacy_property_decorator",
        "const seen: string[] = []; const mark = (_t: any, k: string) => { seen.push(k); }; class C { @mark a = 1; @mark b = 2; } const v = [seen, new C().b];",
        r#"[["a","b"],2]"#,
    ),
    (
        "satisfies",
        "const o = { a: 1, b: 'x' } satisfies Record<string, unknown>; const v = o;",
        r#"{"a":1,"b":"x"}"#,
    ),
    (
        "parameter_properties",
        "class P { constructor(private readonly a: number, public b = 2, protected c?: string) {} sum() { return this.a + this.b; } } const v = [new P(1).sum(), Object.keys(new P(1, 2, 'c'))];",
        r#"[3,["a","b","c"]]"#,
    ),
    (
        "as_and_non_null",
        "const m = new Map<string, number>([['a', 1]]); const v = (m.get('a')! as unknown as number) + <number>(1 as any);",
        "2",
    ),
    (
        "as_const",
        "const t = ['a', 'b'] as const; type T = (typeof t)[number]; const x: T = 'b'; const v = [...t, x];",
        r#"["a","b","b"]"#,
    ),
    (
        "overloads",
        "function f(a: string): string; function f(a: number): number; function f(a: any) { return a; } const v = [f('a'), f(1)];",
        r#"["a",1]"#,
    ),
    (
        "abstract_class",
        "abstract class A { abstract n(): number; twice() { return this.n() * 2; } } class B extends A { override n() { return 4; } } const v = new B().twice();",
        "8",
    ),
    (
        "interface_and_type_vanish",
        "interface I { a: number } type U = I | null; declare const nothing: U; const v = typeof nothing;",
        r#""undefined""#,
    ),
    (
        "declare_field_keeps_parents_value",
        "class A { x = 1; } class B extends A { declare x: number; } const v = new B().x;",
        "1",
    ),
    (
        "private_and_static_members",
        "class C { #n = 1; static count = 2; static { C.count++; } get n() { return this.#n; } } const v = [new C().n, C.count];",
        "[1,3]",
    ),
    (
        "optional_chaining_and_nullish",
        "const o: { a?: { b?: number } } = {}; const v = [o?.a?.b ?? 'none', (o.a ??= { b: 2 }).b];",
        r#"["none",2]"#,
    ),
    (
        "type_guard_and_assertion_function",
        "const isS = (x: unknown): x is string => typeof x === 'string'; function must(x: unknown): asserts x { if (!x) throw new Error(); } must(1); const v = isS('a');",
        "true",
    ),
    (
        "type_import_with_runtime_use_elsewhere",
        "type C = import('dgate').Context; const f = (c?: C) => c === undefined; const v = f();",
        "true",
    ),
    (
        "labelled_tuple_and_template_type",
        "type T = [x: number, y?: number]; type K = `id-${number}`; const t: T = [1]; const k: K = 'id-1'; const v = [t, k];",
        r#"[[1],"id-1"]"#,
    ),
    (
        "using_the_this_parameter",
        "function f(this: { n: number }, k: number) { return this.n + k; } const v = f.call({ n: 1 }, 2);",
        "3",
    ),
    (
        "accessor_pair_and_index_signature",
        "class C { [k: string]: any; _a = 1; get a(): number { return this._a; } set a(x: number) { this._a = x; } } const c = new C(); c.a = 5; const v = c.a;",
        "5",
    ),
    (
        "merged_namespaces",
        "namespace N { export const a = 1; } namespace N { export const b = a + 1; } const v = [N.a, N.b];",
        "[1,2]",
    ),
    (
        "namespace_merged_with_function_class_and_enum",
        "function f() { return f.x; } namespace f { export const x = 1; } class C { static y = C.z; static z = 0; } namespace C { export const w = 3; } enum E { A } namespace E { export const of = (n: number) => E[n]; } const v = [f(), C.w, E.of(0)];",
        r#"[1,3,"A"]"#,
    ),
    (
        "merged_enums",
        "enum E { A = 1 } enum E { B = 2 } const v = [E.A, E.B, E[2]];",
        r#"[1,2,"B"]"#,
    ),
    (
        "type_only_namespace",
        "namespace N { export type T = number; export interface I { a: N.T } } const o: N.I = { a: 1 }; const v = o;",
        r#"{"a":1}"#,
    ),
    (
        "namespace_alias",
        "namespace A.B { export const x = 7; } import C = A.B; const v = C.x;",
        "7",
    ),
    (
        "exported_const_enum",
        "export const enum E { A = 'x', B = 2 } const v = [E.A, E.B];",
        r#"["x",2]"#,
    ),
    (
        "enum_in_a_function",
        "function f() { enum E { A = 3 } return E.A; } const v = f();",
        "3",
    ),
    (
        "legacy_parameter_decorator",
        "const seen: any[] = []; const mark = (_t: any, k: string, i: number) => { seen.push([k, i]); }; class C { run(_a: number, @mark b: number) { return b; } } const v = [seen, new C().run(1, 2)];",
        r#"[[["run",1]],2]"#,
    ),
    (
        "legacy_accessor_decorator",
        "const up = (_t: any, _k: string, d: PropertyDescriptor) => { const g = d.get!; d.get = function () { return g.call(this) + 1; }; }; class C { @up get a() { return 1; } } const v = new C().a;",
        "2",
    ),
    (
        "legacy_decorators_of_a_constructor_and_order",
        "const log: string[] = []; const d = (n: string) => { log.push('eval ' + n); return (..._: any[]) => { log.push('call ' + n); }; }; @d('class') class C { @d('prop') a = 1; @d('m1') @d('m2') m() {} constructor(@d('param') _x: number) {} } void C; const v = log.length;",
        "10",
    ),
    (
        "legacy_class_decorator_replaces",
        "const wrap = (c: any): any => class extends c { extra = 1; }; @wrap class C { a = 0; } const v = { ...new C() };",
        r#"{"a":0,"extra":1}"#,
    ),
    (
        "auto_accessor",
        "class C { accessor n = 1; static accessor s = 2; accessor 'quoted-name' = 3; accessor #p = 4; p() { this.#p += 1; return this.#p; } } const c = new C(); c.n += 10; C.s++; const v = [c.n, C.s, c['quoted-name'], c.p(), Object.keys(c)];",
        "[11,3,3,5,[]]",
    ),
    (
        "decorated_auto_accessor",
        "const log = (_t: any, _k: string, d: PropertyDescriptor) => { const g = d.get!; d.get = function () { return 'got ' + g.call(this); }; }; class C { @log accessor n: number = 1; } const v = new C().n;",
        r#""got 1""#,
    ),
    (
        "abstract_accessor_and_override",
        "abstract class A { abstract accessor n: number; } class B extends A { override accessor n = 2; } const v = new B().n;",
        "2",
    ),
    (
        "generic_class_and_implements",
        "interface Box<T> { get(): T } class B<T> implements Box<T> { constructor(private x: T) {} get(): T { return this.x; } } const v = new B<number>(4).get();",
        "4",
    ),
    (
        "definite_assignment_and_optional_field",
        "class C { a!: number; b?: string; readonly c: number = 3; } const v = [Object.keys(new C()), new C().c];",
        r#"[["a","b","c"],3]"#,
    ),
    (
        "instantiation_expression",
        "function id<T>(x: T) { return x; } const n = id<number>; const v = n(3);",
        "3",
    ),
    (
        "optional_call_with_type_arguments",
        "const f = undefined as undefined | (<T>(x: T) => T); const v = f?.<number>(1) ?? 'none';",
        r#""none""#,
    ),
    (
        "satisfies_in_a_chain",
        "const v = ({ a: [1, 2] } satisfies { a: number[] }).a!.map((x) => (x as number) * 2);",
        "[2,4]",
    ),
    (
        "type_assertion_binds",
        "const a: any = 2; const v = (a as number) ** 2 + (<number>a) * 3;",
        "10",
    ),
    (
        "template_and_tagged_generics",
        r"function tag<T>(s: TemplateStringsArray, ...x: T[]) { return s.raw.join('|') + x.join(); } const v = tag<number>`a${1}b\n${2}`;",
        r#""a|b\\n|1,2""#,
    ),
    (
        "using_declaration",
        "const log: string[] = []; { using _r = { [Symbol.dispose]() { log.push('end'); } }; log.push('body'); } const v = log;",
        r#"["body","end"]"#,
    ),
    (
        "declare_module_and_global",
        "declare global { interface X { a: 1 } } declare module 'm' { export const a: number; } declare function g(): void; declare class D {} declare enum E { A } const v = typeof g;",
        r#""undefined""#,
    ),
    (
        "unique_symbol_infer_and_mapped_types",
        "type U<T> = T extends Promise<infer V> ? V : never; type M<T> = { readonly [K in keyof T as `get${string & K}`]?: T[K] }; const x: U<Promise<number>> = 1; const m: M<{ a: 1 }> = {}; const v = [x, m];",
        "[1,{}]",
    ),
    (
        "export_forms_of_types",
        "type T = 1; interface I {} export type { T }; export { type I }; export type U = T; export interface V {} export declare const w: number; const v = 1;",
        "1",
    ),
    (
        "arrow_generics_and_async",
        "const f = async <T extends object,>(x: T): Promise<T> => x; const g = <const T>(x: T) => x; const v = [typeof f, g(1)];",
        r#"["function",1]"#,
    ),
    (
        "enum_as_value_and_reverse",
        "enum E { A, B } const v = Object.entries(E);",
        r#"[["0","A"],["1","B"],["A",0],["B",1]]"#,
    ),
    (
        "class_expression_and_this_types",
        "const C = class<T> { x?: T; self(this: this): this { return this; } }; const v = new C<number>().self() instanceof C;",
        "true",
    ),
    (
        "names_of_the_helper_are_not_taken",
        "const _ts_decorate = 1; const d = (c: any) => c; @d class C {} const v = [_ts_decorate, typeof C];",
        r#"[1,"function"]"#,
    ),
    (
        "getter_overload_index_and_private_in",
        "class C { #a = 1; static has(o: object): o is C { return #a in o; } } const v = [C.has(new C()), C.has({})];",
        "[true,false]",
    ),
    (
        "super_property_and_parameter_property",
        "class A { constructor(protected n = 1) {} } class B extends A { constructor(public m: number) { super(5); } sum() { return this.n + this.m; } } const v = new B(2).sum();",
        "7",
    ),
    (
        "import_meta_and_top_level_await",
        "const x: number = await Promise.resolve(3); const v = [x, typeof import.meta];",
        r#"[3,"object"]"#,
    ),
    (
        "regular_expressions_and_numbers",
        r"const v = ['a/b'.replace(/[/]/g, '-'), 1_000n.toString(), 0b11, /(?<y>\d{4})/u.exec('2024')?.groups?.y];",
        r#"["a-b","1000",3,"2024"]"#,
    ),
    (
        "merged_namespaces_share_what_they_export",
        "namespace N { export let n = 1; export function up() { n++; } export class K { x = 4; } const hidden = 1; export type T = number; }
         namespace N { export const a = n; up(); n += 10; ({ n } = { n: n + 100 }); [n] = [n + 1000]; export const o: { n: T } = { n }; export const f = (n: number) => n; export const k = new K().x; }
         const v = [N.a, N.n, N.o, N.f(5), N.k];",
        "[1,1112,{\"n\":1112},5,4]",
    ),
    (
        "merged_dotted_namespaces",
        "export namespace A.B { export const x = 1; } export namespace A.B { export const y = x + 1; } export namespace A { export namespace B { export const z = y + x; } export namespace C { export const w = B.z; } } const v = [A.B.z, A.C.w];",
        "[3,3]",
    ),
    (
        "a_block_own_name_and_an_inner_one_win",
        "const x = 'outer'; namespace N { export const x = 1; } namespace N { export const y = x; { const x = 2; f(x); } function f(x: number) { return x; } } namespace M { export const x = 5; } namespace M { const x = 6; export const y = x; } const v = [N.y, M.y, x];",
        "[1,6,\"outer\"]",
    ),
    (
        "namespace_merged_with_an_enum_sees_its_members",
        "enum E { A = 3, B } namespace E { export const sum = A + B; } enum F { A = 1 } enum F { B = A + 1 } const v = [E.sum, F.B];",
        "[7,2]",
    ),
];

#[test]
fn features_do_what_tsc_makes_them_do() {
    let mut wrong = Vec::new();
    for (name, source, expected) in FEATURES {
        let module = typescript(&format!("{source}\nexport {{ v }};\n"));
        let got = run(&[("main", &module.code)]);
        if got.as_deref() != Ok(expected) {
            wrong.push(format!("{name}: {got:?}, not {expected}\n{}", module.code));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
