//! The units that configuration is written in: [`Duration`], [`Size`] and [`Limit`].
//!
//! Every config struct uses these instead of bare numbers, so that `5s` and `64KiB` mean the same
//! everywhere. The JSON Schemas carry the `format` keywords [`DURATION_FORMAT`] and [`SIZE_FORMAT`]:
//! a validator that knows them checks the text by [`FromStr`](std::str::FromStr) and reports it at its place.
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

mod duration;
mod limit;
mod size;

pub use duration::Duration;
pub use limit::Limit;
pub use size::Size;

use std::borrow::Cow;
use std::fmt;

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

#[cfg(test)]
mod tests {
    use super::*;

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
