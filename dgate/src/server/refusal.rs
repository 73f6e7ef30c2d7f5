//! Answers to requests that no handler sees: hyper's own are recognised as it writes them, and said anew with a body.

use bytes::Bytes;
use http::StatusCode;
use std::time::SystemTime;

/// hyper's own answer has a status line, `connection`, `content-length: 0` and `date`.
const REFUSAL_MAX: usize = 256;

/// A whole answer for a request that no handler sees.
pub(super) fn whole(status: StatusCode, body: &[u8], head_only: bool) -> Bytes {
    let reason = status.canonical_reason().unwrap_or("Error");
    let mut answer = format!(
        "HTTP/1.1 {} {reason}\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\n\
         connection: close\r\ndate: {}\r\n\r\n",
        status.as_u16(),
        body.len(),
        httpdate::fmt_http_date(SystemTime::now()),
    )
    .into_bytes();
    if !head_only {
        answer.extend_from_slice(body);
    }
    answer.into()
}

/// The status of `written`, if it is nothing but one empty error answer.
pub(super) fn of_hyper(written: &[u8]) -> Option<StatusCode> {
    if !written.starts_with(b"HTTP/1.") || written.len() > REFUSAL_MAX {
        return None;
    }
    let head = written.strip_suffix(b"\r\n\r\n")?;
    if head.windows(4).any(|w| w == b"\r\n\r\n") {
        return None;
    }
    let status = StatusCode::from_bytes(written.get(9..12)?).ok()?;
    (status.is_client_error() || status.is_server_error()).then_some(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_lone_error_head_is_a_refusal() {
        let own = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(
            of_hyper(own),
            Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)
        );
        assert_eq!(of_hyper(b"HTTP/1.1 200 OK\r\n\r\n"), None);
        assert_eq!(of_hyper(&[own.as_slice(), own].concat()), None);
        assert_eq!(
            of_hyper(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\nno"),
            None
        );
    }
}
