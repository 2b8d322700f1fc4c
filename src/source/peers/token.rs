//! Is this token one of ours? Signature, issuer, audience, time and ServiceAccount, checked without the API server.

use hashbrown::HashMap;
use jsonwebtoken::{
    Algorithm, DecodingKey, Validation, decode, decode_header,
    jwk::{AlgorithmParameters, Jwk},
};
use serde::Deserialize;

/// The audience of the projected token that peers show to one another: no other service takes it.
pub const AUDIENCE: &str = "hawser.dev/peers";

/// Longer ones are not looked at. A projected token has about 1 KiB.
pub(super) const MAX_TOKEN: usize = 8 * 1024;

/// Clocks of nodes may differ by this.
const LEEWAY_SECONDS: u64 = 60;

/// Keys of an API server; it has one, and two during a rotation.
const MAX_KEYS: usize = 64;

/// Signatures that only the owner of a private key can make. HMAC is not among them: its "public" key would be
/// a secret that everybody knows.
const ALGORITHMS: &[Algorithm] = &[
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// Who a token is of.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Claims {
    /// `iss`.
    pub iss: String,
    /// `sub`: `system:serviceaccount:NAMESPACE:NAME`.
    pub sub: String,
}

/// Why a token is not believed. Never contains any of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    /// No `Authorization: Bearer`.
    #[error("there is no bearer token")]
    Missing,
    /// It is too long.
    #[error("the token is longer than 8 KiB")]
    TooLong,
    /// It is no JWT, or names an algorithm that is not allowed.
    #[error("it is no token with an asymmetric signature")]
    Malformed,
    /// The API server has no such key.
    #[error("its key (kid) is none of the API server's")]
    UnknownKey,
    /// The signature or a claim is wrong.
    #[error("the signature is wrong")]
    Signature,
    /// `exp`, `nbf`.
    #[error("it is expired or not valid yet")]
    Time,
    /// `aud`.
    #[error("its audience is not hawser.dev/peers")]
    Audience,
    /// `iss`.
    #[error("its issuer is not that of this replica's token")]
    Issuer,
    /// `sub`.
    #[error("it is of another ServiceAccount")]
    Subject,
    /// A claim is missing or of the wrong type.
    #[error("a claim is missing or malformed")]
    Claim,
    /// This replica's own token or the keys could not be had.
    #[error("this replica has no valid token or no keys of its own to compare with")]
    NotReady,
}

/// The public keys of the API server.
#[derive(Default)]
pub(super) struct Jwks {
    keys: HashMap<String, Key>,
}

struct Key {
    key: DecodingKey,
    algorithm: Option<Algorithm>,
}

impl Jwks {
    /// Reads a JWKS. Keys that are not understood are left out; `None` if it is none at all.
    pub(super) fn read(text: &str) -> Option<Self> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<serde_json::Value>,
        }
        let set: Set = serde_json::from_str(text).ok()?;
        let keys = set.keys.into_iter().take(MAX_KEYS);
        let keys = keys.filter_map(|key| {
            let jwk: Jwk = serde_json::from_value(key).ok()?;
            if matches!(jwk.algorithm, AlgorithmParameters::OctetKey(_)) {
                return None;
            }
            let algorithm = match jwk.common.key_algorithm {
                Some(named) => Some(named.to_string().parse().ok()?),
                None => None,
            };
            let key = DecodingKey::from_jwk(&jwk).ok()?;
            Some((jwk.common.key_id?, Key { key, algorithm }))
        });
        Some(Self {
            keys: keys.collect(),
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whose token this is, if it is for this audience and valid now.
    pub(super) fn verify(&self, token: &str) -> Result<Claims, Refused> {
        if token.len() > MAX_TOKEN {
            return Err(Refused::TooLong);
        }
        let header = decode_header(token).map_err(|_| Refused::Malformed)?;
        if !ALGORITHMS.contains(&header.alg) {
            return Err(Refused::Malformed);
        }
        let kid = header.kid.ok_or(Refused::UnknownKey)?;
        let known = self.keys.get(&kid).ok_or(Refused::UnknownKey)?;
        if known.algorithm.is_some_and(|named| named != header.alg) {
            return Err(Refused::Malformed);
        }
        let mut wanted = Validation::new(header.alg);
        wanted.leeway = LEEWAY_SECONDS;
        wanted.validate_nbf = true;
        wanted.set_audience(&[AUDIENCE]);
        wanted.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        let decoded = decode::<Claims>(token, &known.key, &wanted);
        decoded.map(|data| data.claims).map_err(|error| {
            use jsonwebtoken::errors::ErrorKind;
            match error.kind() {
                ErrorKind::ExpiredSignature | ErrorKind::ImmatureSignature => Refused::Time,
                ErrorKind::InvalidAudience => Refused::Audience,
                ErrorKind::InvalidSignature => Refused::Signature,
                ErrorKind::MissingRequiredClaim(_)
                | ErrorKind::InvalidClaimFormat(_)
                | ErrorKind::Json(_) => Refused::Claim,
                _ => Refused::Malformed,
            }
        })
    }
}
