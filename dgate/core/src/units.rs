//! The units that configuration is written in: [`Duration`], [`Size`] and [`Limit`].
//!
//! Every config struct uses these instead of bare numbers, so that `5s` and `64KiB` mean the same
//! everywhere. The JSON Schemas carry the `format` keywords [`DURATION_FORMAT`] and [`SIZE_FORMAT`]:
//! a validator that knows them checks the text by [`FromStr`] and reports it at its place.
//!
//! ```
//! use dgate_core::units::{Duration, Limit, Size};
//!
//! let patience: Duration = "1m30s".parse()?;
//! assert_eq!(patience.as_secs(), 90);
//! assert_eq!(patience.to_string(), "90s");
//! assert_eq!("64KiB".parse::<Size>()?.bytes(), 65536);
//! assert_eq!("none".parse::<Limit<Size>>()?, Limit::None);
//! # Ok::<(), dgate_core::units::UnitError>(())
//! ```

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, DeserializeOwned, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// The `format` keyword of a [`Duration`] in JSON Schemas.
pub const DURATION_FORMAT: &str = "dgate-duration";

/// The `format` keyword of a [`Size`] in JSON Schemas.
pub const SIZE_FORMAT: &str = "dgate-size";

/// Why a text is no value of its unit. Shows a form that would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitError(Cow<'static, str>);

impl UnitError {
    /// What the error of a duration given as a bare number says.
    pub const BARE_DURATION: &'static str = "a duration needs a unit, for example `5s`";

    fn new(message: impl Into<Cow<'static, str>>) -> Self {
        Self(message.into())
    }
}

impl fmt::Display for UnitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UnitError {}

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

/// `number` (digits, perhaps with decimals) times `factor`. Outer `None`: no number, or no whole
/// result; inner `None`: too large to count.
fn scaled(number: &str, factor: u128) -> Option<Option<u128>> {
    let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(decimals) || decimals.len() > 18 {
        return None;
    }
    let power = 10u128.pow(u32::try_from(decimals.len()).ok()?);
    // Below 10^18 · 10^18, which 128 bits hold.
    let fraction = decimals.parse::<u128>().ok()? * factor;
    if !fraction.is_multiple_of(power) {
        return None;
    }
    Some(
        whole
            .parse::<u128>()
            .ok()
            .and_then(|whole| whole.checked_mul(factor))
            .and_then(|whole| whole.checked_add(fraction / power)),
    )
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

/// A number of bytes, written `64KiB`, `10MiB`, `1GB` or as a plain number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size(u64);

/// Bytes of each unit. Where two forms are equally short, the earlier is written.
const SIZE_UNITS: [(&str, u64); 8] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
];

impl Size {
    /// This many bytes.
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// This many times 1024 bytes. Panics on overflow, which a constant shows at compile time.
    pub const fn kib(n: u64) -> Self {
        Self(n * 1024)
    }

    /// This many times 1024² bytes. Panics on overflow, which a constant shows at compile time.
    pub const fn mib(n: u64) -> Self {
        Self(n * 1024 * 1024)
    }

    /// The number of bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// The number of bytes as a length in memory, at most `usize::MAX`.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl From<u64> for Size {
    fn from(bytes: u64) -> Self {
        Self(bytes)
    }
}

impl From<Size> for u64 {
    fn from(size: Size) -> Self {
        size.0
    }
}

impl FromStr for Size {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let wrong = || {
            UnitError::new(format!(
                "`{text}` is no size: write bytes as a number, or a number with one of the units \
                 KiB, MiB, GiB, TiB, KB, MB, GB and TB, for example `64KiB`"
            ))
        };
        let end = text
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let factor = match unit {
            "" | "B" => 1,
            _ => {
                SIZE_UNITS
                    .iter()
                    .find(|(name, _)| name.eq_ignore_ascii_case(unit))
                    .ok_or_else(wrong)?
                    .1
            }
        };
        scaled(number, u128::from(factor))
            .ok_or_else(wrong)?
            .and_then(|bytes| u64::try_from(bytes).ok())
            .map(Self)
            .ok_or_else(|| UnitError::new(format!("`{text}` is more than 64 bits can count")))
    }
}

impl fmt::Display for Size {
    /// The shortest exact form: `64KiB`, `1MB`, `100`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let with_unit = SIZE_UNITS
            .iter()
            .filter(|(_, unit)| self.0 != 0 && self.0.is_multiple_of(*unit))
            .map(|(name, unit)| format!("{}{name}", self.0 / unit))
            .min_by_key(String::len);
        match with_unit {
            Some(text) => f.write_str(&text),
            None => write!(f, "{}", self.0),
        }
    }
}

impl Serialize for Size {
    /// Text where a unit fits, otherwise a number.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = self.to_string();
        if text.ends_with('B') {
            serializer.serialize_str(&text)
        } else {
            serializer.serialize_u64(self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Size;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as `64KiB`, or a number of bytes")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Size, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<Size, E> {
                Ok(Size(bytes))
            }

            fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<Size, E> {
                u64::try_from(bytes)
                    .map(Size)
                    .map_err(|_| E::invalid_value(de::Unexpected::Signed(bytes), &self))
            }
        }
        deserializer.deserialize_any(Bytes)
    }
}

impl JsonSchema for Size {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn schema_id() -> Cow<'static, str> {
        concat!(module_path!(), "::Size").into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A number of bytes, or a text with a unit such as `64KiB`, `10MiB` or `1GB`.",
            "type": ["integer", "string"],
            "minimum": 0,
            "format": SIZE_FORMAT,
        })
    }
}

/// A bound that can be taken away: a `T`, or `none` (also null).
///
/// What `none` means is said by the field: unlimited for a limit, off for a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Limit<T> {
    /// Bounded by this.
    Of(T),
    /// Not bounded, or off.
    None,
}

impl<T: Copy> Limit<T> {
    /// The bound, if there is one.
    pub fn get(self) -> Option<T> {
        match self {
            Self::Of(bound) => Some(bound),
            Self::None => None,
        }
    }
}

impl<T> Limit<T> {
    /// The bound by reference, if there is one.
    pub fn as_option(&self) -> Option<&T> {
        match self {
            Self::Of(bound) => Some(bound),
            Self::None => None,
        }
    }
}

impl<T> From<Option<T>> for Limit<T> {
    fn from(bound: Option<T>) -> Self {
        bound.map_or(Self::None, Self::Of)
    }
}

impl<T: FromStr> FromStr for Limit<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, T::Err> {
        if text == "none" {
            Ok(Self::None)
        } else {
            text.parse().map(Self::Of)
        }
    }
}

impl<T: fmt::Display> fmt::Display for Limit<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Of(bound) => bound.fmt(f),
            Self::None => f.write_str("none"),
        }
    }
}

impl<T: Serialize> Serialize for Limit<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Of(bound) => bound.serialize(serializer),
            Self::None => serializer.serialize_str("none"),
        }
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Limit<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // By way of a value and not by an untagged enum, which would hide what `T` says is wrong.
        match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::Null => Ok(Self::None),
            serde_json::Value::String(text) if text == "none" => Ok(Self::None),
            value => T::deserialize(value)
                .map(Self::Of)
                .map_err(de::Error::custom),
        }
    }
}

impl<T: JsonSchema> JsonSchema for Limit<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Limit_of_{}", T::schema_name()).into()
    }

    fn schema_id() -> Cow<'static, str> {
        format!("{}::Limit<{}>", module_path!(), T::schema_id()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [generator.subschema_for::<T>(), { "const": "none" }, { "type": "null" }],
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

    #[test]
    fn sizes_are_read_and_written_in_their_shortest_form() {
        for (value, bytes, written) in [
            (json!(1024), 1024, json!("1KiB")),
            (json!("64KiB"), 65536, json!("64KiB")),
            (json!("10MiB"), 10 << 20, json!("10MiB")),
            (json!("1GiB"), 1 << 30, json!("1GiB")),
            (json!("1KB"), 1000, json!("1KB")),
            (json!("3mb"), 3_000_000, json!("3MB")),
            (json!("1.5KiB"), 1536, json!(1536)),
            (json!("100"), 100, json!(100)),
            (json!("100B"), 100, json!(100)),
            (json!(0), 0, json!(0)),
            (json!(u64::MAX), u64::MAX, json!(u64::MAX)),
        ] {
            let size: Size = serde_json::from_value(value.clone()).expect("a size");
            assert_eq!(size.bytes(), bytes, "{value}");
            assert_eq!(serde_json::to_value(size).unwrap(), written, "{value}");
            assert_eq!(size.to_string().parse::<Size>().unwrap(), size, "{value}");
        }
        for value in [
            json!("10 lightyears"),
            json!("KiB"),
            json!(""),
            json!("1.0001KiB"),
            json!(-1),
            json!(1.5),
            json!("99999999999TiB"),
            json!(null),
            json!("10 MiB"),
        ] {
            assert!(
                serde_json::from_value::<Size>(value.clone()).is_err(),
                "{value}"
            );
        }
    }

    #[test]
    fn limits_take_none_and_null() {
        for (value, limit) in [
            (json!("10s"), Limit::Of(Duration::from_secs(10))),
            (json!("none"), Limit::None),
            (json!(null), Limit::None),
        ] {
            assert_eq!(
                serde_json::from_value::<Limit<Duration>>(value).unwrap(),
                limit
            );
        }
        assert_eq!(
            serde_json::from_value::<Limit<u32>>(json!(7))
                .unwrap()
                .get(),
            Some(7)
        );
        assert!(serde_json::from_value::<Limit<u32>>(json!("many")).is_err());
        assert_eq!(
            serde_json::to_value(Limit::<u32>::None).unwrap(),
            json!("none")
        );
        assert_eq!("none".parse::<Limit<Size>>().unwrap().to_string(), "none");
        let error = serde_json::from_value::<Limit<Duration>>(json!(5)).unwrap_err();
        assert!(error.to_string().contains("needs a unit"), "{error}");
    }

    #[test]
    fn schemas_carry_the_formats() {
        let schema = schemars::schema_for!(Limit<Duration>);
        assert_eq!(
            schema.as_value()["$defs"]["Duration"]["format"],
            DURATION_FORMAT
        );
        assert_eq!(schema.as_value()["anyOf"][1]["const"], "none");
        assert_eq!(
            schemars::schema_for!(Size).as_value()["format"],
            SIZE_FORMAT
        );
    }
}
