//! A reader of DER (X.690) for the outside of keys: what is inside is parsed by aws-lc. It is here since aws-lc
//! takes several formats where the W3C text names one, and lets bytes follow.

pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
const OID: u8 = 0x06;

/// id-ecPublicKey, RFC 5480.
pub(super) const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
/// rsaEncryption, RFC 8017.
pub(super) const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
/// id-Ed25519, RFC 8410.
pub(super) const ED25519: &[u8] = &[0x2b, 0x65, 0x70];

/// What is left to read.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    /// The content of the next element if it has this tag.
    pub(super) fn read(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (&[found, first], rest) = self.0.split_first_chunk()?;
        let (len, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81 => (usize::from(*rest.first()?), &rest[1..]),
            0x82 => {
                let (&len, rest) = rest.split_first_chunk()?;
                (usize::from(u16::from_be_bytes(len)), rest)
            }
            _ => return None, // a key of over 64 KiB, or not DER
        };
        let (content, rest) = rest.split_at_checked(len)?;
        self.0 = rest;
        (found == tag).then_some(content)
    }

    /// The next element, a sequence.
    pub(super) fn sequence(&mut self) -> Option<Self> {
        self.read(SEQUENCE).map(Reader)
    }

    /// The next element, a number that is not negative, without leading zeros.
    pub(super) fn number(&mut self) -> Option<&'a [u8]> {
        self.read(INTEGER).map(trim)
    }

    /// `Some` when nothing is left.
    pub(super) fn end(self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

/// A big-endian number without the zeros in front.
pub(super) fn trim(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}

/// The key of a `SubjectPublicKeyInfo` (RFC 5280) of this algorithm, and the reader of its parameters.
pub(super) fn spki<'a>(bytes: &'a [u8], algorithm: &[u8]) -> Option<(Reader<'a>, &'a [u8])> {
    let mut outer = Reader(bytes);
    let mut info = outer.sequence()?;
    outer.end()?;
    let mut identifier = info.sequence()?;
    if identifier.read(OID)? != algorithm {
        return None;
    }
    let key = info.read(BIT_STRING)?.strip_prefix(&[0])?;
    info.end()?;
    Some((identifier, key))
}

/// The key of a `PrivateKeyInfo` (RFC 5208, RFC 5958) of this algorithm, after which nothing follows.
pub(super) fn pkcs8<'a>(bytes: &'a [u8], algorithm: &[u8]) -> Option<&'a [u8]> {
    let mut outer = Reader(bytes);
    let mut info = outer.sequence()?;
    outer.end()?;
    info.read(INTEGER)?;
    if info.sequence()?.read(OID)? != algorithm {
        return None;
    }
    info.read(OCTET_STRING)
}

/// Whether the parameters are this object identifier.
pub(super) fn is_oid(mut parameters: Reader<'_>, oid: &[u8]) -> bool {
    parameters.read(OID) == Some(oid) && parameters.end().is_some()
}
