//! Keys as an API server has them, and tokens as it makes them.

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, jwk::Jwk};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256};
use serde_json::{Value, json};

pub(super) const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
pub(super) const SUBJECT: &str = "system:serviceaccount:hawser-system:hawser";

/// A key that signs.
pub(super) struct Signer {
    pub kid: &'static str,
    pub algorithm: Algorithm,
    pub key: EncodingKey,
}

impl Signer {
    /// RS256, as kube-apiserver signs by default.
    pub(super) fn rsa(kid: &'static str) -> Self {
        let pair = KeyPair::generate_for(&PKCS_RSA_SHA256).expect("a key");
        // PKCS#8 is PKCS#1 behind 26 bytes, for every key of 2048 bits.
        let key = EncodingKey::from_rsa_der(pair.serialized_der().get(26..).expect("a key"));
        Self {
            kid,
            algorithm: Algorithm::RS256,
            key,
        }
    }

    /// ES256, as it does with an elliptic key.
    pub(super) fn elliptic(kid: &'static str) -> Self {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
        Self {
            kid,
            algorithm: Algorithm::ES256,
            key: EncodingKey::from_ec_der(pair.serialized_der()),
        }
    }

    /// Its public half.
    pub(super) fn jwk(&self) -> Value {
        let jwk = Jwk::from_encoding_key(&self.key, self.algorithm).expect("a JWK");
        let mut jwk = serde_json::to_value(jwk).expect("JSON");
        jwk["use"] = json!("sig");
        jwk["kid"] = json!(self.kid);
        jwk
    }

    pub(super) fn sign(&self, claims: &Value) -> String {
        let mut header = Header::new(self.algorithm);
        header.typ = None;
        header.kid = Some(self.kid.to_owned());
        encode(&header, claims, &self.key).expect("a token")
    }
}

/// What `/openid/v1/jwks` says.
pub(super) fn jwks(signers: &[&Signer]) -> String {
    let keys: Vec<_> = signers.iter().map(|signer| signer.jwk()).collect();
    json!({ "keys": keys }).to_string()
}

pub(super) fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// The claims of a projected token of ours; `with` replaces some, null takes one away.
pub(super) fn claims(with: &Value) -> Value {
    let mut claims = json!({
        "aud": [super::super::AUDIENCE],
        "exp": now() + 3600,
        "iat": now() - 10,
        "iss": ISSUER,
        "jti": "4a5fae5d-5e4d-4f0b-8d7c-2d1d8f4c9a11",
        "kubernetes.io": {
            "namespace": "hawser-system",
            "pod": {"name": "hawser-7c9d", "uid": "e0a1"},
            "serviceaccount": {"name": "hawser", "uid": "b7c2"},
        },
        "nbf": now() - 10,
        "sub": SUBJECT,
    });
    let fields = claims.as_object_mut().expect("an object");
    for (name, value) in with.as_object().expect("an object") {
        if value.is_null() {
            fields.remove(name);
        } else {
            fields.insert(name.clone(), value.clone());
        }
    }
    claims
}
