//! Keys in the query of a request target. Other parameters stay byte for byte.

use dgate_core::{Error, ErrorKind};
use form_urlencoded::parse;
use http::Uri;
use http::uri::PathAndQuery;
use std::borrow::Cow;

/// The values of the parameters of these names, decoded.
pub(crate) fn pairs<'a>(query: &'a str, names: &'a [String]) -> impl Iterator<Item = Cow<'a, str>> {
    let all = parse(query.as_bytes());
    all.filter(|(name, _)| named(name, names))
        .map(|(_, value)| value)
}

fn named(name: &str, names: &[String]) -> bool {
    names.iter().any(|known| known == name)
}

/// The target without the parameters of these names, however they are written; `None` when it has none of them.
pub(crate) fn without(uri: &Uri, names: &[String]) -> Result<Option<Uri>, Error> {
    let query = uri.query().unwrap_or_default();
    let kept = |pair: &&str| !parse(pair.as_bytes()).any(|(name, _)| named(&name, names));
    if query.split('&').all(|pair| kept(&pair)) {
        return Ok(None);
    }
    let rest: Vec<_> = query.split('&').filter(kept).collect();
    let target = match rest.join("&").as_str() {
        "" => uri.path().to_owned(),
        rest => format!("{}?{rest}", uri.path()),
    };
    // A part of a valid target is valid.
    let broken = |cause| Error::new(ErrorKind::BadRequest).with_cause(cause);
    let mut parts = uri.clone().into_parts();
    let target = PathAndQuery::try_from(target).map_err(|e| broken(e.to_string()))?;
    parts.path_and_query = Some(target);
    let uri = Uri::from_parts(parts).map_err(|e| broken(e.to_string()))?;
    Ok(Some(uri))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_key_goes_and_the_rest_stays_byte_for_byte() {
        let names = ["apikey".to_owned(), "k y".to_owned()];
        for (target, left) in [
            ("/a?apikey=x", Some("/a")),
            ("/a?apikey", Some("/a")),
            ("/a?b=%7e&apikey=x&&c=+&c", Some("/a?b=%7e&&c=+&c")),
            ("/a?api%6Bey=x&b", Some("/a?b")),
            ("/a?k+y=1&k%20y=2&z=apikey", Some("/a?z=apikey")),
            ("/a?APIKEY=x", None),
            ("/a?xapikey=x&b=apikey=x", None),
            ("/a", None),
            ("/a?", None),
            (
                "http://h.test/a%2Fb?apikey=1&x=1",
                Some("http://h.test/a%2Fb?x=1"),
            ),
        ] {
            let uri: Uri = target.parse().unwrap();
            let found = without(&uri, &names).unwrap().map(|uri| uri.to_string());
            assert_eq!(found.as_deref(), left, "{target}");
        }
    }
}
