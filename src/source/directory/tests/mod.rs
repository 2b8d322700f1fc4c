//! Real directories, real events, real tables.

mod broken;
mod edits;
mod layouts;
mod scan;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{watcher, worker::Sink};
use crate::{
    ir,
    source::rebuild::{Changes, Live, Rebuild, Verdicts},
    telemetry::metrics::Metrics,
    translate::{Options, SourceKind, Verdict},
    upstream,
};

/// Nothing here takes a second on an idle machine.
const DEADLINE: Duration = Duration::from_secs(30);

/// A directory that is watched.
struct Watched {
    /// Holds `dir`.
    outer: TempDir,
    dir: PathBuf,
    live: Arc<Live>,
    backends: Arc<upstream::Registry>,
    metrics: Arc<Metrics>,
    verdicts: Arc<Verdicts>,
    history: Arc<Mutex<Vec<Vec<String>>>>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// Rebuilds, and remembers everything that was ever live.
struct Recorder {
    rebuild: Rebuild,
    history: Arc<Mutex<Vec<Vec<String>>>>,
}

impl Sink for Recorder {
    fn event(&mut self) {
        Sink::event(&mut self.rebuild);
    }

    fn apply(&mut self, changes: Changes, broken: usize) -> bool {
        let done = Sink::apply(&mut self.rebuild, changes, broken);
        self.history.lock().push(served(&self.rebuild.live));
        done
    }
}

/// Every way into a route, as `a.example.com Prefix /x -> service`.
fn served(live: &Live) -> Vec<String> {
    live.load()
        .routes()
        .map(|entry| {
            let service =
                entry
                    .route
                    .rule
                    .backends
                    .iter()
                    .find_map(|backend| match &backend.target {
                        ir::Target::Backend(id) => Some(id.service.to_string()),
                        ir::Target::Missing(_) => None,
                    });
            format!(
                "{} {} -> {}",
                entry.host.map_or("-".into(), ToString::to_string),
                entry.path.map_or("-".into(), ToString::to_string),
                service.as_deref().unwrap_or("?"),
            )
        })
        .collect()
}

/// Prepares a directory before it is watched.
fn outer() -> TempDir {
    let outer = TempDir::new().expect("a directory");
    fs::create_dir(outer.path().join("routes")).expect("a directory");
    outer
}

/// Watches `routes` in it and waits for the first table.
async fn watch(outer: TempDir) -> Watched {
    let watched = begin(outer);
    tokio::time::timeout(DEADLINE, watched.live.wait_for(1))
        .await
        .expect("a first table");
    watched
}

/// The same without waiting.
fn begin(outer: TempDir) -> Watched {
    let dir = outer.path().join("routes");
    let rebuild = Rebuild::new(
        Arc::new(Live::new()),
        Arc::new(upstream::Registry::default()),
        Metrics::new(),
        Options {
            controller_name: "hawser.dev/ingress-controller".into(),
            ingress_class: "hawser".into(),
            watch_ingress_without_class: false,
            origin: SourceKind::Directory,
            own_addresses: Vec::new(),
            peer_service: None,
            drain_window: None,
        },
        Arc::default(),
    );
    let history = Arc::default();
    let stop = CancellationToken::new();
    let (live, backends) = (Arc::clone(&rebuild.live), Arc::clone(&rebuild.backends));
    let (metrics, verdicts) = (Arc::clone(&rebuild.metrics), Arc::clone(&rebuild.verdicts));
    let sink = Recorder {
        rebuild,
        history: Arc::clone(&history),
    };
    let task = tokio::spawn({
        let (dir, stop) = (dir.clone(), stop.clone());
        async move { watcher::run(&dir, sink, stop).await }
    });
    Watched {
        outer,
        dir,
        live,
        backends,
        metrics,
        verdicts,
        history,
        stop,
        task,
    }
}

impl Watched {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("written");
    }

    fn served(&self) -> Vec<String> {
        served(&self.live)
    }

    /// Waits until exactly these are served.
    async fn until_served(&self, expected: &[&str]) {
        self.until(&format!("{expected:?} served"), || {
            self.served() == expected
        })
        .await;
    }

    async fn until(&self, what: &str, condition: impl Fn() -> bool) {
        let waiting = async {
            while !condition() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let in_time = tokio::time::timeout(DEADLINE, waiting).await.is_ok();
        assert!(
            in_time,
            "waited for {what}; served is {:#?}, verdicts are {:#?}",
            self.served(),
            self.verdicts.list()
        );
    }

    /// Whether a route was in every table since the first.
    fn always(&self, route: &str) -> bool {
        let history = self.history.lock();
        history
            .iter()
            .all(|served| served.iter().any(|way| way == route))
    }

    fn verdict(&self, name: &str) -> Option<Arc<Verdict>> {
        let verdicts = self.verdicts.list();
        verdicts
            .iter()
            .find(|verdict| verdict.object.name == name)
            .cloned()
    }

    /// Status and reason of a condition.
    fn condition(&self, name: &str, type_: &str) -> Option<(bool, &'static str)> {
        let verdict = self.verdict(name)?;
        let mut conditions = verdict.conditions.iter();
        let condition = conditions.find(|condition| condition.type_ == type_)?;
        Some((condition.status, condition.reason))
    }

    /// How many files or objects are broken, as the metric says.
    fn broken(&self) -> Option<u64> {
        let text = self.metrics.encode();
        let line = text
            .lines()
            .find(|line| line.starts_with("hawser_source_errors"))?;
        line.rsplit(' ').next()?.parse().ok()
    }

    async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(DEADLINE, self.task)
            .await
            .expect("the watcher ends when it is told to")
            .expect("no panic");
    }
}

/// A `WebSocketRoute` that sends all of a host to a Service.
fn route(name: &str, service: &str) -> String {
    format!(
        "apiVersion: hawser.dev/v1alpha1\n\
         kind: WebSocketRoute\n\
         metadata: {{name: {name}}}\n\
         spec:\n  \
           hostnames: [{name}.example.com]\n  \
           rules:\n  \
           - name: all\n    \
             backendRefs: [{{name: {service}, port: 80}}]\n"
    )
}

/// What is served because of [`route`].
fn way(name: &str, service: &str) -> String {
    format!("{name}.example.com Prefix / -> {service}")
}

/// A Service with one slice; addresses are separated by white space.
fn service(name: &str, addresses: &str) -> String {
    let endpoints: Vec<_> = addresses
        .split_whitespace()
        .map(|address| format!("{{addresses: [{address}]}}"))
        .collect();
    let endpoints = endpoints.join(", ");
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{ports: [{{port: 80}}]}}\n---\n\
         apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {{name: {name}-1, labels: {{kubernetes.io/service-name: {name}}}}}\n\
         addressType: IPv4\nports: [{{port: 8080}}]\nendpoints: [{endpoints}]\n"
    )
}

/// Replaces a file the way careful editors do.
fn replace(path: &Path, text: &str) {
    let temporary = path.with_extension("tmp");
    fs::write(&temporary, text).expect("written");
    fs::rename(temporary, path).expect("renamed");
}
