//! Text to tree: swc's parser with every error it finds, in words people can read.

use swc_core::common::{BytePos, Spanned};
use swc_core::ecma::ast::{EsVersion, Expr, JSXElement, JSXFragment, Module};
use swc_core::ecma::parser::error::{Error, SyntaxError};
use swc_core::ecma::parser::{EsSyntax, Lexer, Parser, StringInput, Syntax, TsSyntax};
use swc_core::ecma::visit::{Visit, VisitWith};

use crate::Language;
use crate::diagnostic::Fault;
use crate::nesting;

/// swc counts bytes from here; 0 stands for code that the compiler wrote.
pub(crate) const BASE: u32 = 1;

/// Range of bytes of a node, for a [`Fault`].
pub(crate) fn range(node: &impl Spanned) -> (u32, u32) {
    let span = node.span();
    (
        span.lo.0.saturating_sub(BASE),
        span.hi.0.saturating_sub(BASE),
    )
}

/// A fault over a node.
pub(crate) fn fault(node: &impl Spanned, message: impl Into<String>) -> Fault {
    let (start, end) = range(node);
    Fault {
        start,
        end,
        message: message.into(),
    }
}

/// Parses a module, or says all that is wrong with it.
pub(crate) fn parse(source: &str, language: Language) -> Result<Module, Vec<Fault>> {
    let mut faults = match attempt(source, syntax(language, false)) {
        Ok(module) => return nesting::check(&module).map_or(Ok(module), |fault| Err(vec![fault])),
        Err(faults) => faults,
    };
    // What is read as a comparison or a type assertion gives faults far from the cause: if it all
    // makes sense as another language, that is what to say.
    if looks_like_jsx(source)
        && let Ok(module) = attempt(source, syntax(language, true))
        && nesting::check(&module).is_none()
    {
        let mut jsx = Jsx(Vec::new());
        module.visit_with(&mut jsx);
        if !jsx.0.is_empty() {
            return Err(jsx.0);
        }
    }
    if language == Language::JavaScript
        && attempt(source, syntax(Language::TypeScript, false)).is_ok()
    {
        // The last is the one that stopped the parser; those before it are guesses at what was meant.
        faults.drain(..faults.len().saturating_sub(1));
        for fault in &mut faults {
            fault.message = "this is TypeScript, and the module is JavaScript".into();
        }
    }
    Err(faults)
}

/// Whether it is worth another attempt; a great many tags would take the parser long.
fn looks_like_jsx(source: &str) -> bool {
    source.contains("/>") || (1..300).contains(&source.matches("</").take(300).count())
}

fn syntax(language: Language, jsx: bool) -> Syntax {
    match language {
        Language::TypeScript => Syntax::Typescript(TsSyntax {
            decorators: true,
            tsx: jsx,
            ..TsSyntax::default()
        }),
        Language::JavaScript => Syntax::Es(EsSyntax {
            jsx,
            import_attributes: true,
            // Lowered in `accessor`.
            auto_accessors: true,
            explicit_resource_management: true,
            ..EsSyntax::default()
        }),
    }
}

fn attempt(source: &str, syntax: Syntax) -> Result<Module, Vec<Fault>> {
    let input = StringInput::new(source, BytePos(BASE), BytePos(BASE + source.len() as u32));
    let mut parser = Parser::new_from(Lexer::new(syntax, EsVersion::latest(), input, None));
    let result = parser.parse_module();
    // What is missing at the end is missing after the last token, not after the last blank line.
    let end = source.trim_end().len() as u32;
    let describe = |error: &Error| describe(error, end);
    let mut faults: Vec<Fault> = parser.take_errors().iter().map(describe).collect();
    match result {
        Ok(module) if faults.is_empty() => Ok(module),
        Ok(_) => Err(faults),
        Err(error) => {
            faults.push(describe(&error));
            Err(faults)
        }
    }
}

fn describe(error: &Error, end: u32) -> Fault {
    let mut fault = fault(error, message(error.kind()));
    fault.start = fault.start.min(end);
    // A zero-width range would have no caret to stand under.
    fault.end = fault.end.max(fault.start + 1);
    fault
}

fn message(kind: &SyntaxError) -> String {
    match kind {
        SyntaxError::Eof => "unexpected end of file".into(),
        SyntaxError::ReturnNotAllowed => "`return` outside of a function".into(),
        SyntaxError::ExpectedIdent => "expected an identifier".into(),
        SyntaxError::NotSimpleAssign | SyntaxError::InvalidAssignTarget => {
            "this can't be assigned to".into()
        }
        SyntaxError::ExpectedSemiForExprStmt { .. } => "expected `;`, `}` or the end".into(),
        SyntaxError::TS1056 => "getters and setters can't be used here".into(),
        SyntaxError::Expected(wanted, got) => {
            format!("expected {}, got {}", quoted(wanted), quoted(got))
        }
        // `expected` can be a list of all tokens there are.
        SyntaxError::Unexpected { got, expected } if expected.len() > 60 => {
            format!("unexpected {}", quoted(got))
        }
        SyntaxError::Unexpected { got, expected } => {
            format!("unexpected {}, expected {expected}", quoted(got))
        }
        SyntaxError::WithLabel { inner, .. } => message(inner.kind()),
        kind => tidy(&kind.msg()),
    }
}

/// A token in backquotes, which the parser may have written already.
fn quoted(token: &str) -> String {
    match token.trim_matches(['`', '\'']) {
        "" => format!("`{token}`"),
        "<eof>" | "eof" | "EOF" => "the end of the file".into(),
        "ident" => "an identifier".into(),
        // Not a token but a kind of them: "string literal".
        kind if kind.contains(' ') => format!("a {kind}"),
        bare => format!("`{bare}`"),
    }
}

/// Our way of writing messages: one line, lower case, no full stop.
fn tidy(text: &str) -> String {
    let text = text
        .lines()
        .next()
        .unwrap_or_default()
        .trim_end_matches(['.', ';']);
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        (Some(first), Some(second)) if !second.is_uppercase() => {
            first.to_lowercase().collect::<String>() + &text[first.len_utf8()..]
        }
        _ => text.to_owned(),
    }
}

/// Finds the outermost pieces of JSX.
struct Jsx(Vec<Fault>);

impl Jsx {
    fn found(&mut self, node: &impl Spanned) {
        self.0.push(fault(node, "JSX is not supported in modules"));
    }
}

impl Visit for Jsx {
    fn visit_expr(&mut self, node: &Expr) {
        match node {
            Expr::JSXElement(_) | Expr::JSXFragment(_) => self.found(node),
            _ => node.visit_children_with(self),
        }
    }
    fn visit_jsx_element(&mut self, node: &JSXElement) {
        self.found(node);
    }
    fn visit_jsx_fragment(&mut self, node: &JSXFragment) {
        self.found(node);
    }
}
