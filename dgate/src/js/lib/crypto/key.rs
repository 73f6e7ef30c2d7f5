//! A key as `crypto.subtle` knows it: how it comes in, goes out and is made. Nothing here knows JavaScript.

use super::algorithm::{Curve, Fail, Hash};
use super::curves::{EcPrivate, EcPublic, EdPrivate, EdPublic};
use super::rsa::{self, Padding};
use super::secret::{Aes, Hmac, Secret};
use super::text;

/// Bytes of the longest key pair that is parsed: RSA of 8192 bits has 4700.
const MAX_PAIR: usize = 16 * 1024;
/// Bytes of the longest key that is bytes.
const MAX_SECRET: usize = 1024 * 1024;

/// A key, parsed once.
pub(super) enum Key {
    Hmac(Box<Hmac>),
    Aes(Aes),
    /// The input of HKDF and PBKDF2.
    Base(Secret),
    RsaPublic(rsa::Public),
    RsaPrivate(rsa::Private),
    EcPublic(EcPublic),
    EcPrivate(EcPrivate),
    EdPublic(EdPublic),
    EdPrivate(EdPrivate),
}

/// An algorithm with what its keys are bound to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Algorithm {
    Hmac(Hash),
    Aes,
    Base,
    Rsa(rsa::Use),
    Ec(Curve),
    Ed,
}

impl Algorithm {
    /// By its name and its parameter: the index of a hash or of a curve.
    pub(super) fn new(name: &str, parameter: u32) -> Result<Self, Fail> {
        let hash = || Hash::from_index(parameter);
        Ok(match name {
            "HMAC" => Self::Hmac(hash()?),
            "AES-GCM" => Self::Aes,
            "HKDF" | "PBKDF2" => Self::Base,
            "RSASSA-PKCS1-v1_5" => Self::Rsa(rsa::Use {
                padding: Padding::Pkcs1,
                hash: hash()?,
            }),
            "RSA-PSS" => Self::Rsa(rsa::Use {
                padding: Padding::Pss,
                hash: hash()?,
            }),
            "ECDSA" => Self::Ec(Curve::from_index(parameter)?),
            "Ed25519" => Self::Ed,
            _ => return Err(Fail::NotSupported("unknown algorithm")),
        })
    }
}

/// Key data in one of the formats of the W3C text.
pub(super) enum Data {
    Raw(Vec<u8>),
    Spki(Vec<u8>),
    Pkcs8(Vec<u8>),
    Jwk(Jwk),
}

impl Data {
    /// `None` when there is no such format of bytes.
    pub(super) fn new(format: &str, bytes: Vec<u8>) -> Option<Self> {
        match format {
            "raw" => Some(Self::Raw(bytes)),
            "spki" => Some(Self::Spki(bytes)),
            "pkcs8" => Some(Self::Pkcs8(bytes)),
            _ => None,
        }
    }
}

const FORMAT: Fail = Fail::NotSupported("keys of this algorithm do not have this format");

impl Key {
    pub(super) fn import(algorithm: Algorithm, data: Data) -> Result<Self, Fail> {
        if let Algorithm::Hmac(_) | Algorithm::Aes | Algorithm::Base = algorithm {
            let bytes = match (data, algorithm) {
                (Data::Raw(bytes), _) => bytes,
                (Data::Jwk(jwk), Algorithm::Hmac(_) | Algorithm::Aes) => jwk.bytes("k")?,
                _ => return Err(FORMAT),
            };
            if bytes.len() > MAX_SECRET {
                return Err(Fail::Data("the key is longer than 1 MiB"));
            }
            return Self::from_secret(algorithm, Secret::new(bytes));
        }
        if let Data::Raw(bytes) | Data::Spki(bytes) | Data::Pkcs8(bytes) = &data
            && bytes.len() > MAX_PAIR
        {
            return Err(Fail::Data("the key is longer than 16 KiB"));
        }
        Self::import_half(algorithm, &data)
    }

    fn from_secret(algorithm: Algorithm, secret: Secret) -> Result<Self, Fail> {
        Ok(match algorithm {
            Algorithm::Hmac(hash) => Self::Hmac(Box::new(Hmac::new(hash, secret)?)),
            Algorithm::Aes => Self::Aes(Aes::new(secret)?),
            _ => Self::Base(secret),
        })
    }

    /// A private or a public key.
    fn import_half(algorithm: Algorithm, data: &Data) -> Result<Self, Fail> {
        Ok(match (algorithm, data) {
            (Algorithm::Rsa(usage), Data::Spki(bytes)) => {
                Self::RsaPublic(rsa::Public::from_spki(usage, bytes)?)
            }
            (Algorithm::Rsa(usage), Data::Pkcs8(bytes)) => {
                Self::RsaPrivate(rsa::Private::from_pkcs8(usage, bytes)?)
            }
            (Algorithm::Rsa(usage), Data::Jwk(jwk)) if jwk.has("d") => {
                Self::RsaPrivate(rsa::Private::from_jwk(usage, jwk)?)
            }
            (Algorithm::Rsa(usage), Data::Jwk(jwk)) => {
                Self::RsaPublic(rsa::Public::from_jwk(usage, jwk)?)
            }
            (Algorithm::Ec(curve), Data::Raw(bytes)) => {
                Self::EcPublic(EcPublic::from_raw(curve, bytes)?)
            }
            (Algorithm::Ec(curve), Data::Spki(bytes)) => {
                Self::EcPublic(EcPublic::from_spki(curve, bytes)?)
            }
            (Algorithm::Ec(curve), Data::Pkcs8(bytes)) => {
                Self::EcPrivate(EcPrivate::from_pkcs8(curve, bytes)?)
            }
            (Algorithm::Ec(curve), Data::Jwk(jwk)) if jwk.has("d") => {
                Self::EcPrivate(EcPrivate::from_jwk(curve, jwk)?)
            }
            (Algorithm::Ec(curve), Data::Jwk(jwk)) => {
                Self::EcPublic(EcPublic::from_jwk(curve, jwk)?)
            }
            (Algorithm::Ed, Data::Raw(bytes)) => Self::EdPublic(EdPublic::from_raw(bytes)?),
            (Algorithm::Ed, Data::Spki(bytes)) => Self::EdPublic(EdPublic::from_spki(bytes)?),
            (Algorithm::Ed, Data::Pkcs8(bytes)) => Self::EdPrivate(EdPrivate::from_pkcs8(bytes)?),
            (Algorithm::Ed, Data::Jwk(jwk)) if jwk.has("d") => {
                Self::EdPrivate(EdPrivate::from_jwk(jwk)?)
            }
            (Algorithm::Ed, Data::Jwk(jwk)) => {
                Self::EdPublic(EdPublic::from_raw(&jwk.bytes("x")?)?)
            }
            _ => return Err(FORMAT),
        })
    }

    /// A new key, or a public and a private one. `bits` is the length of a secret or of an RSA modulus.
    pub(super) fn generate(algorithm: Algorithm, bits: u32) -> Result<(Self, Option<Self>), Fail> {
        let bytes = bits as usize / 8;
        Ok(match algorithm {
            Algorithm::Hmac(_) | Algorithm::Aes if bytes <= MAX_SECRET => {
                (Self::from_secret(algorithm, Secret::random(bytes)?)?, None)
            }
            Algorithm::Hmac(_) | Algorithm::Aes => {
                return Err(Fail::Operation("the key is longer than 1 MiB"));
            }
            Algorithm::Base => {
                return Err(Fail::NotSupported("keys of this algorithm are not made"));
            }
            Algorithm::Rsa(usage) => {
                let (public, private) = rsa::Private::generate(usage, bits)?;
                (Self::RsaPublic(public), Some(Self::RsaPrivate(private)))
            }
            Algorithm::Ec(curve) => {
                let (public, private) = EcPrivate::generate(curve)?;
                (Self::EcPublic(public), Some(Self::EcPrivate(private)))
            }
            Algorithm::Ed => {
                let (public, private) = EdPrivate::generate()?;
                (Self::EdPublic(public), Some(Self::EdPrivate(private)))
            }
        })
    }

    /// The key as bytes; `None` when it does not have this format.
    pub(super) fn export(&self, format: &str) -> Result<Option<Vec<u8>>, Fail> {
        Ok(Some(match (self, format) {
            (Self::Hmac(key), "raw") => key.secret.bytes().to_vec(),
            (Self::Aes(key), "raw") => key.secret.bytes().to_vec(),
            (Self::EcPublic(key), "raw") => key.raw(),
            (Self::EdPublic(key), "raw") => key.raw(),
            (Self::RsaPublic(key), "spki") => key.spki()?,
            (Self::EcPublic(key), "spki") => key.spki()?,
            (Self::EdPublic(key), "spki") => key.spki()?,
            (Self::RsaPrivate(key), "pkcs8") => key.pkcs8()?,
            (Self::EcPrivate(key), "pkcs8") => key.pkcs8()?,
            (Self::EdPrivate(key), "pkcs8") => key.pkcs8()?,
            _ => return Ok(None),
        }))
    }

    pub(super) fn jwk(&self) -> Result<Jwk, Fail> {
        match self {
            Self::Hmac(key) => Ok(Jwk::new("oct").with("k", key.secret.bytes())),
            Self::Aes(key) => Ok(Jwk::new("oct").with("k", key.secret.bytes())),
            Self::Base(_) => Err(FORMAT),
            Self::RsaPublic(key) => Ok(key.jwk()),
            Self::RsaPrivate(key) => key.jwk(),
            Self::EcPublic(key) => key.jwk(),
            Self::EcPrivate(key) => key.jwk(),
            Self::EdPublic(key) => Ok(key.jwk()),
            Self::EdPrivate(key) => key.jwk(),
        }
    }

    /// `secret`, `public` or `private`.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Hmac(_) | Self::Aes(_) | Self::Base(_) => "secret",
            Self::RsaPublic(_) | Self::EcPublic(_) | Self::EdPublic(_) => "public",
            Self::RsaPrivate(_) | Self::EcPrivate(_) | Self::EdPrivate(_) => "private",
        }
    }

    /// The length of a secret or of an RSA modulus in bits; else 0.
    pub(super) fn bits(&self) -> usize {
        let modulus = |n: &[u8]| {
            n.first()
                .map_or(0, |top| n.len() * 8 - top.leading_zeros() as usize)
        };
        match self {
            Self::Hmac(key) => key.secret.bits(),
            Self::Aes(key) => key.secret.bits(),
            Self::RsaPublic(key) => modulus(key.numbers().0),
            Self::RsaPrivate(key) => modulus(key.numbers().0),
            _ => 0,
        }
    }

    /// The public exponent of an RSA key; else nothing.
    pub(super) fn exponent(&self) -> &[u8] {
        match self {
            Self::RsaPublic(key) => key.numbers().1,
            Self::RsaPrivate(key) => key.numbers().1,
            _ => &[],
        }
    }

    /// A signature. `option` is the index of the hash for ECDSA, the length of the salt for RSA-PSS.
    pub(super) fn sign(&self, data: &[u8], option: u32) -> Result<Vec<u8>, Fail> {
        match self {
            Self::Hmac(key) => Ok(key.sign(data)),
            Self::RsaPrivate(key) => key.sign(data, option),
            Self::EcPrivate(key) => key.sign(data, Hash::from_index(option)?),
            Self::EdPrivate(key) => key.sign(data),
            _ => Err(Fail::Operation("this key does not sign")),
        }
    }

    /// Whether the signature is one of the data. `option` is that of [`sign`](Self::sign).
    pub(super) fn verify(&self, signature: &[u8], data: &[u8], option: u32) -> Result<bool, Fail> {
        match self {
            Self::Hmac(key) => Ok(key.verify(signature, data)),
            Self::RsaPublic(key) => key.verify(signature, data, option),
            Self::EcPublic(key) => Ok(key.verify(signature, data, Hash::from_index(option)?)),
            Self::EdPublic(key) => Ok(key.verify(signature, data)),
            _ => Err(Fail::Operation("this key does not verify")),
        }
    }
}

/// The members of a JSON Web Key (RFC 7517) that hold the key, as they are written.
pub(super) struct Jwk(Vec<(&'static str, String)>);

impl Jwk {
    /// The members that are numbers or bytes in base64url.
    pub(super) const MEMBERS: [&'static str; 11] =
        ["k", "n", "e", "d", "p", "q", "dp", "dq", "qi", "x", "y"];

    pub(super) fn new(kind: &str) -> Self {
        Self(vec![("kty", kind.into())])
    }

    pub(super) fn push(&mut self, name: &'static str, text: String) {
        self.0.push((name, text));
    }

    pub(super) fn with(mut self, name: &'static str, bytes: &[u8]) -> Self {
        self.push(name, text::base64url(bytes));
        self
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(member, _)| *member == name)
    }

    pub(super) fn bytes(&self, name: &str) -> Result<Vec<u8>, Fail> {
        let member = self.0.iter().find(|(member, _)| *member == name);
        let (_, text) = member.ok_or(Fail::Data("a member of the JWK is missing"))?;
        text::unbase64url(text).ok_or(Fail::Data("a member of the JWK is not base64url"))
    }

    pub(super) fn members(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.iter().map(|(name, text)| (*name, text.as_str()))
    }
}
