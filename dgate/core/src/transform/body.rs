//! A JSON body that is read whole, changed and put back.

use super::JsonOperations;
use crate::body::Body;
use crate::error::{Error, ErrorKind};
use http::{HeaderMap, HeaderValue, header};
use http_body::Body as _;
use http_body_util::{BodyExt, LengthLimitError, Limited};

/// What became of a body.
#[derive(Debug)]
pub enum Rewritten {
    /// Changed; `Content-Length` says how long it is now.
    Done(Body),
    /// Not touched: there is none, or it is no JSON by its `Content-Type`.
    Untouched(Body),
}

/// Whether the media type of a message is JSON: `application/json` or one that ends in `+json`.
pub fn is_json(headers: &HeaderMap) -> bool {
    let text = headers
        .get(header::CONTENT_TYPE)
        .and_then(|v| v.to_str().ok());
    let media_type = text.and_then(|t| t.split(';').next()).unwrap_or("").trim();
    let ends = |end: &str| {
        let at = media_type.len().checked_sub(end.len());
        at.and_then(|at| media_type.get(at..))
            .is_some_and(|tail| tail.eq_ignore_ascii_case(end))
    };
    media_type.eq_ignore_ascii_case("application/json") || ends("+json")
}

/// Reads a JSON body of at most `limit` bytes, does the operations, and corrects the headers that told of the old one.
///
/// # Errors
/// `too_large` above the limit, and `invalid` for a body that is compressed or no JSON.
pub async fn rewrite(
    operations: &JsonOperations,
    headers: &mut HeaderMap,
    body: Body,
    limit: u64,
    too_large: ErrorKind,
    invalid: ErrorKind,
) -> Result<Rewritten, Error> {
    if operations.is_empty() || body.is_end_stream() || !is_json(headers) {
        return Ok(Rewritten::Untouched(body));
    }
    let coded = |value: &HeaderValue| !value.as_bytes().eq_ignore_ascii_case(b"identity");
    if headers.get_all(header::CONTENT_ENCODING).iter().any(coded) {
        return Err(Error::new(invalid).with_detail("a compressed body cannot be transformed"));
    }
    let too_large = || {
        Error::new(too_large)
            .with_detail(format!("a body above {limit} bytes cannot be transformed"))
    };
    if body.size_hint().lower() > limit {
        return Err(too_large());
    }
    let limit_in_memory = usize::try_from(limit).unwrap_or(usize::MAX);
    let whole = match Limited::new(body, limit_in_memory).collect().await {
        Ok(whole) => whole.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => return Err(too_large()),
        Err(error) => return Err(Error::classify(error)),
    };
    let changed = operations.apply(&whole).map_err(|error| {
        Error::new(invalid)
            .with_detail("the body is no valid JSON, as its Content-Type says it is")
            .with_cause(error)
    })?;
    headers.remove(header::TRANSFER_ENCODING);
    headers.insert(header::CONTENT_LENGTH, changed.len().into());
    for digest in ["content-md5", "digest", "content-digest", "repr-digest"] {
        headers.remove(digest);
    }
    Ok(Rewritten::Done(Body::from(changed)))
}
