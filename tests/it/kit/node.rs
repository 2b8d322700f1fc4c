//! A small node agent: what a scheduler and a kubelet do, with containers as local processes.
//!
//! ```ignore
//! let node = Node::start(&plane, &namespace, &[("hawser", Image::hawser()), ("echo", Image::echo())]).await;
//! plane.kubectl(&["apply", "-n", &namespace, "-f", "-"], DEPLOYMENT).text();
//! ```
//! Each Pod gets a network namespace with an address on the bridge of the control plane, and a mount namespace with
//! its volumes where the manifest wants them. See `docs/design/010-test-cluster.md` for what is left out.

mod container;
mod env;
mod pod;
mod probe;
mod register;
mod status;
mod volumes;

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client, ResourceExt,
    runtime::{WatchStreamExt, watcher},
};
use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
};

use super::{control_plane::ControlPlane, netns::Netns};

/// What runs when a container names an image.
#[derive(Clone, Debug)]
pub struct Image {
    /// The program; it appears as `/image/NAME` in the container.
    pub program: PathBuf,
    /// Files that follow it as arguments, at `/image/NAME`, too.
    pub files: Vec<PathBuf>,
}

impl Image {
    /// The Hawser of this build.
    pub fn hawser() -> Self {
        Self {
            program: env!("CARGO_BIN_EXE_hawser").into(),
            files: Vec::new(),
        }
    }

    /// An HTTP server that tells about its Pod: `tests/clients/node/pod.cjs` says what it answers.
    pub fn echo() -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/node/pod.cjs");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let program = std::env::split_paths(&path)
            .map(|folder| folder.join("node"))
            .find(|program| program.is_file())
            .expect("the program node (Debian: apt-get install nodejs) is there");
        Self {
            program,
            files: vec![script],
        }
    }
}

/// A running agent for the Pods of one namespace. Its Pods end with it.
pub struct Node {
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

struct Shared {
    client: Client,
    plane: String,
    namespace: String,
    nodes: Vec<String>,
    images: HashMap<String, Image>,
    folder: PathBuf,
    pods: Mutex<HashMap<String, Arc<Handle>>>,
    turn: AtomicU32,
}

/// What tests see of a Pod that runs.
struct Handle {
    netns: Arc<Netns>,
    address: String,
    pid: Mutex<Option<u32>>,
    rotate: Notify,
}

impl Node {
    /// One node, `n1`. Inside of the control plane's network namespace only.
    pub async fn start(plane: &ControlPlane, namespace: &str, images: &[(&str, Image)]) -> Self {
        Self::several(plane, namespace, images, &["n1"]).await
    }

    /// Several nodes, each in a zone of its own (`zone-1`, ...). Tests that share a control plane may share them.
    pub async fn several(
        plane: &ControlPlane,
        namespace: &str,
        images: &[(&str, Image)],
        nodes: &[&str],
    ) -> Self {
        let client = plane.client().await;
        let folder = plane.folder().join("pods").join(namespace);
        fs::create_dir_all(&folder).expect("a folder");
        let shared = Arc::new(Shared {
            client: client.clone(),
            plane: plane.netns().name().to_owned(),
            namespace: namespace.to_owned(),
            nodes: nodes.iter().map(|&name| name.to_owned()).collect(),
            images: images
                .iter()
                .map(|(name, image)| ((*name).to_owned(), image.clone()))
                .collect(),
            folder,
            pods: Mutex::default(),
            turn: AtomicU32::new(0),
        });
        let mut tasks = JoinSet::new();
        for (index, name) in shared.nodes.iter().enumerate() {
            register::node(&client, name, index + 1).await;
            let (client, name) = (client.clone(), name.clone());
            tasks.spawn(async move { register::heartbeat(&client, &name).await });
        }
        tasks.spawn(follow(Arc::clone(&shared)));
        Self {
            shared,
            _tasks: tasks,
        }
    }

    /// What a Pod has printed, also after its end.
    pub fn logs(&self, pod: &str) -> String {
        let log = self.shared.log(pod);
        String::from_utf8_lossy(&fs::read(log).unwrap_or_default()).into_owned()
    }

    /// Process id of its container while that runs.
    pub fn pid(&self, pod: &str) -> Option<u32> {
        *self.shared.pods.lock().get(pod)?.pid.lock()
    }

    /// Its address.
    pub fn address(&self, pod: &str) -> Option<String> {
        Some(self.shared.pods.lock().get(pod)?.address.clone())
    }

    /// Its network namespace.
    pub fn netns(&self, pod: &str) -> Option<Arc<Netns>> {
        Some(Arc::clone(&self.shared.pods.lock().get(pod)?.netns))
    }

    /// Sends a signal to its container, past the API: STOP pauses it, KILL is a crash.
    pub fn signal(&self, pod: &str, signal: Signal) {
        let pid = self.pid(pod).expect("the container runs");
        let pid = Pid::from_raw(pid.cast_signed()).expect("a process id");
        kill_process(pid, signal).expect("the container is a child of ours");
    }

    /// Its projected tokens are made anew now, as they are before they expire.
    pub fn rotate_tokens(&self, pod: &str) {
        let pods = self.shared.pods.lock();
        pods.get(pod).expect("the Pod runs").rotate.notify_one();
    }

    /// Whether `runAsUser` has an effect: not in a user namespace with one user.
    pub fn has_users() -> bool {
        container::has_users()
    }
}

impl Shared {
    fn log(&self, pod: &str) -> PathBuf {
        self.folder.join(format!("{pod}.log"))
    }

    fn api(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }
}

/// Binds what is pending and keeps one task for each Pod of our nodes.
async fn follow(shared: Arc<Shared>) {
    // By UID: a Pod of a StatefulSet comes back under its name.
    let mut known: HashMap<String, watch::Sender<Option<Pod>>> = HashMap::new();
    // Dropped with this task, and the Pods with it.
    let mut lives = JoinSet::new();
    let config = watcher::Config::default();
    let mut events = watcher(shared.api(), config).default_backoff().boxed();
    let mut listed = Vec::new();
    while let Some(event) = events.next().await {
        let pod = match event {
            Ok(watcher::Event::Apply(pod)) => pod,
            Ok(watcher::Event::InitApply(pod)) => {
                listed.extend(pod.uid());
                pod
            }
            Ok(watcher::Event::Init) => {
                listed.clear();
                continue;
            }
            Ok(watcher::Event::InitDone) => {
                known.retain(|uid, life| {
                    listed.contains(uid) || {
                        let _ = life.send(None);
                        false
                    }
                });
                continue;
            }
            Ok(watcher::Event::Delete(pod)) => {
                if let Some(life) = pod.uid().and_then(|uid| known.remove(&uid)) {
                    let _ = life.send(None);
                }
                continue;
            }
            // The API server is away: containers do not care.
            Err(_) => continue,
        };
        let Some(uid) = pod.uid() else { continue };
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
        match node {
            None => register::bind(&shared, &pod).await,
            Some(node) if shared.nodes.contains(&node) => {
                if let Some(life) = known.get(&uid) {
                    let _ = life.send(Some(pod));
                } else {
                    let (sender, receiver) = watch::channel(Some(pod));
                    known.insert(uid, sender);
                    lives.spawn(pod::live(Arc::clone(&shared), receiver));
                }
            }
            Some(_) => {}
        }
        while lives.try_join_next().is_some() {}
    }
}

impl Shared {
    fn next(&self) -> usize {
        self.turn.fetch_add(1, Ordering::Relaxed) as usize
    }
}
