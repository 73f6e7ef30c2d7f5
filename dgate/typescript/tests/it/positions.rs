//! Exceptions of compiled code lead back to the source.

use dgate_typescript::{Language, transpile};

use crate::engine::{javascript, stack, typescript};

/// Line and column of each frame in the module.
fn frames(stack: &str) -> Vec<(u32, u32)> {
    let places = stack.lines().filter_map(|line| line.split("main:").nth(1));
    places
        .filter_map(|place| {
            let mut numbers = place.split(|c: char| !c.is_ascii_digit());
            Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
        })
        .collect()
}

#[test]
fn an_exception_is_traced_to_its_line_and_column() {
    let source = "\
interface Gone {
    a: string;
}

enum Level { Low, High }

@(<T,>(c: T) => c)
class Worker {
    constructor(private readonly level: Level) {}

    run<T>(é: T, naïve?: Gone): never {
        const text: string = `日本
        ${é}`; if (this.level) { throw new TypeError(text as string); }
        throw 1;
    }
}

export const go = (w: Worker) => w.run<number>(1);
go(new Worker(Level.High));
";
    let module = typescript(source);
    let map = module.map.expect("a source map");
    let original: Vec<(u32, u32)> = frames(&stack(&module.code))
        .into_iter()
        .filter_map(|(line, column)| map.original(line, column))
        .collect();
    let text = |(line, column): (u32, u32)| -> String {
        let line = source.lines().nth(line as usize - 1).unwrap();
        line.chars().skip(column as usize - 1).take(12).collect()
    };
    let places: Vec<(u32, String)> = original.iter().map(|&p| (p.0, text(p))).collect();
    assert_eq!(
        places.len(),
        3,
        "{places:?}\n{}\n{}",
        module.code,
        stack(&module.code)
    );
    assert_eq!(places[0].0, 13);
    // The engine points behind the parenthesis of a `new`.
    assert!(places[0].1.starts_with("text as"), "{places:?}");
    assert_eq!(places[1].0, 18);
    assert_eq!(places[2].0, 19);
}

#[test]
fn javascript_is_left_as_it_is() {
    let source = "// a comment\n  export   const a = ( 1 )\r\n\n;export default a\n";
    let module = javascript(source);
    assert_eq!((module.code.as_str(), module.map.is_none()), (source, true));
    let marked = javascript(&format!("\u{feff}{source}"));
    assert_eq!(marked.code, source);
}

#[test]
fn every_token_of_a_line_maps_to_that_line() {
    let source: String = (0..200)
        .map(|n| format!("export const a{n}: number = f({n} as any, 'ü{n}');\n"))
        .collect();
    let source = source + "function f(a: number, _b: string): number { return a; }\n";
    let module = typescript(&source);
    let map = module.map.expect("a source map");
    for (index, line) in module.code.lines().enumerate().take(200) {
        for column in 1..=line.len() as u32 {
            assert_eq!(
                map.original(index as u32 + 1, column).expect(line).0,
                index as u32 + 1
            );
        }
        let call = line.find("f(").unwrap() as u32 + 1;
        let (at, column) = map.original(index as u32 + 1, call).unwrap();
        let original = source.lines().nth(at as usize - 1).unwrap();
        assert_eq!(original.chars().nth(column as usize - 1), Some('f'));
    }
    assert!(map.size() < 16 * 1024, "{} bytes", map.size());
}

#[test]
fn code_of_the_compiler_has_no_place() {
    let module = typescript("const d = (c: any) => c;\n@d class A {}\nexport { A };\n");
    let line = module
        .code
        .lines()
        .position(|line| line.contains("_ts_decorate(decorators"))
        .unwrap();
    assert_eq!(module.map.unwrap().original(line as u32 + 1, 1), None);
}

#[test]
fn lowered_javascript_has_a_map() {
    let source = "class A { accessor x = 1 }\n\nnew A().x.y.z;\n";
    let module = transpile("test", source, Language::JavaScript).unwrap();
    let map = module.map.expect("a source map");
    let place = frames(&stack(&module.code))[0];
    assert_eq!(map.original(place.0, place.1).unwrap().0, 3);
}
