//! What commands print: tables and sentences for people, JSON and YAML for programs; and colours, where a person
//! looks.

use std::io::{self, IsTerminal, Write};

use serde_json::Value;

use crate::config::to_yaml;

/// How a command prints.
#[derive(clap::Args)]
#[command(next_help_heading = "Output")]
pub(in crate::cli) struct Output {
    /// How the answer is printed
    #[arg(
        short = 'o',
        long = "output",
        value_enum,
        default_value_t,
        value_name = "FORM"
    )]
    pub(in crate::cli) form: Form,
    /// Print nothing when a change succeeds
    #[arg(short, long)]
    pub(in crate::cli) quiet: bool,
}

/// The forms of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(in crate::cli) enum Form {
    /// For people
    #[default]
    Table,
    /// As the Admin API gives it
    Json,
    /// The same as YAML
    Yaml,
}

impl Output {
    /// Prints an answer for programs, or what `people` makes of it.
    pub(in crate::cli) fn show(
        &self,
        value: &Value,
        people: impl FnOnce(&Value) -> String,
    ) -> io::Result<()> {
        match self.form {
            Form::Table => print(&people(value)),
            Form::Json => print(&format!("{value:#}\n")),
            Form::Yaml => print(&to_yaml(value)),
        }
    }

    /// Prints the outcome of a change, unless it is to be quiet.
    pub(in crate::cli) fn done(
        &self,
        value: &Value,
        people: impl FnOnce(&Value) -> String,
    ) -> io::Result<()> {
        if self.quiet {
            return Ok(());
        }
        self.show(value, people)
    }
}

/// Writes to stdout, all of it or an error: `println!` would panic when the reader has gone.
pub(in crate::cli) fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// Says something beside the answer, on stderr.
pub(super) fn note(text: &str) {
    eprintln!("dgate: {text}");
}

/// Colours, or none: not under `NO_COLOR`, and only for terminals.
#[derive(Clone, Copy)]
pub(super) struct Paint(bool);

impl Paint {
    pub(super) fn for_stdout() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
        Self(!refused && io::stdout().is_terminal())
    }

    #[cfg(test)]
    pub(super) const NONE: Self = Self(false);

    pub(super) fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    /// By the sign of a change: `+`, `-` or `~`.
    pub(super) fn change(self, sign: char, text: &str) -> String {
        self.with(
            match sign {
                '+' => "32",
                '-' => "31",
                _ => "33",
            },
            text,
        )
    }

    /// By the level of a line of the log.
    pub(super) fn level(self, level: &str, text: &str) -> String {
        match level {
            "error" => self.with("31", text),
            "warn" => self.with("33", text),
            _ => text.to_owned(),
        }
    }

    fn with(self, code: &str, text: &str) -> String {
        if self.0 {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// Text from elsewhere, on one line and without what would steer a terminal.
pub(super) fn harmless(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '\n' | '\t' | '\r' => out.push(' '),
            c if c.is_control()
                || matches!(c, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') =>
            {
                out.extend(c.escape_unicode());
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_elsewhere_steers_no_terminal() {
        assert_eq!(
            harmless("a\x1b[31mb\nc\u{202e}"),
            "a\\u{1b}[31mb c\\u{202e}"
        );
    }

    #[test]
    fn without_colours_text_stays_as_it_is() {
        assert_eq!(Paint::NONE.bold("x"), "x");
        assert_eq!(Paint(true).change('+', "x"), "\x1b[32mx\x1b[0m");
    }
}
