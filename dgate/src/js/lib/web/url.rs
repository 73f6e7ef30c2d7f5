//! `URL` and `URLSearchParams`: the natives below `url.js`, over the `url` crate.
//!
//! The classes are JavaScript's; a URL is there its href and the offsets of its parts, so that a getter is a slice of a
//! string and crosses no boundary. Parsing, the setters' rules and form encoding are here.

use rquickjs::{Array, Ctx, Function, Object, Result, function::Opt};
use url::{Position, Url, form_urlencoded, quirks};

/// Puts `urlParse`, `urlSet`, `queryParse` and `queryText` on `native`.
pub(crate) fn install<'js>(ctx: &Ctx<'js>, native: &Object<'js>) -> Result<()> {
    native.set("urlParse", Function::new(ctx.clone(), parse)?)?;
    native.set("urlSet", Function::new(ctx.clone(), set)?)?;
    native.set("queryParse", Function::new(ctx.clone(), query_parse)?)?;
    native.set("queryText", Function::new(ctx.clone(), query_text)?)?;
    Ok(())
}

/// The record of a URL that parses, against a base if there is one; else nothing.
fn parse<'js>(
    ctx: Ctx<'js>,
    input: String,
    base: Opt<Option<String>>,
) -> Result<Option<Array<'js>>> {
    let url = match base.0.flatten() {
        None => Url::parse(&input),
        Some(base) => Url::parse(&base).and_then(|base| base.join(&input)),
    };
    url.ok().map(|url| record(&ctx, &url)).transpose()
}

/// The record after a setter: its href, then the offsets that `url.js` names.
fn record<'js>(ctx: &Ctx<'js>, url: &Url) -> Result<Array<'js>> {
    let end = |position| url[..position].len();
    let port_end = end(Position::AfterPort);
    // The path of a URL without host that begins with two slashes is written with `/.` before it.
    let path_start = url.as_str().len() - url[Position::AfterPath..].len() - url.path().len();
    // Without a password `url` 2.5 would have the `@` of `http://user@host/` for one, and panic in debug builds.
    let (password_start, password_end) = match url.password() {
        Some(_) => (end(Position::BeforePassword), end(Position::AfterPassword)),
        None => (end(Position::AfterUsername), end(Position::AfterUsername)),
    };
    let offsets = [
        end(Position::AfterScheme),
        end(Position::BeforeUsername),
        end(Position::AfterUsername),
        password_start,
        password_end,
        end(Position::BeforeHost),
        end(Position::AfterHost),
        end(Position::BeforePort),
        port_end,
        path_start,
        end(Position::AfterPath),
        end(Position::AfterQuery),
    ];
    let record = Array::new(ctx.clone())?;
    record.set(0, url.as_str())?;
    for (index, offset) in offsets.into_iter().enumerate() {
        record.set(index + 1, offset)?;
    }
    Ok(record)
}

/// What a setter makes of a URL; nothing if the standard says that it changes nothing.
fn set<'js>(ctx: Ctx<'js>, href: String, part: u8, value: String) -> Result<Option<Array<'js>>> {
    let Ok(mut url) = Url::parse(&href) else {
        return Ok(None);
    };
    let changed = match part {
        0 => quirks::set_protocol(&mut url, &value).is_ok(),
        1 => quirks::set_username(&mut url, &value).is_ok(),
        2 => quirks::set_password(&mut url, &value).is_ok(),
        3 => quirks::set_host(&mut url, &value).is_ok(),
        4 => quirks::set_hostname(&mut url, &value).is_ok(),
        5 => quirks::set_port(&mut url, &value).is_ok(),
        6 => {
            quirks::set_pathname(&mut url, &value);
            true
        }
        7 => {
            quirks::set_search(&mut url, &value);
            true
        }
        _ => {
            quirks::set_hash(&mut url, &value);
            true
        }
    };
    changed.then(|| record(&ctx, &url)).transpose()
}

/// Names and values in turn, decoded from `application/x-www-form-urlencoded`.
fn query_parse<'js>(ctx: Ctx<'js>, text: String) -> Result<Array<'js>> {
    let list = Array::new(ctx)?;
    for (index, (name, value)) in form_urlencoded::parse(text.as_bytes()).enumerate() {
        list.set(2 * index, &*name)?;
        list.set(2 * index + 1, &*value)?;
    }
    Ok(list)
}

/// The inverse of [`query_parse`].
fn query_text(list: Array<'_>) -> Result<String> {
    let mut text = form_urlencoded::Serializer::new(String::new());
    for index in (0..list.len()).step_by(2) {
        let name: String = list.get(index)?;
        let value: String = list.get(index + 1)?;
        text.append_pair(&name, &value);
    }
    Ok(text.finish())
}
