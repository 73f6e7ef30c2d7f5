//! Why a client command did not do what it was asked for: `dgate: <what>: <cause>`, a line for each further detail,
//! and a hint, all on stderr.

use std::io;
use std::process::ExitCode;

use http::StatusCode;
use serde_json::Value;

use crate::cli::INVALID;
use crate::config::Diagnostic;

/// Exit code of wrong usage, as clap has it.
pub(super) const USAGE: u8 = 2;

/// What a command says when it ends early.
#[derive(Debug)]
pub(in crate::cli) struct Failure {
    text: String,
    lines: Vec<String>,
    hint: String,
    code: u8,
}

impl Failure {
    pub(in crate::cli) fn new(
        what: impl std::fmt::Display,
        cause: impl std::fmt::Display,
        hint: impl Into<String>,
    ) -> Self {
        Self {
            text: format!("{what}: {cause}"),
            lines: Vec::new(),
            hint: hint.into(),
            code: 1,
        }
    }

    /// Arguments that cannot be meant.
    pub(super) fn usage(
        what: impl std::fmt::Display,
        cause: impl std::fmt::Display,
        hint: &str,
    ) -> Self {
        Self {
            code: USAGE,
            ..Self::new(what, cause, hint)
        }
    }

    /// Files that are wrong.
    pub(super) fn invalid(what: impl std::fmt::Display, lines: Vec<String>) -> Self {
        let cause = match lines.len() {
            1 => "the input is invalid".to_owned(),
            n => format!("the input is invalid, {n} errors"),
        };
        Self {
            lines,
            code: INVALID,
            ..Self::new(what, cause, "nothing was changed")
        }
    }

    /// The same with another hint.
    pub(super) fn hinting(self, hint: &str) -> Self {
        Self {
            hint: hint.to_owned(),
            ..self
        }
    }

    /// Says it and gives the exit code.
    pub(in crate::cli) fn report(&self) -> ExitCode {
        if self.code == 0 {
            return ExitCode::SUCCESS;
        }
        eprintln!("dgate: {}", self.text);
        for line in &self.lines {
            eprintln!("{line}");
        }
        eprintln!("hint: {}", self.hint);
        ExitCode::from(self.code)
    }
}

impl From<io::Error> for Failure {
    /// stdout cannot be written. A reader that has seen enough (`| head`) is no failure.
    fn from(error: io::Error) -> Self {
        let mut failure = Self::new("stdout", &error, "what reads the output has a problem");
        if error.kind() == io::ErrorKind::BrokenPipe {
            failure.code = 0;
        }
        failure
    }
}

/// How the Admin API said no: a problem document (RFC 9457), as far as the answer is one.
#[derive(Debug)]
pub(in crate::cli) struct Problem {
    pub(super) status: StatusCode,
    code: String,
    detail: String,
    errors: Vec<Diagnostic>,
    /// Key and kind of each.
    referrers: Vec<(String, String)>,
    retry_after: Option<String>,
}

impl Problem {
    pub(super) fn read(status: StatusCode, retry_after: Option<String>, body: &[u8]) -> Self {
        let json: Value = serde_json::from_slice(body).unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let list = |name: &str| json[name].as_array().map_or(&[][..], Vec::as_slice);
        let errors = list("errors").iter().map(|e| Diagnostic {
            pointer: text(&e["pointer"]),
            span: None,
            detail: text(&e["detail"]),
            within: None,
        });
        let referrers = list("referrers")
            .iter()
            .map(|r| (text(&r["key"]), text(&r["kind"])));
        let mut detail = text(&json["detail"]);
        if detail.is_empty() {
            detail = text(&json["title"]);
        }
        if detail.is_empty() {
            detail = format!("the answer is {status}");
        }
        Self {
            status,
            code: text(&json["code"]),
            detail,
            errors: errors.collect(),
            referrers: referrers.collect(),
            retry_after,
        }
    }

    /// A gateway without the call that was asked for.
    pub(super) fn is_unknown_call(&self) -> bool {
        self.status == StatusCode::METHOD_NOT_ALLOWED
            || self.status == StatusCode::NOT_FOUND && self.code != "not_found"
    }

    /// Whether something is in the way that still refers to what would go, or is in it.
    pub(super) fn is_referenced(&self) -> bool {
        !self.referrers.is_empty()
    }

    /// Whether a namespace is not there.
    pub(super) fn names_namespace(&self) -> bool {
        self.errors.iter().any(|e| e.pointer == "/namespace")
    }

    /// Whether a value is not of the type that its field has.
    pub(super) fn expects_another_type(&self) -> bool {
        self.errors
            .iter()
            .any(|e| e.detail.starts_with("expected "))
    }

    /// As a failure of `what`, which `hint` tells what to do about when nothing more certain is known. Each error is
    /// shown as `place` says.
    pub(in crate::cli) fn of(
        self,
        what: impl std::fmt::Display,
        hint: impl Into<String>,
        place: impl Fn(&Diagnostic) -> String,
    ) -> Failure {
        let mut hint = hint.into();
        let mut code = 1;
        match self.status {
            StatusCode::UNAUTHORIZED => {
                "--auth USER:PASSWORD or --key KEY (DGATE_ADMIN_AUTH, DGATE_ADMIN_KEY) say who you are; what was \
                 given, if anything, is wrong"
                    .clone_into(&mut hint);
            }
            StatusCode::FORBIDDEN if self.code == "cross_origin" => {
                "without admin.auth it answers for an IP address or localhost only: use one in --admin"
                    .clone_into(&mut hint);
            }
            StatusCode::FORBIDDEN => {
                "this Admin API refuses it: see admin.allow and admin.watch_only in the gateway's configuration"
                    .clone_into(&mut hint);
            }
            StatusCode::PAYLOAD_TOO_LARGE => {
                "admin.max_body of the gateway's configuration says how much it takes; DGATE_ADMIN__MAX_BODY=64MiB raises it from its start on"
                    .clone_into(&mut hint);
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                hint = match &self.retry_after {
                    Some(seconds) => {
                        format!("try again in {seconds} s; `dgate healthcheck` says more")
                    }
                    None => "try again; `dgate healthcheck` says more".to_owned(),
                };
            }
            StatusCode::UNPROCESSABLE_ENTITY | StatusCode::BAD_REQUEST => code = INVALID,
            StatusCode::CONFLICT if !self.referrers.is_empty() => {
                "delete these first, or change them; --cascade deletes a namespace or a collection with all it holds"
                    .clone_into(&mut hint);
            }
            // Two that exclude each other are an invalid configuration; a state that has moved on is none.
            StatusCode::CONFLICT if !self.errors.is_empty() => code = INVALID,
            _ if self.is_unknown_call() => {
                "is --admin the address of a gateway's Admin API, and of a version that has this call?"
                    .clone_into(&mut hint);
            }
            _ => {}
        }
        let mut lines: Vec<_> = self.errors.iter().map(place).collect();
        // What the message names already need not be said twice.
        let unsaid = |(key, _): &(String, String)| !self.detail.contains(key.as_str());
        let referrers = self.referrers.iter().filter(|r| unsaid(r));
        lines.extend(referrers.map(|(key, kind)| format!("  {kind} {key}")));
        Failure {
            lines,
            code,
            ..Failure::new(what, self.detail, hint)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_becomes_a_failure_with_its_errors_and_exit_code() {
        let body = br#"{"detail": "the input is invalid", "code": "invalid", "errors": [{"pointer": "/urls", "detail": "wrong"}]}"#;
        let problem = Problem::read(StatusCode::UNPROCESSABLE_ENTITY, None, body);
        let failure = problem.of("put service x", "do better", |d| d.to_string());
        assert_eq!(failure.text, "put service x: the input is invalid");
        assert_eq!(failure.lines, ["wrong (at /urls)"]);
        assert_eq!((failure.hint.as_str(), failure.code), ("do better", 78));
    }

    #[test]
    fn what_is_no_problem_document_says_its_status() {
        let problem = Problem::read(StatusCode::NOT_FOUND, None, b"<html>");
        let failure = problem.of("stats", "", |d| d.to_string());
        assert_eq!(failure.text, "stats: the answer is 404 Not Found");
        assert!(failure.hint.contains("--admin"), "{failure:?}");
        assert_eq!(failure.code, 1);
    }

    #[test]
    fn a_reader_that_has_seen_enough_is_no_failure() {
        let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(failure.code, 0);
    }
}
