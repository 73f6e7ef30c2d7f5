//! Bounds that can be taken away.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, DeserializeOwned, Deserializer};
use serde::{Deserialize, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

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
    use super::super::{Duration, Size};
    use super::*;
    use serde_json::json;

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
}
