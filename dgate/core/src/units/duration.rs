//! Spans of time.

use super::{DURATION_FORMAT, UnitError, scaled};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

/// A span of time, written `250ms`, `1.5s` or `1m30s`; units `ns`, `us`, `ms`, `s`, `m`, `h`, `d`.
///
/// Derefs to [`std::time::Duration`]. What is parsed is at most 36500 days, so that adding it to an
/// instant cannot overflow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(std::time::Duration);

/// Nanoseconds of each unit, largest first; the flag says whether output may use decimals of it.
const TIME_UNITS: [(&str, u128, bool); 7] = [
    ("d", 86_400_000_000_000, false),
    ("h", 3_600_000_000_000, false),
    ("m", 60_000_000_000, false),
    ("s", 1_000_000_000, true),
    ("ms", 1_000_000, true),
    ("us", 1_000, true),
    ("ns", 1, false),
];

const LONGEST: u128 = 36_500 * 86_400_000_000_000;

impl Duration {
    /// No time at all.
    pub const ZERO: Self = Self(std::time::Duration::ZERO);

    /// This many whole seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(std::time::Duration::from_secs(seconds))
    }

    /// This many milliseconds.
    pub const fn from_millis(milliseconds: u64) -> Self {
        Self(std::time::Duration::from_millis(milliseconds))
    }

    /// The standard library's form.
    pub const fn get(self) -> std::time::Duration {
        self.0
    }
}

impl Deref for Duration {
    type Target = std::time::Duration;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl From<std::time::Duration> for Duration {
    fn from(duration: std::time::Duration) -> Self {
        Self(duration)
    }
}

impl From<Duration> for std::time::Duration {
    fn from(duration: Duration) -> Self {
        duration.0
    }
}

impl FromStr for Duration {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let wrong = || {
            UnitError::new(format!(
                "`{text}` is no duration: write a number with one of the units ns, us, ms, s, m, h \
                 and d, for example `250ms` or `1m30s`"
            ))
        };
        if text.parse::<f64>().is_ok() {
            return Err(UnitError::new(UnitError::BARE_DURATION));
        }
        let mut rest = text;
        let mut total: u128 = 0;
        // Units must become smaller from part to part: `1m30s`, not `30s1m` or `1s1s`.
        let mut limit = u128::MAX;
        while !rest.is_empty() {
            let digits = rest
                .find(|c: char| !c.is_ascii_digit() && c != '.')
                .ok_or_else(wrong)?;
            let (number, after) = rest.split_at(digits);
            let letters = after
                .find(|c: char| c.is_ascii_digit())
                .unwrap_or(after.len());
            let (unit, next) = after.split_at(letters);
            let unit = if unit == "µs" { "us" } else { unit };
            let (_, nanos, _) = TIME_UNITS
                .iter()
                .find(|(name, ..)| *name == unit)
                .ok_or_else(wrong)?;
            if *nanos >= limit {
                return Err(wrong());
            }
            limit = *nanos;
            total = scaled(number, *nanos)
                .ok_or_else(wrong)?
                .and_then(|part| total.checked_add(part))
                .filter(|sum| *sum <= LONGEST)
                .ok_or_else(|| UnitError::new(format!("`{text}` is longer than 36500d")))?;
            rest = next;
        }
        if limit == u128::MAX {
            return Err(wrong());
        }
        let seconds = u64::try_from(total / 1_000_000_000).map_err(|_| wrong())?;
        let nanos = u32::try_from(total % 1_000_000_000).map_err(|_| wrong())?;
        Ok(Self(std::time::Duration::new(seconds, nanos)))
    }
}

impl fmt::Display for Duration {
    /// The shortest exact form of one unit: `90s`, `1.5s`, `250ms`, `2h`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        if nanos == 0 {
            return f.write_str("0s");
        }
        let whole = TIME_UNITS
            .iter()
            .filter(|(_, unit, _)| nanos.is_multiple_of(*unit))
            .map(|(name, unit, _)| format!("{}{name}", nanos / unit));
        let decimal = TIME_UNITS
            .iter()
            .filter(|(_, unit, decimals)| {
                *decimals && nanos >= *unit && !nanos.is_multiple_of(*unit)
            })
            .map(|(name, unit, _)| {
                let width = unit.ilog10() as usize;
                let fraction = format!("{:0width$}", nanos % unit);
                format!("{}.{}{name}", nanos / unit, fraction.trim_end_matches('0'))
            });
        // The first of equal length wins: whole numbers, and the larger unit.
        let shortest = whole
            .chain(decimal)
            .min_by_key(String::len)
            .unwrap_or_default();
        f.write_str(&shortest)
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Duration;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as `5s`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_i64<E: de::Error>(self, _: i64) -> Result<Duration, E> {
                Err(E::custom(UnitError::BARE_DURATION))
            }

            fn visit_u64<E: de::Error>(self, _: u64) -> Result<Duration, E> {
                Err(E::custom(UnitError::BARE_DURATION))
            }

            fn visit_f64<E: de::Error>(self, _: f64) -> Result<Duration, E> {
                Err(E::custom(UnitError::BARE_DURATION))
            }
        }
        deserializer.deserialize_any(Text)
    }
}

impl JsonSchema for Duration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn schema_id() -> Cow<'static, str> {
        concat!(module_path!(), "::Duration").into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A duration: a number with a unit, such as `250ms`, `5s`, `1m30s` or `2h`.",
            "type": "string",
            "format": DURATION_FORMAT,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn durations_are_read_and_written_in_their_shortest_form() {
        for (text, nanos, written) in [
            ("250ms", 250_000_000, "250ms"),
            ("5s", 5_000_000_000, "5s"),
            ("1.5s", 1_500_000_000, "1.5s"),
            ("1500ms", 1_500_000_000, "1.5s"),
            ("1m30s", 90_000_000_000, "90s"),
            ("60s", 60_000_000_000, "1m"),
            ("2h", 7_200_000_000_000, "2h"),
            ("90m", 5_400_000_000_000, "90m"),
            ("1d", 86_400_000_000_000, "1d"),
            ("10us", 10_000, "10us"),
            ("10µs", 10_000, "10us"),
            ("7ns", 7, "7ns"),
            ("0s", 0, "0s"),
            ("0.5h", 1_800_000_000_000, "30m"),
            ("100ms", 100_000_000, "100ms"),
            ("1d1ns", 86_400_000_000_001, "86400000000001ns"),
        ] {
            let duration: Duration = text.parse().expect(text);
            assert_eq!(duration.as_nanos(), nanos, "{text}");
            assert_eq!(duration.to_string(), written, "{text}");
            assert_eq!(written.parse::<Duration>().expect(written), duration);
            assert_eq!(serde_json::to_value(duration).unwrap(), json!(written));
        }
    }

    #[test]
    fn wrong_durations_say_what_is_right() {
        for text in [
            "",
            "s",
            "5 s",
            "5 parsecs",
            "5S",
            "-5s",
            "1s1s",
            "30s1m",
            "1.s",
            ".5s",
            "1.2.3s",
            "0.1ns",
            "5sx",
            "99999999999999999999999999999999999999999999s",
            "36501d",
            "1s ",
        ] {
            assert!(text.parse::<Duration>().is_err(), "{text}");
        }
        for bare in ["12", "1.5"] {
            assert_eq!(
                bare.parse::<Duration>().unwrap_err().to_string(),
                UnitError::BARE_DURATION
            );
        }
        for bare in [json!(12), json!(-1), json!(1.5)] {
            let error = serde_json::from_value::<Duration>(bare).unwrap_err();
            assert!(
                error.to_string().contains("needs a unit, for example `5s`"),
                "{error}"
            );
        }
    }
}
