//! [`Reply`], an answer read from bytes by RFC 9112, and [`Broken`], one that is none. Strict: what
//! a browser would forgive is refused here.

use std::fmt;

/// One complete answer.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The reason phrase, which may be empty.
    pub reason: String,
    /// The fields in the order and spelling in which they came.
    pub headers: Vec<(String, String)>,
    /// The body without its framing.
    pub body: Vec<u8>,
    /// The trailers of a chunked body.
    pub trailers: Vec<(String, String)>,
    /// The interim answers before it (100, 103), by status.
    pub interim: Vec<u16>,
    /// All of it as it came, interim answers included.
    pub raw: Vec<u8>,
}

impl Reply {
    /// The first value of this name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers_named(name).next()
    }

    /// All values of this name, in any case, one per line of the head.
    pub fn headers_named(&self, name: &str) -> impl Iterator<Item = &str> {
        let same = move |(n, _): &&(String, String)| n.eq_ignore_ascii_case(name);
        self.headers.iter().filter(same).map(|(_, v)| v.as_str())
    }

    /// The body as text, invalid UTF-8 replaced.
    pub fn text(&self) -> String {
        lossy(&self.body)
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// With the body, if it is none.
    pub fn json(&self) -> serde_json::Value {
        match serde_json::from_slice(&self.body) {
            Ok(value) => value,
            Err(error) => panic!("{} is not JSON ({error}): {}", self.status, self.text()),
        }
    }
}

/// An answer that is none.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Broken {
    /// What was wrong.
    pub cause: Cause,
    /// What had come of it.
    pub raw: Vec<u8>,
}

impl Broken {
    /// Its head, if that was whole: the first one, be it interim.
    pub fn head(&self) -> Option<Reply> {
        head(&self.raw).ok().flatten().map(|(reply, _)| reply)
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.raw[..self.raw.len().min(2000)];
        write!(
            f,
            "broken answer ({:?}) of {} bytes: {:?}",
            self.cause,
            self.raw.len(),
            lossy(shown)
        )
    }
}

/// Why an answer is [`Broken`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// The peer closed before the end that the framing promised.
    Closed,
    /// The peer reset the connection.
    Reset,
    /// The time was over.
    Deadline,
    /// The bytes are not HTTP/1.1; the text says where.
    Malformed(String),
}

pub(super) type Parsed<T> = Result<Option<(T, usize)>, String>;

/// One whole response at the start of `bytes`, and its length; `None` if more must come.
pub(super) fn response(bytes: &[u8], method: &str, ended: bool) -> Parsed<Reply> {
    let (mut interim, mut start) = (Vec::new(), 0);
    loop {
        let Some((mut reply, length)) = head(&bytes[start..])? else {
            return Ok(None);
        };
        start += length;
        if reply.status < 200 && reply.status != 101 {
            interim.push(reply.status);
            continue;
        }
        let Some((body, trailers, length)) = body(&reply, &bytes[start..], method, ended)? else {
            return Ok(None);
        };
        let end = start + length;
        (reply.body, reply.trailers, reply.interim) = (body, trailers, interim);
        reply.raw = bytes[..end].to_vec();
        return Ok(Some((reply, end)));
    }
}

pub(super) fn head(bytes: &[u8]) -> Parsed<Reply> {
    let Some(end) = find(bytes, b"\r\n\r\n") else {
        return Ok(None);
    };
    let text = lossy(&bytes[..end]);
    let mut lines = text.split("\r\n");
    let first = lines.next().unwrap_or_default();
    let status_line = || format!("status line {first:?}");
    let rest = first.strip_prefix("HTTP/1.1 ").ok_or_else(status_line)?;
    let (status, reason) = rest.split_once(' ').unwrap_or((rest, ""));
    let digits = status.len() == 3 && status.bytes().all(|b| b.is_ascii_digit());
    let status = status
        .parse()
        .ok()
        .filter(|s| digits && *s >= 100)
        .ok_or_else(status_line)?;
    let reply = Reply {
        status,
        reason: reason.to_owned(),
        headers: fields(lines)?,
        raw: bytes[..end + 4].to_vec(),
        ..Reply::default()
    };
    Ok(Some((reply, end + 4)))
}

fn fields<'a>(lines: impl Iterator<Item = &'a str>) -> Result<Vec<(String, String)>, String> {
    let field = |line: &'a str| {
        let (name, value) = line.split_once(':')?;
        let token = !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic());
        let clean = !value.contains(['\r', '\n', '\0']);
        (token && clean).then(|| (name.to_owned(), value.trim_matches([' ', '\t']).to_owned()))
    };
    lines
        .map(|line| field(line).ok_or_else(|| format!("field line {line:?}")))
        .collect()
}

type BodyParts = (Vec<u8>, Vec<(String, String)>, usize);

/// The body by RFC 9112 §6.3, its trailers, and its length on the wire.
fn body(
    reply: &Reply,
    bytes: &[u8],
    method: &str,
    ended: bool,
) -> Result<Option<BodyParts>, String> {
    let bodiless = matches!(reply.status, 101 | 204 | 304) || method == "HEAD";
    if bodiless || (method == "CONNECT" && reply.status < 300) {
        return Ok(Some((Vec::new(), Vec::new(), 0)));
    }
    let lengths: Vec<&str> = reply.headers_named("content-length").collect();
    let codings: Vec<&str> = reply.headers_named("transfer-encoding").collect();
    match (&lengths[..], &codings[..]) {
        ([], []) if ended => Ok(Some((bytes.to_vec(), Vec::new(), bytes.len()))),
        ([], []) => Ok(None),
        ([], [coding]) if coding.eq_ignore_ascii_case("chunked") => chunked(bytes),
        ([length], []) if length.bytes().all(|b| b.is_ascii_digit()) => {
            let length: usize = length.parse().map_err(|_| format!("length {length:?}"))?;
            Ok(bytes
                .get(..length)
                .map(|body| (body.to_vec(), Vec::new(), length)))
        }
        _ => Err(format!("framing: length {lengths:?}, coding {codings:?}")),
    }
}

fn chunked(bytes: &[u8]) -> Result<Option<BodyParts>, String> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let Some(line) = find(&bytes[at..], b"\r\n") else {
            return Ok(None);
        };
        let text = lossy(&bytes[at..at + line]);
        let size = text.split(';').next().unwrap_or_default().trim_end();
        let hex = !size.is_empty() && size.bytes().all(|b| b.is_ascii_hexdigit());
        let size = usize::from_str_radix(size, 16).ok().filter(|_| hex);
        let size = size.ok_or_else(|| format!("chunk size {text:?}"))?;
        at += line + 2;
        if size == 0 {
            break;
        }
        // Split rather than indexed, since a lying size may overflow any sum.
        let Some((data, rest)) = bytes[at..].split_at_checked(size) else {
            return Ok(None);
        };
        if rest.len() < 2 {
            return Ok(None);
        }
        if !rest.starts_with(b"\r\n") {
            return Err(format!("chunk of {size} bytes does not end where it says"));
        }
        body.extend_from_slice(data);
        at += size + 2;
    }
    if bytes[at..].starts_with(b"\r\n") {
        return Ok(Some((body, Vec::new(), at + 2)));
    }
    let Some(end) = find(&bytes[at..], b"\r\n\r\n") else {
        return Ok(None);
    };
    let trailers = fields(lossy(&bytes[at..at + end]).split("\r\n"))?;
    Ok(Some((body, trailers, at + end + 4)))
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|w| w == what)
}

pub(super) fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str, method: &str) -> Reply {
        let (reply, used) = response(text.as_bytes(), method, true).unwrap().unwrap();
        assert_eq!(used, reply.raw.len());
        reply
    }

    #[test]
    fn reads_the_body_by_its_framing() {
        for (answer, method, body) in [
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhixx",
                "GET",
                "hi",
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;x=y\r\nh\r\n1\r\ni\r\n0\r\n\r\n",
                "GET",
                "hi",
            ),
            ("HTTP/1.1 200 OK\r\n\r\nhi", "GET", "hi"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", "HEAD", ""),
            ("HTTP/1.1 204 No Content\r\n\r\n", "GET", ""),
            ("HTTP/1.1 304 \r\nContent-Length: 2\r\n\r\n", "GET", ""),
            ("HTTP/1.1 101 Switching Protocols\r\n\r\nraw", "GET", ""),
            ("HTTP/1.1 200 OK\r\n\r\nraw", "CONNECT", ""),
        ] {
            assert_eq!(parsed(answer, method).text(), body, "{answer:?}");
        }
    }

    #[test]
    fn keeps_interim_answers_fields_and_trailers() {
        let reply = parsed(
            "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nX-A: 1\r\nx-a:\t2 \r\nTransfer-Encoding: chunked\r\n\r\n0\r\nDigest: z\r\n\r\n",
            "GET",
        );
        assert_eq!(reply.interim, [103]);
        assert_eq!(reply.headers_named("x-A").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(reply.trailers, [("Digest".to_owned(), "z".to_owned())]);
    }

    #[test]
    fn refuses_what_is_not_well_formed() {
        for answer in [
            "HTTP/1.0 200 OK\r\n\r\n",
            "HTTP/1.1 2000 OK\r\n\r\n",
            "HTTP/1.1 20x OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
            "HTTP/1.1 200 OK\r\nname : v\r\n\r\n",
            "HTTP/1.1 200 OK\r\n folded: v\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nhi",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nhi",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhi",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x2\r\nhi\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nhi\r\n0\r\n\r\n",
        ] {
            assert!(
                response(answer.as_bytes(), "GET", true).is_err(),
                "{answer:?}"
            );
        }
    }

    #[test]
    fn every_prefix_of_an_answer_waits_for_more() {
        let whole =
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nT: x\r\n\r\n";
        for end in 0..whole.len() {
            let part = response(&whole.as_bytes()[..end], "GET", true).unwrap();
            assert!(part.is_none(), "{:?}", &whole[..end]);
        }
    }
}
