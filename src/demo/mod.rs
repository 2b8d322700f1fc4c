//! `hawser demo`: a chat application behind the real standalone controller, to try things on.
//!
//! ```text
//!   browser ── / and /ws ──► Hawser (app::start) ──► replica A ─┐
//!                               ▲                               ├─ one Room
//!                hawser-demo/*.yaml (manifests)   ──► replica B ─┘
//! ```
//! The replicas are ordinary HTTP servers on loopback that know nothing of Hawser; only the room is told when
//! a new table is live, so that the page can show how many changes each connection has survived.

mod console;
mod manifests;
mod page;
mod replica;
mod room;

use std::{io, net::SocketAddr, path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{manifests::Folder, replica::Replica, room::Room};
use crate::{
    app::{self, Inherited, Settings, Signals, StartError},
    source::rebuild::Live,
    telemetry::log,
    translate,
};

/// Flags of `hawser demo`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct DemoArgs {
    /// Address that the browser opens
    #[arg(
        long,
        value_name = "ADDR",
        env = "HAWSER_DEMO_HTTP",
        default_value = "127.0.0.1:8080"
    )]
    http: SocketAddr,

    /// Folder for the manifests: made if missing, written anew at each start, kept at the end
    #[arg(
        long,
        value_name = "DIR",
        env = "HAWSER_DEMO_MANIFESTS",
        default_value = "hawser-demo"
    )]
    manifests: PathBuf,

    /// Log level on standard error; info shows every request and tunnel
    #[arg(
        long,
        value_name = "LEVEL",
        env = "HAWSER_LOG_LEVEL",
        default_value = "warn"
    )]
    log_level: String,
}

const EXAMPLES: &str = "\
Examples:
  hawser demo
  hawser demo --http 127.0.0.1:9000 --manifests /tmp/routes
  hawser demo --log-level info";

/// Nothing was bound or written (`EX_USAGE` of sysexits.h), as for `hawser run`.
const EXIT_USAGE: u8 = 64;

/// The controller reads five small files; on the slowest machine that is far less.
const FIRST_TABLE: Duration = Duration::from_secs(10);

/// A person waits at Ctrl-C, and there are few tunnels. SIGTERM does the same.
const DRAIN_WINDOW: Duration = Duration::from_secs(2);

/// The replicas only have to notice the token.
const REPLICAS_END: Duration = Duration::from_secs(2);

/// Why the demo cannot run.
#[derive(Debug, thiserror::Error)]
enum DemoError {
    #[error("--log-level {0}: {1}")]
    Log(String, String),
    #[error(
        "the address {0} is in use by another program; choose another with --http 127.0.0.1:PORT"
    )]
    Busy(SocketAddr),
    #[error("--http {0}: {1}")]
    Bind(SocketAddr, io::Error),
    #[error(transparent)]
    Manifests(#[from] manifests::Error),
    #[error("a chat replica cannot listen on loopback: {0}")]
    Replica(io::Error),
    #[error("signals cannot be received: {0}")]
    Signals(io::Error),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("the manifests in {} did not become live within {FIRST_TABLE:?}", .0.display())]
    NoTable(PathBuf),
}

/// Runs the demo until a signal ends it. Exit code 0 after an orderly end, 64 when it could not start.
pub async fn run(args: DemoArgs) -> ExitCode {
    match serve(&args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            console::error(&error);
            ExitCode::from(EXIT_USAGE)
        }
    }
}

async fn serve(args: &DemoArgs) -> Result<(), DemoError> {
    log::init(None, &args.log_level)
        .map_err(|error| DemoError::Log(args.log_level.clone(), error.to_string()))?;
    check_free(args.http).await?;
    let folder = Folder::claim(&args.manifests)?;

    let signals = Signals::listen().map_err(DemoError::Signals)?;
    // The replicas outlive the proxy, as pods do: a tunnel ends because Hawser says so.
    let replicas_stop = CancellationToken::new();
    let _ends_with_us = replicas_stop.clone().drop_guard();
    let tasks = TaskTracker::new();
    let room = Arc::new(Room::default());
    let mut addresses = Vec::new();
    for name in ["A", "B"] {
        let replica = Replica::bind(name, Arc::clone(&room))
            .await
            .map_err(DemoError::Replica)?;
        addresses.push((name, replica.address()));
        tasks.spawn(replica.serve(replicas_stop.clone()));
    }
    folder.write(&addresses)?;

    let app = app::start(settings(args, &folder), Inherited::default())
        .await
        .map_err(|error| explain_bind(error, args.http))?;
    tokio::time::timeout(FIRST_TABLE, app.live.wait_for(1))
        .await
        .map_err(|_elapsed| DemoError::NoTable(folder.path().to_owned()))?;
    let http = app.http.first().copied().unwrap_or(args.http);
    console::welcome(http, app.admin, &folder);
    tasks.spawn(follow(
        Arc::clone(&app.live),
        Arc::clone(&room),
        replicas_stop.clone(),
    ));

    tasks.spawn({
        let (unready, stop) = (app.unready.clone(), replicas_stop.clone());
        async move {
            tokio::select! {
                () = unready.cancelled() => console::leaving(),
                () = stop.cancelled() => {}
            }
        }
    });

    app.run(signals).await;
    replicas_stop.cancel();
    tasks.close();
    if tokio::time::timeout(REPLICAS_END, tasks.wait())
        .await
        .is_err()
    {
        tracing::warn!("the chat replicas did not end in time");
    }
    console::goodbye();
    Ok(())
}

/// Asks for the address before anything is written: a second demo must not overwrite the manifests of the
/// first.
async fn check_free(http: SocketAddr) -> Result<(), DemoError> {
    match TcpListener::bind(http).await {
        Ok(_closed_again) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(DemoError::Busy(http)),
        Err(error) => Err(DemoError::Bind(http, error)),
    }
}

fn explain_bind(error: StartError, http: SocketAddr) -> DemoError {
    match error {
        StartError::Bind {
            address, source, ..
        } if address == http && source.kind() == io::ErrorKind::AddrInUse => DemoError::Busy(http),
        other => DemoError::Start(other),
    }
}

fn settings(args: &DemoArgs, folder: &Folder) -> Settings {
    Settings {
        http: vec![args.http],
        reuse_port: false,
        // Any free port: the demo runs beside a real Hawser.
        admin: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
        admin_write: false,
        status: None,
        source: app::Source::Directory(folder.path().to_owned()),
        translate: translate::Options {
            controller_name: manifests::CONTROLLER_NAME.to_owned(),
            ingress_class: manifests::INGRESS_CLASS.to_owned(),
            watch_ingress_without_class: false,
            origin: translate::SourceKind::Directory,
            own_addresses: Vec::new(),
            peer_service: None,
            drain_window: None,
        },
        max_connections: None,
        // No load balancer has to notice anything.
        drain_delay: Duration::ZERO,
        drain_window: DRAIN_WINDOW,
        splice: true,
    }
}

/// Tells the room, and whoever reads the terminal, about every table that goes live.
async fn follow(live: Arc<Live>, room: Arc<Room>, stop: CancellationToken) {
    let mut seen = live.load().generation();
    room.set_generation(seen);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = live.wait_for(seen + 1) => {}
        }
        seen = live.load().generation();
        let kept = room.set_generation(seen);
        console::route_change(seen, kept);
    }
}
