//! The life of one Pod.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use k8s_openapi::api::core::v1::{Container, Pod};
use kube::{
    ResourceExt,
    api::{DeleteParams, Preconditions},
};
use parking_lot::Mutex;
use rustix::process::Signal;
use serde_json::json;
use tokio::{
    sync::{Notify, mpsc, watch},
    task::{JoinSet, spawn_blocking},
    time::{Instant, sleep, sleep_until, timeout_at},
};

use super::{
    super::{
        control_plane::ADDRESS,
        netns::{Netns, ip},
        process::Process,
    },
    Handle, Shared,
    container::{self, Mount},
    env,
    probe::{self, Kind, Target},
    status::{Status, now},
    volumes::Volumes,
};

/// How soon the end of a process is seen.
const LOOK: Duration = Duration::from_millis(30);
/// How soon a change of a `ConfigMap` or Secret is in the volume (a kubelet: up to a minute).
const REFRESH: Duration = Duration::from_secs(2);
/// Between two starts of a container at most (a kubelet: 5 minutes).
const BACK_OFF: Duration = Duration::from_secs(10);

/// Addresses of Pods, for all control planes of this process.
static ADDRESSES: AtomicU32 = AtomicU32::new(0);

type Spec = watch::Receiver<Option<Pod>>;

struct Life {
    shared: Arc<Shared>,
    pod: Pod,
    container: Container,
    handle: Arc<Handle>,
    status: Status,
    volumes: Volumes,
}

/// How a container ended.
enum End {
    /// By itself, with this exit code.
    Exit(i32),
    /// Its liveness or startup probe failed.
    Unhealthy,
    /// Its Pod is being deleted.
    Deleted,
}

/// Runs a Pod until it is gone from the API.
pub(super) async fn live(shared: Arc<Shared>, mut spec: Spec) {
    let Some(pod) = spec.borrow().clone() else {
        return;
    };
    let finished = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    if matches!(finished, Some("Succeeded" | "Failed")) {
        deleted(&mut spec).await;
        return remove(&shared, &pod).await;
    }
    let name = pod.name_any();
    let Some(container) = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.containers.first().cloned())
    else {
        return;
    };
    let image = container.image.clone().unwrap_or_default();
    let mut status = Status::new(name.clone(), container.name.clone(), image);
    if let Some(message) = container::unsupported(&pod) {
        (status.phase, status.message) = ("Failed", message);
        status.state = json!({"terminated": {"exitCode": 1, "reason": "Unsupported"}});
        status.send(&shared.api()).await;
        deleted(&mut spec).await;
        return remove(&shared, &pod).await;
    }
    let number = ADDRESSES.fetch_add(1, Ordering::Relaxed) + 1;
    let address = format!("10.244.{}.{}", 1 + number / 250 % 250, 1 + number % 250);
    let plane = shared.plane.clone();
    let netns = spawn_blocking({
        let address = address.clone();
        move || network(&plane, &address, number)
    });
    let Ok(netns) = netns.await else { return };
    let handle = Arc::new(Handle {
        netns: Arc::new(netns),
        address: address.clone(),
        pid: Mutex::default(),
        rotate: Notify::new(),
    });
    shared.pods.lock().insert(name.clone(), Arc::clone(&handle));
    status.address = Some(address.clone());
    let folder = shared.folder.join(format!("{name}.volumes"));
    let volumes = Volumes::new(shared.client.clone(), folder, address);
    let life = Life {
        shared: Arc::clone(&shared),
        pod: pod.clone(),
        container,
        handle: Arc::clone(&handle),
        status,
        volumes,
    };
    Box::pin(life.run(&mut spec)).await;
    let mut pods = shared.pods.lock();
    // A Pod of the same name may be there already.
    if pods
        .get(&name)
        .is_some_and(|other| Arc::ptr_eq(other, &handle))
    {
        pods.remove(&name);
    }
}

/// A host of its own on the bridge of the control plane.
fn network(plane: &str, address: &str, number: u32) -> Netns {
    let netns = Netns::new("pod");
    ip(&format!(
        "-n {plane} link add pod{number} type veth peer name eth0 netns {}",
        netns.name()
    ));
    ip(&format!("-n {plane} link set pod{number} master br0 up"));
    netns.ip(&format!("addr add {address}/16 dev eth0"));
    netns.ip("link set eth0 up");
    netns.ip(&format!("route add default via {ADDRESS}"));
    netns
}

/// Waits until the Pod is being deleted, or gone.
async fn deleted(spec: &mut Spec) {
    let deleted = |pod: &Option<Pod>| {
        pod.as_ref()
            .is_none_or(|pod| pod.metadata.deletion_timestamp.is_some())
    };
    let _ = spec.wait_for(deleted).await;
}

/// Waits until the Pod is gone from the API: deleted without grace.
async fn gone(spec: &mut Spec) {
    let _ = spec.wait_for(Option::is_none).await;
}

/// Confirms the deletion.
async fn remove(shared: &Shared, pod: &Pod) {
    let uid = Preconditions {
        uid: pod.uid(),
        ..Preconditions::default()
    };
    let parameters = DeleteParams {
        grace_period_seconds: Some(0),
        preconditions: Some(uid),
        ..DeleteParams::default()
    };
    while let Err(error) = shared.api().delete(&pod.name_any(), &parameters).await {
        if matches!(&error, kube::Error::Api(status) if status.code == 404 || status.code == 409) {
            return;
        }
        sleep(Duration::from_secs(1)).await;
    }
}

impl Life {
    async fn run(mut self, spec: &mut Spec) {
        let policy = self
            .pod
            .spec
            .as_ref()
            .and_then(|spec| spec.restart_policy.clone())
            .unwrap_or_default();
        let mut pause = Duration::ZERO;
        loop {
            self.send().await;
            let mut ends = spec.clone();
            let process = tokio::select! {
                process = self.start() => process,
                () = deleted(&mut ends) => break,
            };
            let started = now();
            let (end, mut process) = self.supervise(process, spec).await;
            if let End::Deleted | End::Unhealthy = end {
                self.terminate(&mut process, spec).await;
            }
            process.kill();
            *self.handle.pid.lock() = None;
            let code = match end {
                End::Exit(code) => code,
                End::Unhealthy | End::Deleted => process
                    .ended()
                    .and_then(|status| status.code())
                    .unwrap_or(137),
            };
            let reason = if code == 0 { "Completed" } else { "Error" };
            let state = json!({"terminated": {"exitCode": code, "reason": reason, "startedAt": started, "finishedAt": now()}});
            (self.status.ready, self.status.started) = (false, false);
            self.status.state = state.clone();
            let again = policy == "Always" || policy == "OnFailure" && code != 0;
            if matches!(end, End::Deleted) || !again {
                self.status.phase = if code == 0 { "Succeeded" } else { "Failed" };
                break;
            }
            self.status.last = state;
            self.status.restarts += 1;
            self.status.state = json!({"waiting": {"reason": "CrashLoopBackOff"}});
            self.send().await;
            let mut ends = spec.clone();
            tokio::select! {
                () = sleep(pause) => {}
                () = deleted(&mut ends) => break,
            }
            pause = (pause * 2).clamp(Duration::from_secs(1), BACK_OFF);
        }
        if spec.borrow().is_none() {
            return;
        }
        self.send().await;
        deleted(spec).await;
        remove(&self.shared, &self.pod).await;
    }

    async fn send(&mut self) {
        self.status.send(&self.shared.api()).await;
    }

    /// Fills the volumes and starts the container, as often as it takes.
    async fn start(&mut self) -> Process {
        loop {
            match self.try_start().await {
                Ok(process) => return process,
                Err((reason, message)) => {
                    self.status.state = json!({"waiting": {"reason": reason, "message": message}});
                    self.send().await;
                }
            }
            sleep(Duration::from_millis(500)).await;
        }
    }

    async fn try_start(&mut self) -> Result<Process, (&'static str, String)> {
        let name = self.container.image.clone().unwrap_or_default();
        // `registry/hawser:1.0@sha256:...` is `hawser`.
        let short = name
            .split('@')
            .next()
            .unwrap_or_default()
            .rsplit('/')
            .next()
            .unwrap_or_default();
        let short = short.split(':').next().unwrap_or_default();
        let image = self
            .shared
            .images
            .get(&name)
            .or_else(|| self.shared.images.get(short));
        let image = image
            .ok_or_else(|| {
                (
                    "ErrImagePull",
                    format!("the test gave no program for the image {name:?}"),
                )
            })?
            .clone();
        self.volumes
            .fill(&self.pod)
            .await
            .map_err(|error| ("ContainerCreating", error))?;
        let environment = env::of(
            &self.shared.client,
            &self.pod,
            &self.container,
            &self.handle.address,
        )
        .await;
        let environment = environment.map_err(|error| ("CreateContainerConfigError", error))?;
        let mounts = self.container.volume_mounts.iter().flatten().map(|mount| {
            let mut from = self.volumes.path(&mount.name);
            if let Some(path) = &mount.sub_path {
                from.push(path);
            }
            Mount {
                from,
                to: mount.mount_path.clone(),
                writable: mount.read_only != Some(true),
            }
        });
        let mounts = mounts.collect();
        let root = self
            .shared
            .folder
            .join(format!("{}.root", self.status.name));
        let log = self.shared.log(&self.status.name);
        let (pod, container, handle) = (
            self.pod.clone(),
            self.container.clone(),
            Arc::clone(&self.handle),
        );
        let start = spawn_blocking(move || {
            container::start(
                &pod,
                &container,
                &image,
                &environment,
                mounts,
                &handle.netns,
                (&root, &log),
            )
        });
        start
            .await
            .map_err(|error| ("RunContainerError", error.to_string()))
    }

    /// Watches over a container until it ends or has to.
    async fn supervise(&mut self, mut process: Process, spec: &mut Spec) -> (End, Process) {
        *self.handle.pid.lock() = Some(process.id());
        self.status.phase = "Running";
        self.status.state = json!({"running": {"startedAt": now()}});
        let mut probes = Probes::new(self.target(&process));
        (self.status.started, self.status.ready) = (probes.started(), probes.ready());
        self.send().await;
        let mut ends = spec.clone();
        let handle = Arc::clone(&self.handle);
        let mut refresh = Instant::now() + REFRESH;
        loop {
            tokio::select! {
                () = deleted(&mut ends) => return (End::Deleted, process),
                () = sleep(LOOK) => {
                    if let Some(status) = process.ended() {
                        return (End::Exit(status.code().unwrap_or(137)), process);
                    }
                }
                verdict = probes.next() => {
                    match verdict {
                        (Kind::Readiness, fine) => self.status.ready = fine && self.status.started,
                        (Kind::Startup, true) => {
                            probes.begin();
                            (self.status.started, self.status.ready) = (true, self.container.readiness_probe.is_none());
                        }
                        (Kind::Startup | Kind::Liveness, false) => return (End::Unhealthy, process),
                        (Kind::Liveness, true) => {}
                    }
                    self.send().await;
                }
                () = handle.rotate.notified() => {
                    self.volumes.expire();
                    self.refresh(&ends).await;
                }
                () = sleep_until(refresh) => {
                    self.refresh(&ends).await;
                    // Also what could not be written while the API server was away.
                    self.send().await;
                    refresh = Instant::now() + REFRESH;
                }
            }
        }
    }

    async fn refresh(&mut self, spec: &Spec) {
        // Labels and annotations change in the life of a Pod.
        let newest = spec.borrow().clone();
        if let Some(pod) = newest {
            self.pod = pod;
        }
        // A failure leaves what is there.
        let _ = self.volumes.fill(&self.pod).await;
    }

    fn target(&self, process: &Process) -> Target {
        Target {
            container: self.container.clone(),
            address: self.handle.address.clone(),
            pid: process.id(),
        }
    }

    /// preStop, SIGTERM and, after the grace period, SIGKILL by the caller. Readiness is asked all the time, as a
    /// kubelet does: the endpoint stays `serving`.
    async fn terminate(&mut self, process: &mut Process, spec: &mut Spec) {
        let spec_grace = self
            .pod
            .spec
            .as_ref()
            .and_then(|spec| spec.termination_grace_period_seconds);
        let grace = spec
            .borrow()
            .as_ref()
            .and_then(|pod| pod.metadata.deletion_grace_period_seconds);
        let grace = grace.or(spec_grace).unwrap_or(30);
        let end = Instant::now() + Duration::from_secs(u64::try_from(grace).unwrap_or(0));
        let target = self.target(process);
        let mut probes = Probes::readiness(target.clone());
        let hook = self
            .container
            .lifecycle
            .as_ref()
            .and_then(|lifecycle| lifecycle.pre_stop.clone());
        let pod = self.status.name.clone();
        let stopping = async {
            if let Some(hook) = hook {
                let _ = timeout_at(end, probe::hook(&hook, &target)).await;
            }
            if process.ended().is_none() {
                process.signal(Signal::TERM);
            }
            // At least 2 s after a hook that took all of the time, as a kubelet gives.
            let end = end.max(Instant::now() + Duration::from_secs(2));
            while process.ended().is_none() && Instant::now() < end {
                sleep(LOOK).await;
            }
            pod
        };
        tokio::pin!(stopping);
        loop {
            tokio::select! {
                _ = &mut stopping => return,
                () = gone(spec) => return,
                (_, fine) = probes.next() => {
                    self.status.ready = fine;
                    self.status.send(&self.shared.api()).await;
                }
            }
        }
    }
}

/// The probes of a running container.
struct Probes {
    target: Target,
    tasks: JoinSet<()>,
    sender: mpsc::Sender<(Kind, bool)>,
    verdicts: mpsc::Receiver<(Kind, bool)>,
}

impl Probes {
    fn empty(target: Target) -> Self {
        let (sender, verdicts) = mpsc::channel(8);
        Self {
            target,
            tasks: JoinSet::new(),
            sender,
            verdicts,
        }
    }

    /// The startup probe first, the others after it.
    fn new(target: Target) -> Self {
        let mut probes = Self::empty(target);
        if probes.started() {
            probes.begin();
        } else {
            probes.add(Kind::Startup);
        }
        probes
    }

    fn readiness(target: Target) -> Self {
        let mut probes = Self::empty(target);
        probes.add(Kind::Readiness);
        probes
    }

    /// Whether a container counts as started at once.
    fn started(&self) -> bool {
        self.target.container.startup_probe.is_none()
    }

    /// Whether it is ready as soon as it has started.
    fn ready(&self) -> bool {
        self.started() && self.target.container.readiness_probe.is_none()
    }

    fn begin(&mut self) {
        self.tasks.abort_all();
        self.add(Kind::Readiness);
        self.add(Kind::Liveness);
    }

    fn add(&mut self, kind: Kind) {
        let container = &self.target.container;
        let probe = match kind {
            Kind::Startup => &container.startup_probe,
            Kind::Readiness => &container.readiness_probe,
            Kind::Liveness => &container.liveness_probe,
        };
        if let Some(probe) = probe.clone() {
            self.tasks.spawn(probe::watch(
                kind,
                probe,
                self.target.clone(),
                self.sender.clone(),
            ));
        }
    }

    async fn next(&mut self) -> (Kind, bool) {
        match self.verdicts.recv().await {
            Some(verdict) => verdict,
            // Cannot be: a sender is kept.
            None => std::future::pending().await,
        }
    }
}
