//! Whose token is believed, and what those cost that are not.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderValue, header};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use parking_lot::Mutex;
use rstest::rstest;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::keys::{ISSUER, SUBJECT, Signer, claims, jwks, now};
use crate::source::peers::{
    guard::Guard,
    token::{Jwks, MAX_TOKEN, Refused},
};

#[rstest]
#[case::rs256(Signer::rsa("a"))]
#[case::es256(Signer::elliptic("a"))]
fn a_token_of_the_api_server_is_believed(#[case] signer: Signer) {
    let other = Signer::rsa("b");
    let keys = Jwks::read(&jwks(&[&other, &signer])).expect("keys");
    let claims = keys
        .verify(&signer.sign(&claims(&json!({}))))
        .expect("valid");
    assert_eq!((&*claims.iss, &*claims.sub), (ISSUER, SUBJECT));
}

#[test]
fn one_audience_as_text_and_several_with_ours_are_believed() {
    let signer = Signer::elliptic("a");
    let keys = Jwks::read(&jwks(&[&signer])).expect("keys");
    for audience in [json!("hawser.dev/peers"), json!(["x", "hawser.dev/peers"])] {
        let token = signer.sign(&claims(&json!({ "aud": audience })));
        assert!(keys.verify(&token).is_ok(), "{audience}");
    }
    // Clocks of nodes differ.
    let token = signer.sign(&claims(&json!({"exp": now() - 30, "nbf": now() + 30})));
    assert!(keys.verify(&token).is_ok());
}

#[rstest]
#[case::another_audience(json!({"aud": ["https://kubernetes.default.svc"]}), Refused::Audience)]
#[case::an_audience_that_begins_alike(json!({"aud": ["hawser.dev/peers/x"]}), Refused::Audience)]
#[case::no_audience(json!({"aud": null}), Refused::Claim)]
#[case::expired(json!({"exp": now() - 90}), Refused::Time)]
#[case::not_valid_yet(json!({"nbf": now() + 90}), Refused::Time)]
#[case::no_expiry(json!({"exp": null}), Refused::Claim)]
#[case::no_subject(json!({"sub": null}), Refused::Claim)]
#[case::no_issuer(json!({"iss": null}), Refused::Claim)]
#[case::claims_of_another_type(json!({"sub": ["a"], "exp": "soon"}), Refused::Claim)]
fn wrong_claims(#[case] with: Value, #[case] refused: Refused) {
    let signer = Signer::elliptic("a");
    let keys = Jwks::read(&jwks(&[&signer])).expect("keys");
    let verdict = keys.verify(&signer.sign(&claims(&with)));
    assert_eq!(verdict, Err(refused));
}

#[test]
fn wrong_signatures() {
    let signer = Signer::rsa("a");
    let keys = Jwks::read(&jwks(&[&signer])).expect("keys");
    let good = signer.sign(&claims(&json!({})));
    assert!(keys.verify(&good).is_ok());

    let same_kid = Signer::rsa("a").sign(&claims(&json!({})));
    assert_eq!(keys.verify(&same_kid), Err(Refused::Signature));
    let other_kid = Signer::rsa("b").sign(&claims(&json!({})));
    assert_eq!(keys.verify(&other_kid), Err(Refused::UnknownKey));
    let elliptic = Signer::elliptic("a").sign(&claims(&json!({})));
    assert_eq!(keys.verify(&elliptic), Err(Refused::Malformed));

    // The payload of another token behind this signature.
    let forged = signer.sign(&claims(&json!({"sub": "system:serviceaccount:a:b"})));
    let mut parts: Vec<&str> = good.split('.').collect();
    parts[1] = forged.split('.').nth(1).expect("a payload");
    assert_eq!(keys.verify(&parts.join(".")), Err(Refused::Signature));

    let mut header = Header::new(Algorithm::RS256);
    header.kid = None;
    let nameless = encode(&header, &claims(&json!({})), &signer.key).expect("a token");
    assert_eq!(keys.verify(&nameless), Err(Refused::UnknownKey));
}

#[test]
fn the_algorithm_of_the_token_is_not_trusted() {
    let signer = Signer::rsa("a");
    let keys = Jwks::read(&jwks(&[&signer])).expect("keys");
    // Whoever takes a public key for a secret believes everybody.
    let public = signer.jwk();
    let modulus = public["n"].as_str().expect("a modulus");
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(modulus).expect("base64");
    for secret in [modulus.as_bytes(), &bytes, public.to_string().as_bytes()] {
        let mut header = Header::new(Algorithm::HS256);
        header.kid = Some("a".to_owned());
        let key = EncodingKey::from_secret(secret);
        let token = encode(&header, &claims(&json!({})), &key).expect("a token");
        assert_eq!(keys.verify(&token), Err(Refused::Malformed));
    }
    for algorithm in ["none", "None", "NONE", ""] {
        let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let head = part(&json!({"alg": algorithm, "kid": "a"}));
        let body = part(&claims(&json!({})));
        for token in [format!("{head}.{body}."), format!("{head}.{body}")] {
            assert_eq!(keys.verify(&token), Err(Refused::Malformed), "{algorithm}");
        }
    }
    // A set with a secret in it has no use for that.
    let secret = json!({"keys": [{"kty": "oct", "kid": "a", "alg": "HS256", "k": "AAAA"}]});
    assert!(Jwks::read(&secret.to_string()).expect("a set").is_empty());
}

#[test]
fn broken_tokens_and_sets() {
    let signer = Signer::elliptic("a");
    let keys = Jwks::read(&jwks(&[&signer])).expect("keys");
    let good = signer.sign(&claims(&json!({})));
    for end in 0..good.len() {
        assert!(keys.verify(&good[..end]).is_err(), "the first {end} bytes");
    }
    let long = format!("{good}{}", "A".repeat(1 << 20));
    assert_eq!(keys.verify(&long), Err(Refused::TooLong));
    assert!(Jwks::read("<html>").is_none());
    assert!(Jwks::read("{}").is_none());
    let odd = json!({"keys": [{"kty": "new"}, 7, signer.jwk()]});
    let keys = Jwks::read(&odd.to_string()).expect("a set");
    assert!(
        keys.verify(&good).is_ok(),
        "keys of no known kind cost only themselves"
    );
}

/// A guard whose API server has these keys.
struct Api {
    keys: Arc<Mutex<Option<String>>>,
    fetched: Arc<AtomicUsize>,
    guard: Arc<Guard>,
    _folder: tempfile::TempDir,
    file: PathBuf,
}

impl Api {
    fn new(keys: &[&Signer], own: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("token");
        std::fs::write(&file, own).expect("written");
        let keys = Arc::new(Mutex::new(Some(jwks(keys))));
        let fetched = Arc::new(AtomicUsize::new(0));
        let fetch = {
            let (keys, fetched) = (Arc::clone(&keys), Arc::clone(&fetched));
            move || {
                fetched.fetch_add(1, Ordering::Relaxed);
                let keys = keys.lock().clone();
                let answer: futures_util::future::BoxFuture<'static, _> = match keys {
                    Some(keys) => Box::pin(async { Ok(keys) }),
                    None => Box::pin(std::future::pending()),
                };
                answer
            }
        };
        let guard = Arc::new(Guard::new(Box::new(fetch), file.clone()));
        Self {
            keys,
            fetched,
            guard,
            _folder: folder,
            file,
        }
    }

    async fn admits(&self, token: &str) -> bool {
        admits(&self.guard, token).await
    }

    fn fetched(&self) -> usize {
        self.fetched.load(Ordering::Relaxed)
    }
}

async fn admits(guard: &Guard, token: &str) -> bool {
    let value = HeaderValue::try_from(format!("Bearer {token}")).expect("a value");
    let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value)]);
    guard.admits(&headers).await
}

#[tokio::test(start_paused = true)]
async fn only_our_own_service_account_and_issuer_are_let_in() {
    let signer = Signer::rsa("a");
    let api = Api::new(&[&signer], &signer.sign(&claims(&json!({}))));
    let another_pod = json!({"jti": "other", "kubernetes.io": {"pod": {"name": "hawser-2"}}});
    assert!(api.admits(&signer.sign(&claims(&another_pod))).await);
    for with in [
        json!({"sub": "system:serviceaccount:hawser-system:default"}),
        json!({"sub": "system:serviceaccount:other:hawser"}),
        json!({"sub": "system:serviceaccount:hawser-system:hawser "}),
        json!({"iss": "https://another.cluster"}),
    ] {
        assert!(!api.admits(&signer.sign(&claims(&with))).await, "{with}");
    }
    assert_eq!(api.fetched(), 1);
    // What is no bearer token.
    for value in [
        "",
        "Bearer",
        "Bearer ",
        "Basic Zm9vOmJhcg==",
        "Bearer \u{e4}",
    ] {
        let value = HeaderValue::from_bytes(value.as_bytes()).expect("a value");
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value.clone())]);
        assert!(!api.guard.admits(&headers).await, "{value:?}");
    }
    assert!(!api.guard.admits(&HeaderMap::new()).await);
    let good = format!("Bearer {}", signer.sign(&claims(&json!({}))));
    let mut twice = HeaderMap::new();
    for _ in 0..2 {
        twice.append(header::AUTHORIZATION, HeaderValue::try_from(&good).unwrap());
    }
    assert!(
        !api.guard.admits(&twice).await,
        "which of the two is meant?"
    );
}

#[tokio::test(start_paused = true)]
async fn without_a_token_of_our_own_nobody_is_let_in() {
    let signer = Signer::elliptic("a");
    let good = signer.sign(&claims(&json!({})));
    let api = Api::new(&[&signer], "");
    assert!(!api.admits(&good).await);
    // The kubelet writes it later; and a rotated one that is broken changes nothing.
    for text in [good.clone(), format!("{good}\n"), "broken".to_owned()] {
        std::fs::write(&api.file, &text).expect("written");
        assert!(api.admits(&good).await, "{text}");
    }
    std::fs::write(&api.file, "A".repeat(MAX_TOKEN * 2)).expect("written");
    assert!(api.admits(&good).await);
}

#[tokio::test(start_paused = true)]
async fn a_rotated_key_is_fetched_and_invented_ones_cost_little() {
    let (old, new) = (Signer::elliptic("old"), Signer::elliptic("new"));
    let api = Api::new(&[&old], &old.sign(&claims(&json!({}))));
    assert!(api.admits(&old.sign(&claims(&json!({})))).await);
    *api.keys.lock() = Some(jwks(&[&old, &new]));
    let token = new.sign(&claims(&json!({})));
    for _ in 0..100 {
        assert!(
            !api.admits(&token).await,
            "keys are asked for every 10 s at most"
        );
    }
    assert_eq!(api.fetched(), 1);
    tokio::time::advance(Duration::from_secs(10)).await;
    assert!(api.admits(&token).await);
    assert_eq!(api.fetched(), 2);
    // A key that was taken back is believed for 10 minutes at most.
    *api.keys.lock() = Some(jwks(&[&new]));
    tokio::time::advance(Duration::from_mins(10)).await;
    assert!(!api.admits(&old.sign(&claims(&json!({})))).await);
}

/// A leader asks a new replica two things at once.
#[tokio::test(start_paused = true)]
async fn the_first_requests_wait_for_the_keys() {
    let signer = Signer::elliptic("a");
    let good = signer.sign(&claims(&json!({})));
    let api = Api::new(&[&signer], &good);
    let both = tokio::join!(api.admits(&good), api.admits(&good));
    assert_eq!(both, (true, true));
    assert_eq!(api.fetched(), 1);
}

#[tokio::test(start_paused = true)]
async fn nobody_queues_behind_an_api_server_that_is_silent() {
    let signer = Signer::elliptic("a");
    let good = signer.sign(&claims(&json!({})));
    let api = Api::new(&[&signer], &good);
    assert!(api.admits(&good).await);
    *api.keys.lock() = None;
    tokio::time::advance(Duration::from_secs(10)).await;
    let invented = Signer::elliptic("b").sign(&claims(&json!({})));
    let guard = Arc::clone(&api.guard);
    let first = tokio::spawn(async move { admits(&guard, &invented).await });
    tokio::task::yield_now().await;
    assert_eq!(api.fetched(), 2, "the first one waits for the keys");
    let start = Instant::now();
    for _ in 0..50 {
        assert!(api.admits(&good).await);
    }
    assert!(
        start.elapsed() < Duration::from_millis(500),
        "{:?}",
        start.elapsed()
    );
    assert!(!first.await.expect("an answer"));
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(api.fetched(), 2);
}

#[tokio::test(start_paused = true)]
async fn who_hangs_up_at_once_does_not_keep_the_keys_from_coming() {
    let signer = Signer::elliptic("a");
    let good = signer.sign(&claims(&json!({})));
    let api = Api::new(&[&signer], &good);
    let invented = Signer::elliptic("b").sign(&claims(&json!({})));
    let hung_up = futures_util::FutureExt::now_or_never(api.admits(&invented));
    assert_eq!(hung_up, None);
    tokio::task::yield_now().await;
    assert!(api.admits(&good).await);
    assert_eq!(api.fetched(), 1);
}
