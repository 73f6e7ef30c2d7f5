//! A distinguished name as text (RFC 4514): the last part first, `CN=client,O=Example`.

use std::fmt::Write as _;
use x509_parser::der_parser::asn1_rs::Oid;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// The short names that RFC 4514 §3 lets everyone know, and the one of e-mail addresses, which is as common.
const SHORT: [(&str, &str); 10] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.6", "C"),
    ("2.5.4.9", "STREET"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
];

/// The name as text.
pub(super) fn text(name: &X509Name<'_>) -> String {
    let mut parts: Vec<String> = name
        .iter_rdn()
        .map(|rdn| rdn.iter().map(attribute).collect::<Vec<_>>().join("+"))
        .collect();
    parts.reverse();
    parts.join(",")
}

fn attribute(one: &AttributeTypeAndValue<'_>) -> String {
    let kind = short(one.attr_type());
    match one.as_str() {
        Ok(value) => format!("{kind}={}", escaped(value)),
        // What is no text is written as the bytes that it is (§2.4).
        Err(_) => {
            let mut hex = format!("{kind}=#");
            for byte in one.as_slice() {
                let _ = write!(hex, "{byte:02x}");
            }
            hex
        }
    }
}

fn short(oid: &Oid<'_>) -> String {
    let dotted = oid.to_id_string();
    let known = SHORT.iter().find(|(known, _)| *known == dotted);
    known.map_or(dotted, |(_, name)| (*name).to_owned())
}

/// RFC 4514 §2.4. Control characters are escaped too, so that the text is one line.
fn escaped(value: &str) -> String {
    let last = value.chars().count().saturating_sub(1);
    let mut text = String::with_capacity(value.len());
    for (at, c) in value.chars().enumerate() {
        match c {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => text.extend(['\\', c]),
            '#' if at == 0 => text.push_str("\\#"),
            ' ' if at == 0 || at == last => text.push_str("\\ "),
            c if c.is_ascii_control() => {
                let _ = write!(text, "\\{:02x}", c as u32);
            }
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};

    #[test]
    fn names_are_written_backwards_and_escaped() {
        let mut name = DistinguishedName::new();
        name.push(DnType::CountryName, "DE");
        name.push(DnType::OrganizationName, "A, B + \"C\"");
        name.push(DnType::CommonName, " #client ");
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = name;
        let cert = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let (_, parsed) = x509_parser::parse_x509_certificate(cert.der()).unwrap();
        assert_eq!(
            text(parsed.subject()),
            r#"CN=\ #client\ ,O=A\, B \+ \"C\",C=DE"#
        );
    }
}
