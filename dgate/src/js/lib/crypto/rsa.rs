//! Keys of RSASSA-PKCS1-v1_5 and RSA-PSS (RFC 8017), of 2048 to 8192 bits.

use super::algorithm::{Fail, Hash};
use super::der::{self, Reader};
use super::key::Jwk;
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPairComponents, KeySize};
use aws_lc_rs::signature::{
    self, KeyPair, ParsedPublicKey, RsaEncoding, RsaKeyPair, RsaParameters, RsaPssSaltLength,
    RsaPublicKeyComponents,
};

/// Bytes of the longest number that is looked at: checking a key multiplies.
const MAX_NUMBER: usize = 8192 / 8;

const BAD: Fail = Fail::Data("not an RSA key of 2048 to 8192 bits");

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Padding {
    Pkcs1,
    Pss,
}

/// What a key is used for, fixed at its import.
#[derive(Clone, Copy, Debug)]
pub(super) struct Use {
    pub(super) padding: Padding,
    pub(super) hash: Hash,
}

pub(super) struct Public {
    usage: Use,
    key: ParsedPublicKey,
    n: Box<[u8]>,
    e: Box<[u8]>,
}

pub(super) struct Private {
    usage: Use,
    pair: RsaKeyPair,
}

impl Public {
    fn new(usage: Use, der: &[u8], key: &[u8]) -> Result<Self, Fail> {
        let (n, e) = numbers(key).ok_or(BAD)?;
        if n.len() > MAX_NUMBER || n.len() * 8 < 2048 + n[0].leading_zeros() as usize {
            return Err(BAD);
        }
        let parameters = verifying(usage, usage.hash.len() as u32)?;
        let key = ParsedPublicKey::new(parameters, der).map_err(|_| BAD)?;
        Ok(Self {
            usage,
            key,
            n: n.into(),
            e: e.into(),
        })
    }

    pub(super) fn from_spki(usage: Use, bytes: &[u8]) -> Result<Self, Fail> {
        let (_, key) = der::spki(bytes, der::RSA).ok_or(BAD)?;
        Self::new(usage, bytes, key)
    }

    pub(super) fn from_jwk(usage: Use, jwk: &Jwk) -> Result<Self, Fail> {
        let (n, e) = (number(jwk, "n")?, number(jwk, "e")?);
        let parameters = verifying(usage, usage.hash.len() as u32)?;
        // Made once to have it as DER, which is checked where it is parsed.
        let key = RsaPublicKeyComponents { n, e }.to_parsed_public_key(parameters);
        let key: PublicKeyX509Der = key.map_err(|_| BAD)?.as_der().map_err(|_| BAD)?;
        Self::from_spki(usage, key.as_ref())
    }

    fn of(usage: Use, pair: &RsaKeyPair) -> Result<Self, Fail> {
        let key = pair.public_key().as_ref();
        Self::new(usage, key, key)
    }

    /// The modulus and the exponent.
    pub(super) fn numbers(&self) -> (&[u8], &[u8]) {
        (&self.n, &self.e)
    }

    /// # Errors
    /// When the length of the salt is not among those there are.
    pub(super) fn verify(&self, signature: &[u8], data: &[u8], salt: u32) -> Result<bool, Fail> {
        if self.usage.padding == Padding::Pkcs1 || salt as usize == self.usage.hash.len() {
            return Ok(self.key.verify_sig(data, signature).is_ok());
        }
        let key = ParsedPublicKey::new(verifying(self.usage, salt)?, self.key.as_ref());
        Ok(key.map_err(|_| BAD)?.verify_sig(data, signature).is_ok())
    }

    pub(super) fn spki(&self) -> Result<Vec<u8>, Fail> {
        let der: Result<PublicKeyX509Der, _> = self.key.as_der();
        Ok(der.map_err(|_| BAD)?.as_ref().to_vec())
    }

    pub(super) fn jwk(&self) -> Jwk {
        Jwk::new("RSA").with("n", &self.n).with("e", &self.e)
    }
}

impl Private {
    pub(super) fn from_pkcs8(usage: Use, bytes: &[u8]) -> Result<Self, Fail> {
        signing(usage, usage.hash.len() as u32)?;
        der::pkcs8(bytes, der::RSA).ok_or(BAD)?;
        let pair = RsaKeyPair::from_pkcs8(bytes).map_err(|_| BAD)?;
        Ok(Self { usage, pair })
    }

    pub(super) fn from_jwk(usage: Use, jwk: &Jwk) -> Result<Self, Fail> {
        signing(usage, usage.hash.len() as u32)?;
        if jwk.has("oth") {
            return Err(Fail::NotSupported("RSA keys of more than two primes"));
        }
        let pair = RsaKeyPair::from_components(&KeyPairComponents {
            public_key: RsaPublicKeyComponents {
                n: number(jwk, "n")?,
                e: number(jwk, "e")?,
            },
            d: number(jwk, "d")?,
            p: number(jwk, "p")?,
            q: number(jwk, "q")?,
            dP: number(jwk, "dp")?,
            dQ: number(jwk, "dq")?,
            qInv: number(jwk, "qi")?,
        });
        Ok(Self {
            usage,
            pair: pair.map_err(|_| BAD)?,
        })
    }

    /// A new pair with the exponent 65537.
    pub(super) fn generate(usage: Use, bits: u32) -> Result<(Public, Self), Fail> {
        signing(usage, usage.hash.len() as u32)?;
        let size = match bits {
            2048 => KeySize::Rsa2048,
            3072 => KeySize::Rsa3072,
            4096 => KeySize::Rsa4096,
            _ => {
                return Err(Fail::NotSupported(
                    "RSA keys are made of 2048, 3072 or 4096 bits",
                ));
            }
        };
        let pair = RsaKeyPair::generate(size).map_err(|_| Fail::Operation("no key was made"))?;
        Ok((Public::of(usage, &pair)?, Self { usage, pair }))
    }

    /// The modulus and the exponent.
    pub(super) fn numbers(&self) -> (&[u8], &[u8]) {
        numbers(self.pair.public_key().as_ref()).unwrap_or_default()
    }

    pub(super) fn sign(&self, data: &[u8], salt: u32) -> Result<Vec<u8>, Fail> {
        let encoding = signing(self.usage, salt)?;
        let mut out = vec![0; self.pair.public_modulus_len()];
        let signed = self
            .pair
            .sign(encoding, &SystemRandom::new(), data, &mut out);
        signed.map_err(|_| Fail::Operation("signing failed"))?;
        Ok(out)
    }

    pub(super) fn pkcs8(&self) -> Result<Vec<u8>, Fail> {
        let der: Result<Pkcs8V1Der<'_>, _> = self.pair.as_der();
        Ok(der.map_err(|_| BAD)?.as_ref().to_vec())
    }

    pub(super) fn jwk(&self) -> Result<Jwk, Fail> {
        let der: Pkcs8V1Der<'_> = self.pair.as_der().map_err(|_| BAD)?;
        components(der.as_ref()).ok_or(BAD)
    }
}

/// The numbers of an `RSAPublicKey` (RFC 8017, A.1.1).
fn numbers(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut outer = Reader(der);
    let mut key = outer.sequence()?;
    outer.end()?;
    let (n, e) = (key.number()?, key.number()?);
    key.end()?;
    (!n.is_empty() && !e.is_empty()).then_some((n, e))
}

/// The numbers of an `RSAPrivateKey` (RFC 8017, A.1.2) in PKCS#8.
fn components(pkcs8: &[u8]) -> Option<Jwk> {
    let mut key = Reader(der::pkcs8(pkcs8, der::RSA)?).sequence()?;
    key.number()?; // the version
    let mut jwk = Jwk::new("RSA");
    for name in ["n", "e", "d", "p", "q", "dp", "dq", "qi"] {
        jwk = jwk.with(name, key.number()?);
    }
    Some(jwk)
}

fn number(jwk: &Jwk, name: &'static str) -> Result<Vec<u8>, Fail> {
    let bytes = jwk.bytes(name)?;
    let number = der::trim(&bytes);
    if number.is_empty() || number.len() > MAX_NUMBER {
        return Err(BAD);
    }
    Ok(number.to_vec())
}

/// The lengths of a salt that there are: none, and those of the hashes, of which one is the usual.
macro_rules! salted {
    ($base:ident, $salt:expr) => {
        match $salt {
            0 => {
                Some(&const { signature::$base.with_pss_salt_length(RsaPssSaltLength::Custom(0)) })
            }
            20 => {
                Some(&const { signature::$base.with_pss_salt_length(RsaPssSaltLength::Custom(20)) })
            }
            32 => {
                Some(&const { signature::$base.with_pss_salt_length(RsaPssSaltLength::Custom(32)) })
            }
            48 => {
                Some(&const { signature::$base.with_pss_salt_length(RsaPssSaltLength::Custom(48)) })
            }
            64 => {
                Some(&const { signature::$base.with_pss_salt_length(RsaPssSaltLength::Custom(64)) })
            }
            _ => None,
        }
    };
}

const SALT: Fail = Fail::NotSupported("saltLength is 0, 20, 32, 48 or 64");
const SHA1: Fail =
    Fail::NotSupported("no RSA signatures are made with SHA-1, and no RSA-PSS verified");

fn verifying(usage: Use, salt: u32) -> Result<&'static RsaParameters, Fail> {
    match (usage.padding, usage.hash) {
        (Padding::Pkcs1, Hash::Sha1) => {
            Ok(&signature::RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY)
        }
        (Padding::Pkcs1, Hash::Sha256) => Ok(&signature::RSA_PKCS1_2048_8192_SHA256),
        (Padding::Pkcs1, Hash::Sha384) => Ok(&signature::RSA_PKCS1_2048_8192_SHA384),
        (Padding::Pkcs1, Hash::Sha512) => Ok(&signature::RSA_PKCS1_2048_8192_SHA512),
        (Padding::Pss, Hash::Sha1) => Err(SHA1),
        (Padding::Pss, Hash::Sha256) => salted!(RSA_PSS_2048_8192_SHA256, salt).ok_or(SALT),
        (Padding::Pss, Hash::Sha384) => salted!(RSA_PSS_2048_8192_SHA384, salt).ok_or(SALT),
        (Padding::Pss, Hash::Sha512) => salted!(RSA_PSS_2048_8192_SHA512, salt).ok_or(SALT),
    }
}

fn signing(usage: Use, salt: u32) -> Result<&'static dyn RsaEncoding, Fail> {
    match (usage.padding, usage.hash) {
        (_, Hash::Sha1) => Err(SHA1),
        (Padding::Pkcs1, Hash::Sha256) => Ok(&signature::RSA_PKCS1_SHA256),
        (Padding::Pkcs1, Hash::Sha384) => Ok(&signature::RSA_PKCS1_SHA384),
        (Padding::Pkcs1, Hash::Sha512) => Ok(&signature::RSA_PKCS1_SHA512),
        (Padding::Pss, Hash::Sha256) => salted!(RSA_PSS_SHA256, salt).map(as_encoding).ok_or(SALT),
        (Padding::Pss, Hash::Sha384) => salted!(RSA_PSS_SHA384, salt).map(as_encoding).ok_or(SALT),
        (Padding::Pss, Hash::Sha512) => salted!(RSA_PSS_SHA512, salt).map(as_encoding).ok_or(SALT),
    }
}

fn as_encoding(encoding: &'static signature::RsaSignatureEncoding) -> &'static dyn RsaEncoding {
    encoding
}
