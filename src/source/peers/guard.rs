//! Lets in who shows a token of our own ServiceAccount.

use std::{path::PathBuf, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use http::{HeaderMap, header};
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};
use tracing::warn;

use super::{
    own,
    token::{Claims, Jwks, MAX_TOKEN, Refused},
};

/// Keys are fetched anew after this.
const REFRESH: Duration = Duration::from_mins(10);

/// An unknown key makes us fetch them, at most this often: whoever sends tokens with invented keys causes no load.
const MIN_REFRESH: Duration = Duration::from_secs(10);

/// As long as there are no keys at all.
const FIRST_REFRESH: Duration = Duration::from_secs(1);

/// The API server answers faster or not at all; a peer waits meanwhile.
const FETCH_TIME: Duration = Duration::from_secs(1);

/// Refusals are told this often.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Gets the JWKS of the API server as text.
pub(super) type Fetch = Box<dyn Fn() -> BoxFuture<'static, Result<String, String>> + Send + Sync>;

/// Checks tokens.
pub(super) struct Guard {
    fetch: Fetch,
    token_file: PathBuf,
    keys: Arc<ArcSwap<Jwks>>,
    /// When the keys were asked for last. Held by whoever fetches; nobody waits for it.
    tried: Arc<tokio::sync::Mutex<Option<Instant>>>,
    /// This replica's token as it was last believed, and whose it is.
    own: Mutex<Option<(String, Claims)>>,
    told: Mutex<Option<Instant>>,
}

impl Guard {
    pub(super) fn new(fetch: Fetch, token_file: PathBuf) -> Self {
        Self {
            fetch,
            token_file,
            keys: Arc::default(),
            tried: Arc::default(),
            own: Mutex::default(),
            told: Mutex::default(),
        }
    }

    /// Whether a request may be answered; says why not in the log, never with the token.
    pub(super) async fn admits(&self, headers: &HeaderMap) -> bool {
        let Err(refused) = self.check(headers).await else {
            return true;
        };
        let now = Instant::now();
        let mut told = self.told.lock();
        if told.is_none_or(|told| now >= told + TELL_EVERY) {
            *told = Some(now);
            warn!(reason = %refused, "a request to the peer endpoint was refused");
        }
        false
    }

    async fn check(&self, headers: &HeaderMap) -> Result<(), Refused> {
        let token = bearer(headers)?;
        let mut claims = self.keys.load().verify(token);
        if self.refresh(claims == Err(Refused::UnknownKey)).await {
            claims = self.keys.load().verify(token);
        }
        let claims = claims?;
        let own = self.own().await?;
        if claims.iss != own.iss {
            return Err(Refused::Issuer);
        }
        if claims.sub != own.sub {
            return Err(Refused::Subject);
        }
        Ok(())
    }

    /// Fetches the keys if it is time to; whether there are others now. Keeps those that there are when the API
    /// server does not answer. Requests that come meanwhile are judged by them and do not queue, but for the first
    /// ones: a leader asks a new replica two things at once, and without keys both would have to be refused.
    async fn refresh(&self, unknown: bool) -> bool {
        let mut tried = match Arc::clone(&self.tried).try_lock_owned() {
            Ok(tried) => tried,
            Err(_) if self.keys.load().is_empty() => {
                let _ = timeout(FETCH_TIME, self.tried.lock()).await;
                return !self.keys.load().is_empty();
            }
            Err(_) => return false,
        };
        let every = match unknown {
            true if self.keys.load().is_empty() => FIRST_REFRESH,
            true => MIN_REFRESH,
            false => REFRESH,
        };
        if tried.is_some_and(|tried| tried.elapsed() < every) {
            return false;
        }
        *tried = Some(Instant::now());
        let (fetched, keys) = (timeout(FETCH_TIME, (self.fetch)()), Arc::clone(&self.keys));
        // Whoever asks and hangs up at once does not keep the keys from coming.
        let fetching = tokio::spawn(async move {
            let _tried = tried;
            let error = match fetched.await {
                Ok(Ok(text)) => match Jwks::read(&text) {
                    Some(jwks) => {
                        keys.store(Arc::new(jwks));
                        return true;
                    }
                    None => "the answer is no JWKS".to_owned(),
                },
                Ok(Err(error)) => error,
                Err(_) => "no answer in time".to_owned(),
            };
            warn!(
                error,
                "the keys of the API server (GET /openid/v1/jwks) could not be read; does the ServiceAccount have the \
                 right to? Until then peers are judged by the keys that are known"
            );
            false
        });
        fetching.await.unwrap_or(false)
    }

    /// Whose token we have ourselves. It is read anew, because it is rotated, and believed by the same keys. What it
    /// said stays true after its expiry: who we are does not change.
    async fn own(&self) -> Result<Claims, Refused> {
        let token = own::read(&self.token_file).await;
        let mut own = self.own.lock();
        if let Some(token) = token
            && own.as_ref().is_none_or(|(known, _)| *known != token)
            && let Ok(claims) = self.keys.load().verify(&token)
        {
            *own = Some((token, claims));
        }
        let claims = own.as_ref().map(|(_, claims)| claims.clone());
        claims.ok_or(Refused::NotReady)
    }
}

fn bearer(headers: &HeaderMap) -> Result<&str, Refused> {
    let mut fields = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (fields.next(), fields.next()) else {
        return Err(Refused::Missing);
    };
    if value.len() > MAX_TOKEN + "Bearer ".len() {
        return Err(Refused::TooLong);
    }
    let text = value.to_str().map_err(|_| Refused::Malformed)?;
    let (scheme, token) = text.split_once(' ').ok_or(Refused::Missing)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Refused::Missing);
    }
    Ok(token.trim_start_matches(' '))
}
