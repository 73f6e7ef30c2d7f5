//! `TextEncoder` and `TextDecoder`: the natives below `encoding.js`, over `encoding_rs`.
//!
//! `encoding.js` makes strings well-formed before they come here, since the engine's UTF-8 of a lone surrogate is none.

use std::sync::{Mutex, PoisonError};

use encoding_rs::{CoderResult, Decoder, DecoderResult, Encoding, UTF_8, UTF_16BE, UTF_16LE};
use rquickjs::{Array, Class, Ctx, Function, JsLifetime, Object, Result, TypedArray, class::Trace};

use crate::js::raw;

/// Puts `utf8Encode`, `utf8EncodeInto`, `encodingName`, `decodeAll` and `decoder` on `native`.
pub(crate) fn install<'js>(ctx: &Ctx<'js>, native: &Object<'js>) -> Result<()> {
    native.set("utf8Encode", Function::new(ctx.clone(), encode)?)?;
    native.set("utf8EncodeInto", Function::new(ctx.clone(), encode_into)?)?;
    native.set("encodingName", Function::new(ctx.clone(), encoding_name)?)?;
    native.set("decodeAll", Function::new(ctx.clone(), decode_all)?)?;
    native.set("decoder", Function::new(ctx.clone(), decoder)?)?;
    Ok(())
}

fn encode<'js>(ctx: Ctx<'js>, text: String) -> Result<TypedArray<'js, u8>> {
    TypedArray::new(ctx, text.into_bytes())
}

/// `[UTF-16 units read, bytes]` of the longest prefix of whole characters that fits in `room` bytes.
fn encode_into<'js>(ctx: Ctx<'js>, mut text: String, room: usize) -> Result<Array<'js>> {
    text.truncate(text.floor_char_boundary(room));
    let result = Array::new(ctx.clone())?;
    result.set(0, text.chars().map(char::len_utf16).sum::<usize>())?;
    result.set(1, TypedArray::new(ctx, text.into_bytes())?)?;
    Ok(result)
}

/// The name of the encoding with this label, as the `encoding` attribute has it.
fn encoding_name(label: String) -> Option<String> {
    let encoding = Encoding::for_label_no_replacement(label.as_bytes())?;
    Some(encoding.name().to_ascii_lowercase())
}

fn encoding(name: &str) -> &'static Encoding {
    Encoding::for_label_no_replacement(name.as_bytes()).unwrap_or(UTF_8)
}

/// The text of `bytes`, or nothing if they are malformed and that is fatal.
fn decode_all<'js>(
    ctx: Ctx<'js>,
    name: String,
    bytes: TypedArray<'js, u8>,
    fatal: bool,
    keep_bom: bool,
) -> Result<Option<rquickjs::String<'js>>> {
    let encoding = encoding(&name);
    let bytes = raw::copy_bytes(bytes.as_value()).unwrap_or_default();
    let mut rest = bytes.as_slice();
    if !keep_bom {
        let mark: &[u8] = match encoding {
            e if e == UTF_8 => b"\xef\xbb\xbf",
            e if e == UTF_16LE => b"\xff\xfe",
            e if e == UTF_16BE => b"\xfe\xff",
            _ => b"",
        };
        rest = rest.strip_prefix(mark).unwrap_or(rest);
    }
    let text = if fatal {
        encoding.decode_without_bom_handling_and_without_replacement(rest)
    } else {
        Some(encoding.decode_without_bom_handling(rest).0)
    };
    text.map(|text| rquickjs::String::from_str(ctx, &text))
        .transpose()
}

/// A decoder that keeps the bytes of a character that is not whole yet, for `{ stream: true }`.
fn decoder(
    ctx: Ctx<'_>,
    name: String,
    fatal: bool,
    keep_bom: bool,
) -> Result<Class<'_, StreamDecoder>> {
    let encoding = encoding(&name);
    let inner = if keep_bom {
        encoding.new_decoder_without_bom_handling()
    } else {
        encoding.new_decoder_with_bom_removal()
    };
    Class::instance(
        ctx,
        StreamDecoder {
            fatal,
            inner: Mutex::new(inner),
        },
    )
}

/// The state of a `TextDecoder` between two pieces; JavaScript sees it only behind a private field.
#[derive(Trace, JsLifetime)]
#[rquickjs::class]
pub(crate) struct StreamDecoder {
    fatal: bool,
    #[qjs(skip_trace)]
    inner: Mutex<Decoder>,
}

#[rquickjs::methods]
impl StreamDecoder {
    /// The text of the next piece, or nothing if it is malformed and that is fatal.
    fn decode(&self, bytes: TypedArray<'_, u8>, last: bool) -> Option<String> {
        let bytes = raw::copy_bytes(bytes.as_value()).unwrap_or_default();
        let mut decoder = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        let mut rest = bytes.as_slice();
        loop {
            let room = if self.fatal {
                decoder.max_utf8_buffer_length_without_replacement(rest.len())
            } else {
                decoder.max_utf8_buffer_length(rest.len())
            };
            text.reserve(room?);
            let read = if self.fatal {
                match decoder.decode_to_string_without_replacement(rest, &mut text, last) {
                    (DecoderResult::InputEmpty, _) => return Some(text),
                    (DecoderResult::Malformed(..), _) => return None,
                    (DecoderResult::OutputFull, read) => read,
                }
            } else {
                match decoder.decode_to_string(rest, &mut text, last) {
                    (CoderResult::InputEmpty, ..) => return Some(text),
                    (CoderResult::OutputFull, read, _) => read,
                }
            };
            rest = &rest[read..];
        }
    }
}
