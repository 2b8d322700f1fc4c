//! The commands of the load tool. It is the driver's hand: it opens and uses connections when told to, so that
//! the driver can look at the proxy in between.
//!
//! | Command | Does |
//! |---|---|
//! | `open N PATH` | N more WebSockets |
//! | `once BYTES` | one echo on each WebSocket |
//! | `echo BYTES SECONDS` | echo after echo on each WebSocket |
//! | `up BYTES SECONDS` | messages to `/sink` on each WebSocket |
//! | `down BYTES SECONDS` | messages from `/source` on each WebSocket |
//! | `stall BYTES SECONDS` | asks for the same and does not read |
//! | `alive` | how many WebSockets nobody has ended |
//! | `close`, `reset` | ends all, with a closing handshake or by a reset |
//! | `handshakes N SECONDS` | N workers open and close WebSockets |
//! | `http N SECONDS PATH` | N keep-alive connections, request after request |
//!
//! An answer is one line: `{"units": …, "failed": …, "seconds": …, "p50_us": …, "p99_us": …}`, or `{"error": …}`.
//! What was begun when the time was up is finished and counted, so that no work is seen by one side only.

use std::{
    collections::VecDeque,
    io::{self, BufRead, Write},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use tokio::{runtime::Runtime, task::JoinSet, time::Instant};

use crate::{
    client::{Client, Message, within},
    frame, http,
};

/// Workers that open, use or close a set of connections: enough to keep a proxy busy, few enough for its backlog.
const WORKERS: usize = 64;

/// What a measured run may take over its time before its connections count as failed.
const GRACE: Duration = Duration::from_secs(15);

/// Where the proxy is, and the name that it routes.
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) host: String,
}

/// What was done, and how long each unit took.
#[derive(Default)]
pub(crate) struct Tally {
    /// Round trips, bytes, handshakes or requests.
    pub(crate) units: u64,
    pub(crate) failed: u64,
    /// Nanoseconds, where a unit has a duration.
    pub(crate) times: Vec<u32>,
    /// The first of the failures.
    pub(crate) error: Option<String>,
}

impl Tally {
    pub(crate) fn timed(&mut self, since: Instant) {
        self.units += 1;
        self.times
            .push(u32::try_from(since.elapsed().as_nanos()).unwrap_or(u32::MAX));
    }

    pub(crate) fn failed(&mut self, error: &io::Error) {
        self.failed += 1;
        self.error.get_or_insert_with(|| error.to_string());
    }

    fn add(&mut self, other: Self) {
        self.units += other.units;
        self.failed += other.failed;
        self.times.extend(other.times);
        self.error = self.error.take().or(other.error);
    }

    fn json(mut self, took: Duration) -> String {
        self.times.sort_unstable();
        let percentile = |percent: usize| {
            let index = self.times.len() * percent / 100;
            self.times
                .get(index)
                .map_or(0.0, |nanos| f64::from(*nanos) / 1000.0)
        };
        format!(
            r#"{{"units": {}, "failed": {}, "seconds": {:.6}, "p50_us": {:.1}, "p99_us": {:.1}, "first_error": {:?}}}"#,
            self.units,
            self.failed,
            took.as_secs_f64(),
            percentile(50),
            percentile(99),
            self.error.unwrap_or_default(),
        )
    }
}

pub(crate) struct Load {
    target: Arc<Target>,
    clients: Vec<Client>,
}

impl Load {
    pub(crate) fn new(target: Target) -> Self {
        Self {
            target: Arc::new(target),
            clients: Vec::new(),
        }
    }

    /// Until the end of the input.
    pub(crate) fn commands(
        &mut self,
        runtime: &Runtime,
        input: &mut impl BufRead,
        output: &mut impl Write,
    ) -> io::Result<()> {
        let mut line = String::new();
        while input.read_line(&mut line)? > 0 {
            let start = Instant::now();
            let answer = match runtime.block_on(self.command(line.trim())) {
                Ok(tally) => tally.json(start.elapsed()),
                Err(error) => format!(r#"{{"error": {:?}}}"#, error.to_string()),
            };
            writeln!(output, "{answer}")?;
            output.flush()?;
            line.clear();
        }
        Ok(())
    }

    async fn command(&mut self, line: &str) -> io::Result<Tally> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let seconds = |text: &str| number(text).map(Duration::from_secs_f64);
        match words[..] {
            ["open", count, path] => self.open(whole(count)?, path).await,
            ["once", bytes] => {
                let payload = payload(whole(bytes)?);
                Ok(self
                    .each(WORKERS, GRACE, move |client| {
                        Box::pin(once(client, payload.clone()))
                    })
                    .await)
            }
            ["echo", bytes, time] => {
                let (payload, time) = (payload(whole(bytes)?), seconds(time)?);
                Ok(self
                    .all(time, move |client| {
                        Box::pin(echo(client, payload.clone(), time))
                    })
                    .await)
            }
            ["up", bytes, time] => {
                let (payload, time) = (payload(whole(bytes)?), seconds(time)?);
                Ok(self
                    .all(time, move |client| {
                        Box::pin(up(client, payload.clone(), time))
                    })
                    .await)
            }
            ["down", bytes, time] => {
                let (bytes, time) = (whole(bytes)?, seconds(time)?);
                Ok(self
                    .all(time, move |client| Box::pin(down(client, bytes, time)))
                    .await)
            }
            ["stall", bytes, time] => {
                let (bytes, time) = (whole(bytes)?, seconds(time)?);
                Ok(self
                    .all(time, move |client| Box::pin(ask(client, bytes, time)))
                    .await)
            }
            ["alive"] => {
                let quiet = self
                    .clients
                    .iter()
                    .filter(|client| client.is_quiet())
                    .count() as u64;
                let failed = self.clients.len() as u64 - quiet;
                Ok(Tally {
                    units: quiet,
                    failed,
                    ..Tally::default()
                })
            }
            ["close"] => Ok(self.close().await),
            ["reset"] => {
                let units = self.clients.len() as u64;
                self.clients.drain(..).for_each(Client::reset);
                Ok(Tally {
                    units,
                    ..Tally::default()
                })
            }
            ["handshakes", workers, time] => {
                let (workers, time) = (whole(workers)?, seconds(time)?);
                let target = self.target.clone();
                Ok(spread(workers, move |_| handshakes(target.clone(), time)).await)
            }
            ["http", workers, time, path] => {
                let (workers, time, path) = (whole(workers)?, seconds(time)?, path.to_owned());
                let target = self.target.clone();
                Ok(spread(workers, move |_| {
                    http::requests(target.clone(), path.clone(), time)
                })
                .await)
            }
            _ => Err(io::Error::other(format!("unknown command: {line}"))),
        }
    }

    async fn open(&mut self, count: usize, path: &str) -> io::Result<Tally> {
        let mut tally = Tally::default();
        let mut tasks = JoinSet::new();
        for worker in 0..WORKERS.min(count) {
            let (target, path) = (self.target.clone(), path.to_owned());
            let share =
                count / WORKERS.min(count) + usize::from(worker < count % WORKERS.min(count));
            tasks.spawn(async move {
                let (mut tally, mut clients) = (Tally::default(), Vec::with_capacity(share));
                for _ in 0..share {
                    let start = Instant::now();
                    match Client::open(&target, &path).await {
                        Ok(client) => {
                            clients.push(client);
                            tally.timed(start);
                        }
                        Err(error) => tally.failed(&error),
                    }
                }
                (tally, clients)
            });
        }
        while let Some(done) = tasks.join_next().await {
            let (more, clients) = done.map_err(io::Error::other)?;
            tally.add(more);
            self.clients.extend(clients);
        }
        Ok(tally)
    }

    /// Runs `work` on all connections at once.
    async fn all(&mut self, time: Duration, work: impl Work) -> Tally {
        self.each(self.clients.len(), time + GRACE, work).await
    }

    /// Runs `work` on every connection, on `at_once` of them at a time. One that fails is dropped and counted.
    async fn each(&mut self, at_once: usize, patience: Duration, work: impl Work) -> Tally {
        let mut tally = Tally::default();
        let mut waiting: VecDeque<Client> = self.clients.drain(..).collect();
        let mut tasks = JoinSet::new();
        loop {
            while tasks.len() < at_once.max(1)
                && let Some(mut client) = waiting.pop_front()
            {
                let work = work.clone();
                tasks.spawn(async move {
                    let done = within(patience, work(&mut client)).await;
                    (client, done)
                });
            }
            match tasks.join_next().await {
                Some(Ok((client, Ok(more)))) => {
                    tally.add(more);
                    self.clients.push(client);
                }
                Some(Ok((_, Err(error)))) => tally.failed(&error),
                Some(Err(error)) => tally.failed(&io::Error::other(error)),
                None => return tally,
            }
        }
    }

    async fn close(&mut self) -> Tally {
        let clients = std::mem::take(&mut self.clients);
        let chunk = clients.len().div_ceil(WORKERS).max(1);
        let mut clients = clients.into_iter();
        let shares: Vec<Vec<Client>> = std::iter::from_fn(|| {
            Some(clients.by_ref().take(chunk).collect::<Vec<_>>()).filter(|it| !it.is_empty())
        })
        .collect();
        let mut shares = shares.into_iter();
        spread(shares.len(), move |_| {
            let share = shares.next().unwrap_or_default();
            async move {
                let mut tally = Tally::default();
                for client in share {
                    match client.close().await {
                        Ok(()) => tally.units += 1,
                        Err(error) => tally.failed(&error),
                    }
                }
                tally
            }
        })
        .await
    }
}

type Boxed<'a> = std::pin::Pin<Box<dyn Future<Output = io::Result<Tally>> + Send + 'a>>;

/// Work on one connection, to be done on all.
trait Work: for<'a> Fn(&'a mut Client) -> Boxed<'a> + Clone + Send + 'static {}
impl<T: for<'a> Fn(&'a mut Client) -> Boxed<'a> + Clone + Send + 'static> Work for T {}

/// Runs `count` workers and adds up what they did.
async fn spread<F: Future<Output = Tally> + Send + 'static>(
    count: usize,
    mut work: impl FnMut(usize) -> F,
) -> Tally {
    let mut tasks: JoinSet<Tally> = (0..count).map(&mut work).collect();
    let mut tally = Tally::default();
    while let Some(done) = tasks.join_next().await {
        match done {
            Ok(more) => tally.add(more),
            Err(error) => tally.failed(&io::Error::other(error)),
        }
    }
    tally
}

async fn once(client: &mut Client, payload: Arc<[u8]>) -> io::Result<Tally> {
    let mut tally = Tally::default();
    let wire = client.frame(frame::BINARY, &payload);
    round_trip(client, &wire, &payload, &mut tally).await?;
    Ok(tally)
}

async fn echo(client: &mut Client, payload: Arc<[u8]>, time: Duration) -> io::Result<Tally> {
    let mut tally = Tally::default();
    let wire = client.frame(frame::BINARY, &payload);
    let end = Instant::now() + time;
    while Instant::now() < end {
        round_trip(client, &wire, &payload, &mut tally).await?;
    }
    Ok(tally)
}

async fn round_trip(
    client: &mut Client,
    wire: &[u8],
    payload: &[u8],
    tally: &mut Tally,
) -> io::Result<()> {
    let start = Instant::now();
    client.send(wire).await?;
    match client.receive(Some(payload)).await? {
        Message::Data {
            opcode: frame::BINARY,
        } => tally.timed(start),
        Message::Data { .. } => return Err(io::Error::other("an echo of another kind")),
        Message::Closed => return Err(io::Error::other("closed instead of an echo")),
    }
    Ok(())
}

async fn up(client: &mut Client, payload: Arc<[u8]>, time: Duration) -> io::Result<Tally> {
    let wire = client.frame(frame::BINARY, &payload);
    let end = Instant::now() + time;
    let mut sent = 0;
    while Instant::now() < end {
        client.send(&wire).await?;
        sent += payload.len() as u64;
    }
    // The answer says that the proxy has nothing left of it.
    let question = client.frame(frame::TEXT, b"sum");
    client.send(&question).await?;
    client.receive(Some(sent.to_string().as_bytes())).await?;
    Ok(Tally {
        units: sent,
        ..Tally::default()
    })
}

async fn down(client: &mut Client, bytes: usize, time: Duration) -> io::Result<Tally> {
    ask(client, bytes, time).await?;
    Ok(Tally {
        units: client.receive_stream().await?,
        ..Tally::default()
    })
}

async fn ask(client: &mut Client, bytes: usize, time: Duration) -> io::Result<Tally> {
    let text = format!("{bytes} {}", time.as_millis());
    let wire = client.frame(frame::TEXT, text.as_bytes());
    client.send(&wire).await?;
    Ok(Tally {
        units: 1,
        ..Tally::default()
    })
}

async fn handshakes(target: Arc<Target>, time: Duration) -> Tally {
    let mut tally = Tally::default();
    let end = Instant::now() + time;
    while Instant::now() < end {
        let start = Instant::now();
        let done = async { Client::open(&target, "/echo").await?.close().await };
        match done.await {
            Ok(()) => tally.timed(start),
            Err(error) => tally.failed(&error),
        }
    }
    tally
}

fn payload(bytes: usize) -> Arc<[u8]> {
    (b'a'..=b'w').cycle().take(bytes).collect()
}

fn whole(text: &str) -> io::Result<usize> {
    text.parse()
        .map_err(|_| io::Error::other(format!("{text} is no whole number")))
}

fn number(text: &str) -> io::Result<f64> {
    let number: f64 = text
        .parse()
        .map_err(|_| io::Error::other(format!("{text} is no number")))?;
    if (0.0..=3600.0).contains(&number) {
        Ok(number)
    } else {
        Err(io::Error::other(format!("{text} is no time")))
    }
}
