//! Follows one replica: what it serves by long polls, its connections every ten seconds.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};
use tracing::debug;

use super::{
    Settings,
    board::Board,
    client::{self, AskError},
    message::{CONNECTIONS, MAX_WAIT, News, SERVED},
};
use crate::{source::pace::backoff, telemetry::metrics::Metrics};

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const MAX_PAUSE: Duration = Duration::from_secs(2);

/// Between two looks at the connections.
const COUNT_EVERY: Duration = Duration::from_secs(10);

/// For an answer that has nothing to wait for.
const PROMPT: Duration = Duration::from_secs(3);

/// From time to time everything is asked anew: UIDs of objects that were made again under the same name go then.
const ANEW_EVERY: Duration = Duration::from_mins(10);

/// One replica that is asked.
pub(super) struct Follow {
    pub name: Arc<str>,
    pub addresses: Vec<IpAddr>,
    pub settings: Arc<Settings>,
    pub board: Arc<Board>,
    pub metrics: Arc<Metrics>,
}

impl Follow {
    /// Until it is dropped.
    pub(super) async fn run(self) {
        let doubt = Notify::new();
        tokio::join!(self.poll(&doubt), self.count(&doubt));
    }

    async fn poll(&self, doubt: &Notify) {
        let (mut epoch, mut cursor) = (String::new(), 0);
        let mut anew = Instant::now();
        let mut failures = 0_usize;
        // Zero as long as it is not known whether the replica is there.
        let mut wait = 0;
        loop {
            let target = format!("{SERVED}?epoch={epoch}&cursor={cursor}&wait={wait}");
            let limit = PROMPT + Duration::from_secs(wait);
            let answer = tokio::select! {
                answer = self.get::<News>(&target, failures, limit) => answer,
                // The other requests fail: a long poll into the void would tell that much later.
                () = doubt.notified(), if wait > 0 => {
                    wait = 0;
                    continue;
                }
            };
            match answer {
                Ok(news) => {
                    failures = 0;
                    wait = MAX_WAIT;
                    let same = news.epoch == epoch && news.cursor == cursor && !news.complete;
                    let usable = news.complete || news.epoch == epoch;
                    epoch.clone_from(&news.epoch);
                    cursor = news.cursor;
                    if !usable {
                        // Changes to something that we do not have: begin anew.
                        epoch = String::new();
                        wait = 0;
                        sleep(FIRST_PAUSE).await;
                    } else if same {
                        self.board.reached(&self.name);
                    } else {
                        self.board.served(&self.name, news);
                    }
                    if anew.elapsed() >= ANEW_EVERY {
                        anew = Instant::now();
                        epoch = String::new();
                        wait = 0;
                    }
                }
                Err(error) => {
                    debug!(replica = %self.name, %error, "a replica was asked what it serves");
                    self.board.failed(&self.name);
                    wait = 0;
                    failures += 1;
                    pause(failures).await;
                }
            }
        }
    }

    async fn count(&self, doubt: &Notify) {
        let mut failures = 0_usize;
        loop {
            let answer = self
                .get::<BTreeMap<Box<str>, u64>>(CONNECTIONS, failures, PROMPT)
                .await;
            match answer {
                Ok(open) => {
                    failures = 0;
                    self.board
                        .connections(&self.name, open.into_iter().collect());
                    sleep(COUNT_EVERY).await;
                }
                Err(error) => {
                    debug!(replica = %self.name, %error, "a replica was asked for its connections");
                    failures += 1;
                    doubt.notify_one();
                    pause(failures).await;
                }
            }
        }
    }

    /// A pod with two addresses is tried at the other one after a failure.
    async fn get<T: serde::de::DeserializeOwned>(
        &self,
        target: &str,
        failures: usize,
        limit: Duration,
    ) -> Result<T, AskError> {
        let address = self.addresses.iter().cycle().nth(failures % 16);
        let Some(address) = address else {
            return Err(AskError::Unreachable("it has no address".to_owned()));
        };
        let address = SocketAddr::new(*address, self.settings.port);
        let answer = client::get(address, target, &self.settings.token_file, limit).await;
        let result = answer.as_ref().map_or_else(AskError::result, |_| "ok");
        self.metrics.peers().request(result);
        answer
    }
}

async fn pause(failures: usize) {
    let before = u32::try_from(failures.saturating_sub(1)).unwrap_or(u32::MAX);
    sleep(backoff(FIRST_PAUSE, before, MAX_PAUSE)).await;
}
