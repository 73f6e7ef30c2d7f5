//! Bounds on nesting. swc's parser and passes recurse over the source, and a stack overflow ends
//! the process, so the stack is sized for the source before swc sees it.
//!
//! Two measures, since neither alone will do. The count of tokens is an upper bound of any
//! recursion and can't be fooled; the stack is reserved for that, and costs memory only where it is
//! touched. The depth of brackets is what people understand, and it keeps a deep source from
//! touching that much; it takes a guess at what is a regular expression, so nothing rests on it
//! alone. Chains that the parser builds in a loop (`a + a + …`) and that the passes recurse over
//! are caught by [`check`] when they are parsed.

use swc_core::common::{Span, Spanned};
use swc_core::ecma::ast::*;
use swc_core::ecma::visit::{Visit, VisitWith};

use crate::diagnostic::Fault;

/// Brackets in brackets. Code by hand stays below 30, generated data rarely above.
const MAX_BRACKETS: usize = 256;
/// `<T>(<T>(…`: swc tries each level as an arrow function first, and time doubles with each.
const MAX_ANGLE_PARENS: usize = 8;
/// Labels on one statement, and `<T>` in a row: swc compares each with all before it.
const MAX_IN_A_ROW: usize = 64;
/// Statements, expressions and types in one another, as the passes see them.
const MAX_TREE: usize = 2000;

/// Stack for the passes at [`MAX_TREE`], and for the thread itself.
const BASE: u64 = if cfg!(debug_assertions) {
    96 << 20
} else {
    24 << 20
};
/// Twice the worst that was measured for a level of brackets and for one of anything else.
const PER_BRACKET: u64 = if cfg!(debug_assertions) {
    36 << 10
} else {
    8 << 10
};
const PER_TOKEN: u64 = if cfg!(debug_assertions) {
    10 << 10
} else {
    2 << 10
};
/// What a thread may reserve: about two megabytes of dense source.
const MAX_STACK: u64 = if cfg!(debug_assertions) {
    8 << 30
} else {
    2 << 30
};

/// What compiling a source needs.
#[derive(Debug)]
pub(crate) struct Need {
    /// Bytes of stack.
    pub(crate) stack: usize,
    /// Whether a bracket seems to be open at the end.
    pub(crate) unclosed: bool,
}

/// Measures a source, or says where it is nested too deeply or that it is too large.
pub(crate) fn measure(source: &str) -> Result<Need, Fault> {
    let bytes = source.as_bytes();
    let mut tokens = 0_u64;
    let mut brackets = 0_u64;
    let mut in_word = false;
    for &byte in bytes {
        let word = is_word(byte);
        tokens += u64::from(!byte.is_ascii_whitespace() && (!word || !in_word));
        brackets += u64::from(matches!(byte, b'(' | b'[' | b'{' | b'<' | b'`'));
        in_word = word;
    }
    let stack = BASE + brackets * PER_BRACKET + tokens * PER_TOKEN;
    let stack = usize::try_from(stack).ok().filter(|_| stack <= MAX_STACK);
    let (Some(stack), Ok(_)) = (stack, u32::try_from(source.len())) else {
        let message = "the module is too large to compile".into();
        return Err(Fault {
            start: 0,
            end: 0,
            message,
        });
    };
    let mut scan = Scan {
        bytes,
        at: 0,
        open: Vec::new(),
        before: Before::Operator,
    };
    match scan.too_deep() {
        Some(offset) => Err(too_deep(offset as u32, offset as u32 + 1)),
        None => Ok(Need {
            stack,
            unclosed: !scan.open.is_empty(),
        }),
    }
}

fn too_deep(start: u32, end: u32) -> Fault {
    Fault {
        start,
        end,
        message: "nested too deeply".into(),
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'#' | 0x80..)
}

/// What stands before a token: tells a regular expression from a division.
#[derive(Clone, Copy, PartialEq)]
enum Before {
    Operator,
    Value,
    /// A `>` whose `<` stood where a value is expected.
    AngleClosed,
}

#[derive(Clone, Copy, PartialEq)]
enum Open {
    Bracket,
    /// A parenthesis right after `<…>` in the place of a value.
    AngleParen,
    /// `${`: its `}` goes on with the template.
    Template,
}

struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
    open: Vec<Open>,
    before: Before,
}

impl Scan<'_> {
    fn peek(&self, ahead: usize) -> u8 {
        self.bytes.get(self.at + ahead).copied().unwrap_or(0)
    }

    /// Offset of the first bracket that is too deep.
    fn too_deep(&mut self) -> Option<usize> {
        let mut angle_parens = 0;
        let mut labels = 0;
        let mut angles = 0;
        while self.at < self.bytes.len() {
            let start = self.at;
            let before = std::mem::replace(&mut self.before, Before::Operator);
            match self.peek(0) {
                b if b.is_ascii_whitespace() => {
                    self.before = before;
                    self.at += 1;
                }
                b'/' if self.peek(1) == b'/' => {
                    self.before = before;
                    self.skip_until(b"\n");
                }
                b'/' if self.peek(1) == b'*' => {
                    self.before = before;
                    self.at += 2;
                    self.skip_until(b"*/");
                }
                b'/' if before != Before::Value => {
                    self.regex();
                    self.before = Before::Value;
                }
                quote @ (b'"' | b'\'') => {
                    self.string(quote);
                    self.before = Before::Value;
                }
                b'`' => {
                    self.at += 1;
                    self.template();
                }
                bracket @ (b'(' | b'[' | b'{') => {
                    let angle = bracket == b'(' && before == Before::AngleClosed;
                    angle_parens += usize::from(angle);
                    self.open.push(if angle {
                        Open::AngleParen
                    } else {
                        Open::Bracket
                    });
                    self.at += 1;
                }
                bracket @ (b')' | b']' | b'}') => {
                    self.at += 1;
                    let opened = self.open.pop();
                    angle_parens -= usize::from(opened == Some(Open::AngleParen));
                    if bracket == b'}' && opened == Some(Open::Template) {
                        self.template();
                    } else if bracket != b'}' {
                        self.before = Before::Value;
                    }
                }
                b'<' if before != Before::Value => {
                    self.at += 1;
                    self.angle();
                }
                b'!' if before == Before::Value && self.peek(1) != b'=' => {
                    self.before = Before::Value;
                    self.at += 1;
                }
                b if is_word(b) => self.word(),
                _ => self.at += 1,
            }
            labels = match self.bytes[start] {
                b':' if before == Before::Value => labels + 1,
                b if is_word(b) || b.is_ascii_whitespace() => labels,
                _ => 0,
            };
            angles = match self.before {
                Before::AngleClosed if before == Before::AngleClosed => {
                    angles + usize::from(self.bytes[start] == b'<')
                }
                _ => 0,
            };
            if self.open.len() > MAX_BRACKETS
                || angle_parens > MAX_ANGLE_PARENS
                || labels.max(angles) > MAX_IN_A_ROW
            {
                return Some(start);
            }
        }
        None
    }

    fn skip_until(&mut self, end: &[u8]) {
        while self.at < self.bytes.len() && !self.bytes[self.at..].starts_with(end) {
            self.at += 1;
        }
        self.at += end.len();
    }

    fn string(&mut self, quote: u8) {
        self.at += 1;
        while self.at < self.bytes.len() {
            match self.peek(0) {
                b'\\' => self.at += 1,
                b if b == quote || b == b'\n' => break,
                _ => {}
            }
            self.at += 1;
        }
        self.at += 1;
    }

    fn regex(&mut self) {
        let mut class = false;
        self.at += 1;
        while self.at < self.bytes.len() {
            match self.peek(0) {
                b'\\' => self.at += 1,
                b'[' => class = true,
                b']' => class = false,
                b'\n' => break,
                b'/' if !class => break,
                _ => {}
            }
            self.at += 1;
        }
        self.at += 1;
    }

    /// Goes on inside of a template, up to its end or to a `${`.
    fn template(&mut self) {
        while self.at < self.bytes.len() {
            match self.peek(0) {
                b'\\' => self.at += 1,
                b'`' => {
                    self.before = Before::Value;
                    break;
                }
                b'$' if self.peek(1) == b'{' => {
                    self.at += 2;
                    self.open.push(Open::Template);
                    return;
                }
                _ => {}
            }
            self.at += 1;
        }
        self.at += 1;
    }

    /// After a `<` in the place of a value: `<T>` or `<T,>` of an assertion or a generic arrow.
    fn angle(&mut self) {
        let mut depth = 1;
        let limit = (self.at + 200).min(self.bytes.len());
        for at in self.at..limit {
            match self.bytes[at] {
                b'<' => depth += 1,
                b'>' => depth -= 1,
                b'(' | b')' | b';' => return,
                _ => {}
            }
            if depth == 0 {
                self.at = at + 1;
                self.before = Before::AngleClosed;
                return;
            }
        }
    }

    fn word(&mut self) {
        let start = self.at;
        while is_word(self.peek(0)) {
            self.at += 1;
        }
        self.before = match &self.bytes[start..self.at] {
            b"return" | b"typeof" | b"case" | b"in" | b"of" | b"delete" | b"void" | b"throw"
            | b"new" | b"do" | b"else" | b"await" | b"yield" | b"instanceof" | b"default" => {
                Before::Operator
            }
            _ => Before::Value,
        };
    }
}

/// Looks for a tree that is deeper than the passes may recurse.
pub(crate) fn check(module: &Module) -> Option<Fault> {
    let mut depth = Depth {
        level: 0,
        found: None,
    };
    module.visit_with(&mut depth);
    depth.found.map(|(start, end)| too_deep(start, end))
}

struct Depth {
    level: usize,
    found: Option<(u32, u32)>,
}

impl Depth {
    fn nest<N: VisitWith<Self> + Spanned>(&mut self, node: &N) {
        if self.found.is_some() {
        } else if self.level >= MAX_TREE {
            let Span { lo, hi } = node.span();
            self.found = Some((lo.0.saturating_sub(1), hi.0.saturating_sub(1)));
        } else {
            self.level += 1;
            node.visit_children_with(self);
            self.level -= 1;
        }
    }
}

impl Visit for Depth {
    fn visit_expr(&mut self, node: &Expr) {
        self.nest(node);
    }
    fn visit_stmt(&mut self, node: &Stmt) {
        self.nest(node);
    }
    fn visit_pat(&mut self, node: &Pat) {
        self.nest(node);
    }
    fn visit_ts_type(&mut self, node: &TsType) {
        self.nest(node);
    }
    fn visit_ts_entity_name(&mut self, node: &TsEntityName) {
        self.nest(node);
    }
    fn visit_ts_namespace_body(&mut self, node: &TsNamespaceBody) {
        // The passes take quadratic time over `A.B.C…`, and nobody writes many.
        self.level += MAX_TREE / 100;
        self.nest(node);
        self.level -= MAX_TREE / 100;
    }
    fn visit_jsx_object(&mut self, node: &JSXObject) {
        self.nest(node);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(source: &str) -> bool {
        measure(source).is_ok()
    }

    #[test]
    fn counts_brackets_of_code_only() {
        assert!(!fits(&"(".repeat(300)));
        assert!(!fits(&"`${".repeat(300)));
        assert!(fits(&"({[`${1}`]})".repeat(300)));
        assert!(fits(
            &"x = '('; y = \"{\"; z = /[(/{]\\//g; // (\n /* [ */ a = b / c; `(`;".repeat(300)
        ));
        assert!(fits(
            &"a(b)! / 2 + c[0] / d; e = x ? /\\(/ : 1;\n".repeat(300)
        ));
    }

    #[test]
    fn counts_type_assertions_before_parentheses() {
        assert!(!fits(&"<T>(".repeat(20)));
        assert!(!fits(&format!("x = {}", "<Map<string, T>>(".repeat(20))));
        assert!(fits(&"f(<T,>(x: T) => x); a<b>(c); ".repeat(100)));
        assert!(fits(&"a<b>(".repeat(20)));
    }

    #[test]
    fn refuses_what_needs_too_much_stack() {
        assert!(measure(&"let a = 1;\n".repeat(2000)).is_ok());
        assert_eq!(measure(&"!".repeat(8 << 20)).unwrap_err().start, 0);
    }
}
