//! Numbers of bytes.

use super::{SIZE_FORMAT, UnitError, scaled};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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
}
