//! Fields that name a file beside the configuration: `source_file` of a module stands for `source`, `cert_file` and
//! `key_file` of a domain for `cert` and `key`. They are replaced by the text when a file is loaded, and read again with it; nothing behind this knows of them.

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::diagnostic::{Diagnostic, Lines, Span, join};
use super::tree::{Key, Node, Value};
use crate::resource::{MAX_SOURCE, SourceTooLarge};

/// A field that a file may stand for.
struct Field {
    /// The kind, as bundles name it.
    list: &'static str,
    name: &'static str,
    file: &'static str,
    /// One of the two must be there.
    required: bool,
}

const FIELDS: [Field; 3] = [
    Field {
        list: "modules",
        name: "source",
        file: "source_file",
        required: true,
    },
    Field {
        list: "domains",
        name: "cert",
        file: "cert_file",
        required: false,
    },
    Field {
        list: "domains",
        name: "key",
        file: "key_file",
        required: false,
    },
];

/// The files that texts of a bundle came from, by the JSON pointer of each text from the bundle's root.
pub type Files = BTreeMap<String, PathBuf>;

/// Puts the texts of files in the place of their names; relative ones are taken from `dir`.
///
/// What is wrong has its pointer from the bundle's root. An empty text stands for what cannot be read, so that
/// nothing else complains of it.
pub(super) fn inline(bundle: &mut Node, dir: &Path) -> (Files, Vec<Diagnostic>) {
    let (mut files, mut errors) = (Files::new(), Vec::new());
    let Value::Map(lists) = &mut bundle.value else {
        return (files, errors);
    };
    for field in &FIELDS {
        let list = lists.iter_mut().find(|(key, _)| key.text == field.list);
        let Some(Value::List(items)) = list.map(|(_, node)| &mut node.value) else {
            continue;
        };
        for (at, item) in items.iter_mut().enumerate() {
            let pointer = join(&join("", field.list), &at.to_string());
            if let Some(file) = field.inline(item, &pointer, dir, &mut errors) {
                files.insert(join(&pointer, field.name), file);
            }
        }
    }
    (files, errors)
}

impl Field {
    fn inline(
        &self,
        item: &mut Node,
        pointer: &str,
        dir: &Path,
        errors: &mut Vec<Diagnostic>,
    ) -> Option<PathBuf> {
        let Value::Map(entries) = &mut item.value else {
            return None;
        };
        let (name, file) = (self.name, self.file);
        let given = entries.iter().any(|(key, _)| key.text == name);
        let named = entries.iter().position(|(key, _)| key.text == file);
        let Some((key, node)) = named.map(|at| entries.remove(at)) else {
            if !given && self.required {
                let detail = format!("`{name}` or `{file}` is needed");
                errors.push(Diagnostic::new(join(pointer, name), item.span, detail));
                entries.push(entry(name, Span::NONE, item.span, String::new()));
            }
            return None;
        };
        let mut wrong = |span, detail: String| {
            errors.push(Diagnostic::new(join(pointer, file), span, detail));
        };
        if given {
            wrong(
                key.span,
                format!("`{file}` and `{name}` are both given: leave one out"),
            );
            return None;
        }
        let read = match node.as_str() {
            Some("") | None => Err(format!("`{file}` is the path of a file")),
            Some(path) => {
                // Kept short where the directory is the working directory.
                let path = if dir == Path::new(".") {
                    PathBuf::from(path)
                } else {
                    dir.join(path)
                };
                match read_source(&path) {
                    Ok(text) => Ok((text, path)),
                    Err(error) => Err(format!("{}: {error}", path.display())),
                }
            }
        };
        let (text, path) = match read {
            Ok((text, path)) => (text, Some(path)),
            Err(detail) => {
                wrong(node.span, detail);
                (String::new(), None)
            }
        };
        entries.push(entry(name, key.span, node.span, text));
        path
    }
}

fn entry(name: &str, key: Span, span: Span, text: String) -> (Key, Node) {
    let key = Key {
        text: name.to_owned(),
        span: key,
    };
    let value = Value::String(text);
    (key, Node { span, value })
}

/// Reads a module's source, or another text of a resource.
///
/// # Errors
/// A file that cannot be read, is above [`MAX_SOURCE`] or is not UTF-8, with the place in it.
pub(crate) fn read_source(path: &Path) -> io::Result<String> {
    let invalid = |detail: String| io::Error::new(io::ErrorKind::InvalidData, detail);
    let mut file = std::fs::File::open(path)?;
    let size = file.metadata()?.len();
    let mut bytes = Vec::new();
    // A pipe says no size, and a file may grow.
    file.by_ref()
        .take(MAX_SOURCE.bytes() + 1)
        .read_to_end(&mut bytes)?;
    let size = size.max(bytes.len() as u64);
    if size > MAX_SOURCE.bytes() {
        return Err(invalid(SourceTooLarge(size).to_string()));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(&error.as_bytes()[..valid]).into_owned();
        let at = Lines::new(&text).span(text.len());
        invalid(format!("the text is not UTF-8 from {at} on"))
    })
}

/// Where a place within a text value is in the file that the value stands in. `start` is where the value starts.
///
/// Known for texts that stand there as they are: block scalars of YAML, multi-line texts of TOML, and those of
/// one line without escapes.
pub(crate) fn place_in(file: &str, start: Span, value: &str, at: Span) -> Option<Span> {
    let raw: Vec<&str> = file.lines().collect();
    let first = start.known()?.line - 1;
    let (anchor, text) = value
        .lines()
        .enumerate()
        .find(|(_, line)| !line.trim().is_empty())?;
    // A block begins on the line after its `|`; its first line with text may be what counts as its start.
    let block = [first + anchor, first + anchor + 1, first]
        .into_iter()
        .find_map(|line| {
            let indent = raw.get(line)?.strip_suffix(text)?;
            let blank = indent.chars().all(char::is_whitespace);
            blank.then(|| (line, indent.chars().count()))
        });
    if let Some((line, indent)) = block {
        let line = (line + at.line).checked_sub(anchor)?;
        return Some(Span::new(line, indent + at.col));
    }
    if value.trim_end().lines().count() > 1 {
        return None;
    }
    let rest: String = raw.get(first)?.chars().skip(start.col - 1).collect();
    let quote = usize::from(rest.starts_with(['"', '\'']));
    rest.get(quote..)?
        .starts_with(text)
        .then(|| Span::new(start.line, start.col + quote + at.col - 1))
}

#[cfg(test)]
mod tests {
    use super::super::tree::{Format, parse};
    use super::*;

    #[test]
    fn places_in_texts_are_places_in_their_file() {
        for (file, format, at, found) in [
            (
                "a:\n  source: |\n    one\n    two\n",
                Format::Yaml,
                (2, 3),
                Some((4, 7)),
            ),
            (
                "a:\n  source: |-\n\n    one\n      two\n",
                Format::Yaml,
                (3, 3),
                Some((5, 7)),
            ),
            (
                "a:\n  source: one two\n",
                Format::Yaml,
                (1, 5),
                Some((2, 15)),
            ),
            (
                "a:\n  source: 'one two'\n",
                Format::Yaml,
                (1, 5),
                Some((2, 16)),
            ),
            ("a: { source: \"one\\ntwo\" }\n", Format::Yaml, (2, 1), None),
            (
                "{\"a\": {\"source\": \"one\\ttwo\"}}",
                Format::Json,
                (1, 5),
                None,
            ),
            (
                "[a]\nsource = '''\none\ntwo\n'''\n",
                Format::Toml,
                (2, 3),
                Some((4, 3)),
            ),
        ] {
            let tree = parse(file, format).unwrap();
            let node = tree.at("/a/source").unwrap();
            let placed = place_in(
                file,
                node.span,
                node.as_str().unwrap(),
                Span::new(at.0, at.1),
            );
            assert_eq!(placed, found.map(|(l, c)| Span::new(l, c)), "{file}");
        }
    }
}
