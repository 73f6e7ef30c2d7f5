//! Sets of HTTP statuses.

use super::{STATUS_FORMAT, UnitError};
use http::StatusCode;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// One status or all from one to another: `429`, or `500-599`.
///
/// ```
/// use dgate_core::units::Statuses;
/// let failures: Statuses = "500-599".parse().unwrap();
/// assert!(failures.contains(http::StatusCode::BAD_GATEWAY));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statuses {
    first: u16,
    last: u16,
}

impl Statuses {
    /// All from `first` to `last`, both included.
    pub const fn new(first: u16, last: u16) -> Self {
        Self { first, last }
    }
    /// Whether a status is one of them.
    pub fn contains(self, status: StatusCode) -> bool {
        (self.first..=self.last).contains(&status.as_u16())
    }
}

impl FromStr for Statuses {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let status = |s: &str| {
            let digits = s.len() == 3 && s.bytes().all(|b| b.is_ascii_digit());
            digits.then(|| s.parse().ok()).flatten()
        };
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (status(first.trim()), status(last.trim())) {
            (Some(first), Some(last)) if (100..=last).contains(&first) && last < 600 => {
                Ok(Self { first, last })
            }
            _ => Err(UnitError::new(format!(
                "`{text}` is no set of statuses: write one such as 429, or two from 100 to 599, the lower one \
                 first, such as `500-599`"
            ))),
        }
    }
}

impl fmt::Display for Statuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first == self.last {
            true => write!(f, "{}", self.first),
            false => write!(f, "{}-{}", self.first, self.last),
        }
    }
}

impl Serialize for Statuses {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.first == self.last {
            true => to.serialize_u16(self.first),
            false => to.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Statuses {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Statuses;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a status such as 429, or two such as `500-599`")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Statuses, E> {
                text.parse().map_err(E::custom)
            }
            fn visit_u64<E: de::Error>(self, status: u64) -> Result<Statuses, E> {
                self.visit_str(&status.to_string())
            }
            fn visit_i64<E: de::Error>(self, status: i64) -> Result<Statuses, E> {
                self.visit_str(&status.to_string())
            }
        }
        from.deserialize_any(Text)
    }
}

impl JsonSchema for Statuses {
    fn schema_name() -> Cow<'static, str> {
        "Statuses".into()
    }

    fn schema_id() -> Cow<'static, str> {
        concat!(module_path!(), "::Statuses").into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A status such as `429`, or all from one to another, such as `500-599`.",
            "type": ["integer", "string"],
            "minimum": 100,
            "maximum": 599,
            "format": STATUS_FORMAT,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn one_status_and_ranges_are_read_and_written() {
        for (value, inside, outside) in [
            (json!(429), 429, 428),
            (json!("500-599"), 599, 499),
            (json!("200-399"), 200, 400),
        ] {
            let set: Statuses = serde_json::from_value(value.clone()).expect("statuses");
            assert_eq!(serde_json::to_value(set).expect("statuses print"), value);
            let has = |status| set.contains(StatusCode::from_u16(status).expect("a status"));
            assert!(has(inside) && !has(outside), "{value}");
        }
        for wrong in [json!("599-500"), json!(99), json!("5xx"), json!("500-600")] {
            assert!(serde_json::from_value::<Statuses>(wrong).is_err());
        }
    }
}
