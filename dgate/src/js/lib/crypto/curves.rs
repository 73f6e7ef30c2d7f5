//! Keys of ECDSA on the curves of NIST (FIPS 186-5), and of Ed25519 (RFC 8032).

use super::algorithm::{Curve, Fail, Hash};
use super::der;
use super::key::Jwk;
use aws_lc_rs::digest::{self, Digest};
use aws_lc_rs::encoding::{
    AsBigEndian, AsDer, Curve25519SeedBin, EcPrivateKeyBin, PublicKeyX509Der,
};
use aws_lc_rs::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair, ParsedPublicKey};

const BAD: Fail = Fail::Data("not a key of this curve");
const FAILED: Fail = Fail::Operation("signing failed");

/// A public key of ECDSA.
pub(super) struct EcPublic {
    curve: Curve,
    key: ParsedPublicKey,
    /// Uncompressed, as in SEC 1, 2.3.3.
    point: Box<[u8]>,
}

/// A private key of ECDSA.
pub(super) struct EcPrivate {
    curve: Curve,
    pair: EcdsaKeyPair,
}

impl EcPublic {
    /// A point in either form of SEC 1, 2.3.3.
    pub(super) fn from_raw(curve: Curve, bytes: &[u8]) -> Result<Self, Fail> {
        let size = curve.size();
        match bytes.first() {
            Some(4) if bytes.len() == 1 + 2 * size => {}
            Some(2 | 3) if bytes.len() == 1 + size => {}
            _ => return Err(BAD),
        }
        let key = ParsedPublicKey::new(curve.verifying(), bytes).map_err(|_| BAD)?;
        let spki: PublicKeyX509Der = key.as_der().map_err(|_| BAD)?;
        let (_, point) = der::spki(spki.as_ref(), der::EC).ok_or(BAD)?;
        Ok(Self {
            curve,
            key,
            point: point.into(),
        })
    }

    pub(super) fn from_spki(curve: Curve, bytes: &[u8]) -> Result<Self, Fail> {
        let (parameters, point) = der::spki(bytes, der::EC).ok_or(BAD)?;
        if !der::is_oid(parameters, curve.oid()) {
            return Err(BAD);
        }
        Self::from_raw(curve, point)
    }

    pub(super) fn from_jwk(curve: Curve, jwk: &Jwk) -> Result<Self, Fail> {
        Self::from_raw(curve, &point(curve, jwk)?)
    }

    pub(super) fn verify(&self, signature: &[u8], data: &[u8], hash: Hash) -> bool {
        let digest = folded(self.curve, hash, data);
        digest.is_ok_and(|digest| self.key.verify_digest_sig(&digest, signature).is_ok())
    }

    pub(super) fn raw(&self) -> Vec<u8> {
        self.point.to_vec()
    }

    pub(super) fn spki(&self) -> Result<Vec<u8>, Fail> {
        let der: Result<PublicKeyX509Der, _> = self.key.as_der();
        Ok(der.map_err(|_| BAD)?.as_ref().to_vec())
    }

    pub(super) fn jwk(&self) -> Result<Jwk, Fail> {
        coordinates(self.curve, &self.point)
    }
}

impl EcPrivate {
    pub(super) fn from_pkcs8(curve: Curve, bytes: &[u8]) -> Result<Self, Fail> {
        der::pkcs8(bytes, der::EC).ok_or(BAD)?;
        let pair = EcdsaKeyPair::from_pkcs8(curve.signing(), bytes).map_err(|_| BAD)?;
        Ok(Self { curve, pair })
    }

    pub(super) fn from_jwk(curve: Curve, jwk: &Jwk) -> Result<Self, Fail> {
        let (d, point) = (jwk.bytes("d")?, point(curve, jwk)?);
        if d.len() != curve.size() {
            return Err(BAD);
        }
        let pair = EcdsaKeyPair::from_private_key_and_public_key(curve.signing(), &d, &point);
        Ok(Self {
            curve,
            pair: pair.map_err(|_| BAD)?,
        })
    }

    pub(super) fn generate(curve: Curve) -> Result<(EcPublic, Self), Fail> {
        let pair = EcdsaKeyPair::generate(curve.signing());
        let pair = pair.map_err(|_| Fail::Operation("no key was made"))?;
        let public = EcPublic::from_raw(curve, pair.public_key().as_ref())?;
        Ok((public, Self { curve, pair }))
    }

    /// r and s, each of the size of a coordinate (IEEE P1363).
    pub(super) fn sign(&self, data: &[u8], hash: Hash) -> Result<Vec<u8>, Fail> {
        let signature = self.pair.sign_digest(&folded(self.curve, hash, data)?);
        Ok(signature.map_err(|_| FAILED)?.as_ref().to_vec())
    }

    pub(super) fn pkcs8(&self) -> Result<Vec<u8>, Fail> {
        Ok(self.pair.to_pkcs8v1().map_err(|_| BAD)?.as_ref().to_vec())
    }

    pub(super) fn jwk(&self) -> Result<Jwk, Fail> {
        let d: EcPrivateKeyBin<'_> = self.pair.private_key().as_be_bytes().map_err(|_| BAD)?;
        Ok(coordinates(self.curve, self.pair.public_key().as_ref())?.with("d", d.as_ref()))
    }
}

/// The digest as ECDSA reads it (FIPS 186-5, 6.4): its leftmost bits, as many as the order of the curve has, are
/// a number. So a longer digest is cut and a shorter one is led by zeros to the length of the hash that aws-lc
/// ties to the curve, which gives every pair of curve and hash the one path.
fn folded(curve: Curve, hash: Hash, data: &[u8]) -> Result<Digest, Fail> {
    let full = digest::digest(hash.digest(), data);
    let full = full.as_ref();
    let mut number = [0; digest::MAX_OUTPUT_LEN];
    let number = &mut number[..curve.hash().len()];
    let used = full.len().min(number.len());
    let start = number.len() - used;
    number[start..].copy_from_slice(&full[..used]);
    Digest::import_less_safe(number, curve.hash().digest()).map_err(|_| FAILED)
}

fn point(curve: Curve, jwk: &Jwk) -> Result<Vec<u8>, Fail> {
    let (x, y) = (jwk.bytes("x")?, jwk.bytes("y")?);
    if x.len() != curve.size() || y.len() != curve.size() {
        return Err(BAD);
    }
    Ok([&[4], &x[..], &y[..]].concat())
}

fn coordinates(curve: Curve, point: &[u8]) -> Result<Jwk, Fail> {
    let (x, y) = point
        .strip_prefix(&[4])
        .and_then(|p| p.split_at_checked(curve.size()))
        .ok_or(BAD)?;
    Ok(Jwk::new("EC").with("x", x).with("y", y))
}

/// A public key of Ed25519.
pub(super) struct EdPublic {
    key: ParsedPublicKey,
}

/// A private key of Ed25519.
pub(super) struct EdPrivate {
    pair: Ed25519KeyPair,
}

impl EdPublic {
    pub(super) fn from_raw(bytes: &[u8]) -> Result<Self, Fail> {
        if bytes.len() != signature::ED25519_PUBLIC_KEY_LEN {
            return Err(BAD);
        }
        let key = ParsedPublicKey::new(&signature::ED25519, bytes).map_err(|_| BAD)?;
        Ok(Self { key })
    }

    pub(super) fn from_spki(bytes: &[u8]) -> Result<Self, Fail> {
        let (parameters, key) = der::spki(bytes, der::ED25519).ok_or(BAD)?;
        parameters.end().ok_or(BAD)?;
        Self::from_raw(key)
    }

    pub(super) fn verify(&self, signature: &[u8], data: &[u8]) -> bool {
        self.key.verify_sig(data, signature).is_ok()
    }

    pub(super) fn raw(&self) -> Vec<u8> {
        self.key.as_ref().to_vec()
    }

    pub(super) fn spki(&self) -> Result<Vec<u8>, Fail> {
        let der: Result<PublicKeyX509Der, _> = self.key.as_der();
        Ok(der.map_err(|_| BAD)?.as_ref().to_vec())
    }

    pub(super) fn jwk(&self) -> Jwk {
        Jwk::new("OKP").with("x", self.key.as_ref())
    }
}

impl EdPrivate {
    pub(super) fn from_pkcs8(bytes: &[u8]) -> Result<Self, Fail> {
        der::pkcs8(bytes, der::ED25519).ok_or(BAD)?;
        let pair = Ed25519KeyPair::from_pkcs8(bytes).map_err(|_| BAD)?;
        Ok(Self { pair })
    }

    pub(super) fn from_jwk(jwk: &Jwk) -> Result<Self, Fail> {
        let (seed, public) = (jwk.bytes("d")?, jwk.bytes("x")?);
        if seed.len() != 32 {
            return Err(BAD);
        }
        let pair = Ed25519KeyPair::from_seed_and_public_key(&seed, &public).map_err(|_| BAD)?;
        Ok(Self { pair })
    }

    pub(super) fn generate() -> Result<(EdPublic, Self), Fail> {
        let pair = Ed25519KeyPair::generate().map_err(|_| Fail::Operation("no key was made"))?;
        Ok((
            EdPublic::from_raw(pair.public_key().as_ref())?,
            Self { pair },
        ))
    }

    pub(super) fn sign(&self, data: &[u8]) -> Result<Vec<u8>, Fail> {
        Ok(self
            .pair
            .try_sign(data)
            .map_err(|_| FAILED)?
            .as_ref()
            .to_vec())
    }

    pub(super) fn pkcs8(&self) -> Result<Vec<u8>, Fail> {
        Ok(self.pair.to_pkcs8v1().map_err(|_| BAD)?.as_ref().to_vec())
    }

    pub(super) fn jwk(&self) -> Result<Jwk, Fail> {
        let seed = self.pair.seed().map_err(|_| BAD)?;
        let seed: Curve25519SeedBin<'_> = seed.as_be_bytes().map_err(|_| BAD)?;
        Ok(Jwk::new("OKP")
            .with("x", self.pair.public_key().as_ref())
            .with("d", seed.as_ref()))
    }
}
