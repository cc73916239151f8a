//! Tokens as identity providers sign them (RFC 7519), and the keys that they publish (RFC 7517).
//!
//! Only asymmetric algorithms are known here, and a key is used for those of its own kind alone: neither a token without a
//! signature nor one that is signed with a public key as a password can pass.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents,
    UnparsedPublicKey, VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

/// Longest token that is looked at.
pub(crate) const TOKEN_MAX_BYTES: usize = 16 << 10;
/// Keys of one provider that are looked at. Those who rotate have two or three.
const KEYS_MAX: usize = 64;
/// By how much clocks may differ.
const LEEWAY_SECONDS: i64 = 60;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
}

impl Algorithm {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "RS256" => Some(Self::Rs256),
            "RS384" => Some(Self::Rs384),
            "RS512" => Some(Self::Rs512),
            "PS256" => Some(Self::Ps256),
            "PS384" => Some(Self::Ps384),
            "PS512" => Some(Self::Ps512),
            "ES256" => Some(Self::Es256),
            "ES384" => Some(Self::Es384),
            "EdDSA" => Some(Self::EdDsa),
            _ => None,
        }
    }

    fn rsa(self) -> Option<&'static RsaParameters> {
        match self {
            Self::Rs256 => Some(&RSA_PKCS1_2048_8192_SHA256),
            Self::Rs384 => Some(&RSA_PKCS1_2048_8192_SHA384),
            Self::Rs512 => Some(&RSA_PKCS1_2048_8192_SHA512),
            Self::Ps256 => Some(&RSA_PSS_2048_8192_SHA256),
            Self::Ps384 => Some(&RSA_PSS_2048_8192_SHA384),
            Self::Ps512 => Some(&RSA_PSS_2048_8192_SHA512),
            Self::Es256 | Self::Es384 | Self::EdDsa => None,
        }
    }
}

/// A key that signs tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PublicKey {
    pub id: Option<String>,
    /// The one algorithm that it is for, where the provider says so.
    algorithm: Option<String>,
    material: Material,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Material {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

#[derive(Deserialize)]
struct JwkSet {
    keys: Vec<Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// The keys of a set that can sign tokens. Others, and what is not known here, are passed over.
pub(super) fn read_keys(json: &[u8]) -> Option<Vec<PublicKey>> {
    let set: JwkSet = serde_json::from_slice(json).ok()?;
    let keys = set.keys.into_iter().take(KEYS_MAX);
    Some(keys.filter_map(read_key).collect())
}

fn read_key(json: Value) -> Option<PublicKey> {
    let jwk: Jwk = serde_json::from_value(json).ok()?;
    if jwk.usage.is_some_and(|usage| usage != "sig") {
        return None;
    }
    let bytes = |text: &Option<String>| decode(text.as_deref()?);
    let point = |size: usize| {
        let (x, y) = (bytes(&jwk.x)?, bytes(&jwk.y)?);
        let fits = x.len() == size && y.len() == size;
        fits.then(|| [&[4], x.as_slice(), y.as_slice()].concat())
    };
    let material = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("RSA", _) => {
            let n = bytes(&jwk.n)?;
            let n = n.into_iter().skip_while(|byte| *byte == 0).collect();
            Material::Rsa {
                n,
                e: bytes(&jwk.e)?,
            }
        }
        ("EC", Some("P-256")) => Material::P256(point(32)?),
        ("EC", Some("P-384")) => Material::P384(point(48)?),
        ("OKP", Some("Ed25519")) => Material::Ed25519(bytes(&jwk.x)?),
        _ => return None,
    };
    Some(PublicKey {
        id: jwk.kid,
        algorithm: jwk.alg,
        material,
    })
}

fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    /// What whoever reads the token must understand. We understand none of it.
    crit: Option<Value>,
}

/// What a token says.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Claims {
    pub iss: String,
    pub sub: String,
    aud: Audience,
    exp: f64,
    nbf: Option<f64>,
    iat: Option<f64>,
    pub name: Option<String>,
    pub username: Option<String>,
    pub preferred_username: Option<String>,
    pub email: Option<String>,
    email_verified: Option<Value>,
    /// What whoever began the sign-in has said, for it alone.
    pub nonce: Option<String>,
    /// Whom it was given to, where that is not whom it is for.
    pub azp: Option<String>,
    cid: Option<Value>,
    uid: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

/// A token, read but not believed.
#[derive(Debug)]
pub(super) struct Token<'a> {
    algorithm: Algorithm,
    algorithm_name: String,
    pub key_id: Option<String>,
    signed: &'a str,
    signature: Vec<u8>,
    pub claims: Claims,
}

/// Whether a text has the form of a token, as opposed to a key.
pub fn is_token(text: &str) -> bool {
    // `{"` in base 64.
    text.starts_with("eyJ") && text.bytes().filter(|byte| *byte == b'.').count() == 2
}

impl<'a> Token<'a> {
    pub fn read(text: &'a str) -> Option<Self> {
        if text.len() > TOKEN_MAX_BYTES {
            return None;
        }
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let header: Header = serde_json::from_slice(&decode(header)?).ok()?;
        if header.crit.is_some() {
            return None;
        }
        Some(Self {
            algorithm: Algorithm::parse(&header.alg)?,
            algorithm_name: header.alg,
            key_id: header.kid,
            signed,
            signature: decode(signature)?,
            claims: serde_json::from_slice(&decode(claims)?).ok()?,
        })
    }

    /// What the token says, if this key has signed it.
    pub fn signed_by(&self, key: &PublicKey) -> Option<&Claims> {
        let is_for = |name: &String| *name == self.algorithm_name;
        if !key.algorithm.as_ref().is_none_or(is_for) {
            return None;
        }
        let message = self.signed.as_bytes();
        let verify = |algorithm: &'static dyn VerificationAlgorithm, bytes: &[u8]| {
            UnparsedPublicKey::new(algorithm, bytes).verify(message, &self.signature)
        };
        let verified = match (&key.material, self.algorithm) {
            (Material::Rsa { n, e }, algorithm) => {
                RsaPublicKeyComponents { n, e }.verify(algorithm.rsa()?, message, &self.signature)
            }
            (Material::P256(point), Algorithm::Es256) => verify(&ECDSA_P256_SHA256_FIXED, point),
            (Material::P384(point), Algorithm::Es384) => verify(&ECDSA_P384_SHA384_FIXED, point),
            (Material::Ed25519(bytes), Algorithm::EdDsa) => verify(&ED25519, bytes),
            _ => return None,
        };
        verified.is_ok().then_some(&self.claims)
    }
}

impl Claims {
    /// Whether whoever is called so may take the token for meant for it.
    pub fn is_for(&self, audience: &str) -> bool {
        match &self.aud {
            Audience::One(one) => one == audience,
            Audience::Many(many) => many.iter().any(|one| one == audience),
        }
    }

    /// Whether they are of this issuer, for us, and hold now.
    pub fn hold(&self, issuer: &str, audience: &str, now: Timestamp) -> bool {
        let has_come = |at: Option<f64>| {
            at.is_none_or(|at| seconds(at).is_some_and(|at| at - LEEWAY_SECONDS <= now.as_second()))
        };
        self.iss == issuer
            && self.is_for(audience)
            && self.ends_at().is_some_and(|at| now < at)
            && has_come(self.nbf)
            && has_come(self.iat)
    }

    /// When it is good no more, with the leeway.
    pub fn ends_at(&self) -> Option<Timestamp> {
        let at = seconds(self.exp)?.checked_add(LEEWAY_SECONDS)?;
        Timestamp::from_second(at).ok()
    }

    /// Some providers say so in a text.
    pub fn is_email_verified(&self) -> bool {
        match &self.email_verified {
            Some(Value::Bool(verified)) => *verified,
            Some(Value::String(text)) => text == "true",
            _ => false,
        }
    }

    /// The user, and the address. Tokens of one vendor have the user in `uid`, and what people sign in with in `sub`.
    pub fn subject(&self) -> (&str, Option<&str>) {
        match (&self.cid, &self.uid) {
            (Some(_), Some(uid)) => (uid, self.email.as_deref().or(Some(&self.sub))),
            _ => (&self.sub, self.email.as_deref()),
        }
    }
}

/// A `NumericDate`, in whole seconds. None for what is no time that we could mean.
fn seconds(at: f64) -> Option<i64> {
    // The end of the year 9999.
    const MAX: f64 = 253_402_300_799.0;
    if !(0.0..=MAX).contains(&at) {
        return None;
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "bounded on both sides above"
    )]
    let whole = at as i64;
    Some(whole)
}
