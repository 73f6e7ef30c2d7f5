//! Reads paths from Rust text, for `floors`: not a parser, just enough of one to find every
//! `crate::`, `super::` and `use` in code that rustfmt has seen.

/// Every path in the code that starts at a crate of ours or relative to a module, with its line.
pub(super) fn paths_in(code: &str) -> Vec<(Vec<String>, usize)> {
    let mut found = Vec::new();
    for start in ["crate", "self", "super", "dgate_core", "dgate"] {
        for at in words(code, start) {
            let inner = code[..at].ends_with("::") && start != "dgate_core" && start != "dgate";
            if inner || !code[at + start.len()..].starts_with("::") {
                continue;
            }
            let line = code[..at].matches('\n').count() + 1;
            found.extend(
                use_tree(&code[at..])
                    .into_iter()
                    .map(|(path, _)| (path, line)),
            );
        }
    }
    found
}

/// The paths of a use tree at the start of `code`, each with its alias. A plain path is one too.
pub(super) fn use_tree(code: &str) -> Vec<(Vec<String>, Option<String>)> {
    fn walk<'a>(
        mut rest: &'a str,
        prefix: &[String],
        out: &mut Vec<(Vec<String>, Option<String>)>,
    ) -> &'a str {
        let mut path = prefix.to_vec();
        loop {
            rest = rest.trim_start().trim_start_matches("::").trim_start();
            if let Some(inside) = rest.strip_prefix('{') {
                rest = inside.trim_start();
                while !rest.is_empty() && !rest.starts_with('}') {
                    let before = rest.len();
                    rest = walk(rest, &path, out)
                        .trim_start()
                        .trim_start_matches(',')
                        .trim_start();
                    if rest.len() == before {
                        return ""; // not a use tree after all
                    }
                }
                return rest.strip_prefix('}').unwrap_or(rest);
            }
            let length = match rest.starts_with('*') {
                true => 1,
                false => rest.find(|c: char| !is_word(c)).unwrap_or(rest.len()),
            };
            match &rest[..length] {
                "" => break,
                "self" if !path.is_empty() => {}
                name => path.push(name.to_owned()),
            }
            rest = &rest[length..];
            if !rest.trim_start().starts_with("::") {
                break;
            }
        }
        let after = rest.trim_start();
        let alias = after.strip_prefix("as ").map(|a| {
            let a = a.trim_start();
            let end = a.find(|c: char| !is_word(c)).unwrap_or(a.len());
            rest = &a[end..];
            a[..end].to_owned()
        });
        if !path.is_empty() {
            out.push((path, alias));
        }
        rest
    }
    let mut out = Vec::new();
    walk(code, &[], &mut out);
    out
}

/// Where `word` stands alone in the code.
pub(super) fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.match_indices(word)
        .map(|(at, _)| at)
        .filter(move |at| {
            !code[..*at].ends_with(is_word) && !code[at + word.len()..].starts_with(is_word)
        })
}

pub(super) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The text with comments, strings and characters turned into spaces, line breaks kept.
pub(super) fn blanked(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let mut out = String::with_capacity(text.len());
    let mut i = 0;
    while i < chars.len() {
        let end = match (at(i), at(i + 1)) {
            ('/', '/') => (i..chars.len())
                .find(|j| at(*j) == '\n')
                .unwrap_or(chars.len()),
            ('/', '*') => {
                let (mut depth, mut j) = (1, i + 2);
                while depth > 0 && j < chars.len() {
                    match (at(j), at(j + 1)) {
                        ('/', '*') => (depth, j) = (depth + 1, j + 2),
                        ('*', '/') => (depth, j) = (depth - 1, j + 2),
                        _ => j += 1,
                    }
                }
                j
            }
            ('"', _) => {
                let hashes = out.chars().rev().take_while(|c| *c == '#').count();
                let opener = out.trim_end_matches('#');
                if opener.ends_with('r')
                    && !opener[..opener.len() - 1].ends_with(|c| is_word(c) && c != 'b')
                {
                    let close = |j: &usize| at(*j) == '"' && (1..=hashes).all(|h| at(j + h) == '#');
                    (i + 1..chars.len())
                        .find(close)
                        .map_or(chars.len(), |j| j + 1 + hashes)
                } else {
                    let mut j = i + 1;
                    while j < chars.len() && at(j) != '"' {
                        j += if at(j) == '\\' { 2 } else { 1 };
                    }
                    j + 1
                }
            }
            // A lifetime has no closing quote two characters on.
            ('\'', '\\') => (i + 3..chars.len())
                .find(|j| at(*j) == '\'')
                .map_or(i + 1, |j| j + 1),
            ('\'', _) if at(i + 2) == '\'' => i + 3,
            (c, _) => {
                out.push(c);
                i += 1;
                continue;
            }
        };
        let end = end.min(chars.len());
        out.extend(
            chars[i..end]
                .iter()
                .map(|c| if *c == '\n' { '\n' } else { ' ' }),
        );
        i = end;
    }
    out
}

/// Blanked code without the items under `#[cfg(test)]`: what only a test names is no arrow.
pub(super) fn without_tests(mut code: String) -> String {
    while let Some(start) = code.find("#[cfg(test)]") {
        let mut depth = 0;
        let rest = code[start..].char_indices();
        let end = rest.skip("#[cfg(test)]".len()).find(|(_, c)| {
            depth += match c {
                '{' => 1,
                '}' => -1,
                _ => 0,
            };
            depth == 0 && matches!(c, '}' | ';')
        });
        let end = end.map_or(code.len(), |(i, _)| start + i + 1);
        let lines = "\n".repeat(code[start..end].matches('\n').count());
        code.replace_range(start..end, &lines);
    }
    code
}
