//! The text of a domain's pattern, and which hosts it takes.

use std::borrow::Cow;
use std::cmp::Reverse;

use regex::Regex;

use super::matcher::{self, PatternError};

/// One pattern of a domain.
#[derive(Debug, Clone)]
pub struct DomainPattern {
    /// As matched: lower case, or a regex as written.
    pub(crate) text: String,
    pub(crate) kind: Kind,
}

/// In the order of precedence.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Exact,
    /// The text between, and at which ends anything may stand.
    Wildcard {
        core: String,
        before: bool,
        after: bool,
    },
    Regex(Regex),
}

impl DomainPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What can't be a host or a pattern of hosts, with its column.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if let Some(regex) = matcher::regex_text(text) {
            let kind = Kind::Regex(matcher::compile(regex, true)?);
            return Ok(Self {
                text: text.to_owned(),
                kind,
            });
        }
        if text.is_empty() {
            return Err(PatternError::new(1, "empty pattern, `*` is any host"));
        }
        let lower = text.to_ascii_lowercase();
        if let Some(address) = ipv6(&lower) {
            return Ok(Self {
                text: address.to_owned(),
                kind: Kind::Exact,
            });
        }
        check_characters(text)?;
        check_stars(text)?;
        let lower = lower
            .strip_suffix('.')
            .filter(|rest| !rest.is_empty())
            .unwrap_or(&lower);
        let core = lower.trim_matches('*');
        // Labels may be empty only where a wildcard touches the dot.
        if core.contains("..") || (core.len() == lower.len() && core.starts_with('.')) {
            let column = lower.find("..").map_or(1, |at| at + 2);
            return Err(PatternError::new(column, "empty label"));
        }
        let kind = if core.len() == lower.len() {
            Kind::Exact
        } else {
            let (before, after) = (lower.starts_with('*'), lower.ends_with('*'));
            Kind::Wildcard {
                core: core.to_owned(),
                before,
                after,
            }
        };
        Ok(Self {
            text: lower.to_owned(),
            kind,
        })
    }

    /// The pattern in lower case (a regex: as written); equal patterns have equal texts.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the pattern takes a host as it stands in a request.
    pub fn matches(&self, host: &str) -> bool {
        self.takes(&plain(host))
    }

    pub(crate) fn takes(&self, host: &str) -> bool {
        match &self.kind {
            Kind::Exact => self.text == host,
            Kind::Wildcard {
                core,
                before: true,
                after: true,
            } => host.contains(core.as_str()),
            Kind::Wildcard {
                core, before: true, ..
            } => host.ends_with(core.as_str()),
            Kind::Wildcard { core, .. } => host.starts_with(core.as_str()),
            Kind::Regex(regex) => regex.is_match(host),
        }
    }

    pub(crate) fn rank(&self) -> (u8, Reverse<usize>) {
        let kind = match self.kind {
            Kind::Exact => 0,
            Kind::Wildcard { .. } => 1,
            Kind::Regex(_) => 2,
        };
        (kind, Reverse(self.text.chars().count()))
    }
}

/// A host without port, brackets and trailing dot, in lower case.
pub(crate) fn plain(host: &str) -> Cow<'_, str> {
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        // More colons than one are an IPv6 address without brackets, which has no port.
        None => match host.split_once(':') {
            Some((name, port)) if !port.contains(':') => name,
            _ => host,
        },
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    }
}

fn ipv6(text: &str) -> Option<&str> {
    let inner = text
        .strip_prefix('[')
        .map_or(Some(text), |rest| rest.strip_suffix(']'))?;
    inner.parse::<std::net::Ipv6Addr>().is_ok().then_some(inner)
}

fn check_characters(text: &str) -> Result<(), PatternError> {
    for (at, character) in text.chars().enumerate() {
        let problem = match character {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' | '.' | '*' => continue,
            ':' => "port or scheme in a pattern, hosts are matched without".into(),
            '/' => "slash in a pattern, a regex begins and ends with one".into(),
            character if character.is_whitespace() => "space in a pattern".into(),
            character if !character.is_ascii() => {
                format!("`{character}` is not ASCII, clients send such names in punycode (`xn--…`)")
            }
            character => format!("`{character}` in a pattern"),
        };
        return Err(PatternError::new(at + 1, problem));
    }
    Ok(())
}

fn check_stars(text: &str) -> Result<(), PatternError> {
    let stars: Vec<usize> = text.match_indices('*').map(|(at, _)| at).collect();
    if stars.len() > 2 {
        return Err(PatternError::new(stars[2] + 1, "more than two `*`"));
    }
    if let Some(middle) = stars.iter().find(|at| **at != 0 && **at + 1 != text.len()) {
        return Err(PatternError::new(
            middle + 1,
            "`*` in the middle, it stands at the start or end",
        ));
    }
    if text == "**" {
        return Err(PatternError::new(2, "`*` twice, one is any host"));
    }
    Ok(())
}
