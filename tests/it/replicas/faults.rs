//! One replica fails, the leader, too: the others go on, and the status tells the truth again in time.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use tokio::time::sleep;

use super::{
    DEADLINE, PLANE,
    install::{Install, Sockets},
};
use crate::kit::{
    audit,
    control_plane::{ADDRESS, ControlPlane, PORT},
    faults::Cut,
    within,
};

/// The bound of the promise: a change is told after so long at the latest, whatever failed.
const CONVERGED: Duration = Duration::from_secs(30);

/// Four times as long as a Lease is held.
const OUTAGE: Duration = Duration::from_mins(1);

/// Three replicas with sockets on each, routes that nothing happens to, `chat` with the sockets and `changing`.
struct Scene<'a> {
    install: Install<'a>,
    quiet: Vec<String>,
    pods: Vec<String>,
    sockets: BTreeMap<String, Sockets>,
}

/// Who fails.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Role {
    Follower,
    Leader,
}

const ROLES: [Role; 2] = [Role::Follower, Role::Leader];

impl<'a> Scene<'a> {
    async fn start(plane: &'a ControlPlane, name: &str) -> Self {
        let install = Install::start(plane, name, 3).await;
        let quiet = install.quiet(3).await;
        for name in ["chat", "changing"] {
            install.route(name);
            install.settled(name).await;
        }
        let pods = install.pods().await;
        let mut scene = Self {
            install,
            quiet,
            pods,
            sockets: BTreeMap::new(),
        };
        for pod in scene.pods.clone() {
            scene.open(&pod).await;
        }
        scene
    }

    async fn open(&mut self, pod: &str) {
        let to = self.install.http(pod);
        let sockets = Sockets::open(to, &self.install, "chat", 20).await;
        self.sockets.insert(pod.to_owned(), sockets);
    }

    async fn who(&self, role: Role) -> String {
        let (leader, others) = self.install.leader(&self.pods).await;
        match role {
            Role::Follower => others[0].clone(),
            Role::Leader => leader,
        }
    }

    /// The sockets of all replicas but this one.
    async fn others_go_on(&mut self, victim: &str) {
        for (pod, sockets) in &mut self.sockets {
            if pod != victim {
                sockets.go_on().await;
            }
        }
    }

    async fn all_go_on(&mut self) {
        self.others_go_on("").await;
    }

    /// This replica serves the changed route.
    async fn serves(&self, pod: &str, path: &str) {
        within(CONVERGED, "the replica serves the change", async || {
            let opened = self
                .install
                .open(self.install.http(pod), "changing", path)
                .await;
            opened.ok()
        })
        .await;
    }

    /// What the table of each replica is made from.
    async fn hashes(&self) -> BTreeMap<String, u64> {
        let mut hashes = BTreeMap::new();
        for pod in &self.pods {
            let hash = self.install.metric(pod, "hawser_table_hash ").await;
            let hash = hash
                .filter(|hash| *hash > 0.0)
                .expect("something is served");
            hashes.insert(pod.clone(), hash.to_bits());
        }
        hashes
    }

    async fn converges_since(&self, start: Instant) {
        let left = CONVERGED.saturating_sub(start.elapsed());
        self.install
            .judged(left, "changing", |condition| {
                condition.status == "True" && condition.reason == "Programmed"
            })
            .await;
    }
}

#[test]
fn a_replica_is_killed() {
    let plane = PLANE.get();
    plane.run(async || {
        let mut scene = Scene::start(&plane, "killed").await;
        for role in ROLES {
            let victim = scene.who(role).await;
            let path = format!("/{role:?}").to_lowercase();
            let mark = plane.audit().mark();
            scene.install.node.signal(&victim, Signal::KILL);
            let start = Instant::now();
            scene.install.change("changing", &path);
            scene.others_go_on(&victim).await;
            scene.converges_since(start).await;
            scene.others_go_on(&victim).await;
            // Its container is started again.
            scene.serves(&victim, &path).await;
            scene.install.spread(3).await;
            scene.install.handshakes("chat", 12).await;
            scene.open(&victim).await;
            scene.who(role).await;
            scene.install.no_fight(mark, &scene.quiet);
        }
    });
}

/// How a replica falls silent without an end of its process.
#[derive(Clone, Copy, PartialEq)]
enum Silence {
    Stopped,
    Unplugged,
}

impl Silence {
    fn begin(self, install: &Install<'_>, pod: &str) {
        match self {
            Self::Stopped => install.node.signal(pod, Signal::STOP),
            Self::Unplugged => install
                .node
                .netns(pod)
                .expect("it runs")
                .ip("link set eth0 down"),
        }
    }

    fn end(self, install: &Install<'_>, pod: &str) {
        match self {
            Self::Stopped => install.node.signal(pod, Signal::CONT),
            Self::Unplugged => install
                .node
                .netns(pod)
                .expect("it runs")
                .ip("link set eth0 up"),
        }
    }
}

async fn silent(scene: &mut Scene<'_>, plane: &ControlPlane, role: Role, silence: Silence) {
    let victim = scene.who(role).await;
    let address = scene.install.http(&victim);
    let path = format!("/{role:?}").to_lowercase();
    let mark = plane.audit().mark();
    silence.begin(&scene.install, &victim);
    let start = Instant::now();
    scene.install.change("changing", &path);
    scene.others_go_on(&victim).await;
    within(DEADLINE, "the switch goes around it", async || {
        (!scene.install.switch.endpoints().contains(&address)).then_some(())
    })
    .await;
    scene.install.handshakes("chat", 12).await;
    scene.converges_since(start).await;
    sleep(OUTAGE.saturating_sub(start.elapsed())).await;
    scene.others_go_on(&victim).await;

    let healed = plane.audit().mark();
    silence.end(&scene.install, &victim);
    scene.serves(&victim, &path).await;
    scene.install.spread(3).await;
    scene.install.handshakes("chat", 12).await;
    scene.others_go_on(&victim).await;
    if silence == Silence::Stopped {
        // Nobody was told anything but TCP.
        scene.all_go_on().await;
    } else {
        scene.open(&victim).await;
    }
    let (leader, _) = scene.install.leader(&scene.pods).await;
    if role == Role::Leader {
        assert_ne!(leader, victim, "it does not come back as if nothing was");
        let own = address.ip().to_string();
        let writes = scene.install.writes(healed);
        let mut own = writes
            .iter()
            .filter(|entry| entry.raw["sourceIPs"][0] == own.as_str());
        assert!(own.next().is_none(), "{writes:?}");
    }
    scene.install.no_fight(mark, &scene.quiet);
}

#[test]
fn a_replica_stands_still() {
    let plane = PLANE.get();
    plane.run(async || {
        let mut scene = Scene::start(&plane, "paused").await;
        for role in ROLES {
            silent(&mut scene, &plane, role, Silence::Stopped).await;
        }
    });
}

#[test]
fn a_replica_is_unplugged() {
    let plane = PLANE.get();
    plane.run(async || {
        let mut scene = Scene::start(&plane, "unplugged").await;
        for role in ROLES {
            silent(&mut scene, &plane, role, Silence::Unplugged).await;
        }
    });
}

/// It stays ready and serves what it knows; that it lags is told.
#[test]
fn a_replica_does_not_reach_the_api_server() {
    let plane = PLANE.get();
    plane.run(async || {
        let mut scene = Scene::start(&plane, "cut-off").await;
        let server: IpAddr = ADDRESS.parse().expect("an address");
        for role in ROLES {
            let victim = scene.who(role).await;
            let path = format!("/{role:?}").to_lowercase();
            let mark = plane.audit().mark();
            let netns = scene.install.node.netns(&victim).expect("it runs");
            let cut = Cut::port(&netns, server, PORT);
            let start = Instant::now();
            scene.install.change("changing", &path);
            scene
                .install
                .judged(CONVERGED, "changing", |condition| {
                    let lags = condition.status == "False" && condition.reason == "Pending";
                    lags && condition.message.contains(&victim)
                })
                .await;
            let (leader, _) = scene.install.leader(&scene.pods).await;
            assert_ne!(leader, victim, "who leads can write");
            scene.install.handshakes("chat", 12).await;
            sleep(OUTAGE.saturating_sub(start.elapsed())).await;
            scene.all_go_on().await;
            scene.install.handshakes("chat", 12).await;
            assert_eq!(
                scene.install.switch.endpoints().len(),
                3,
                "each is ready all the time"
            );
            let hashes = scene.hashes().await;
            let own = hashes[&victim];
            let same = hashes.values().filter(|hash| **hash == own);
            assert_eq!(
                same.count(),
                1,
                "it is seen which one is behind: {hashes:?}"
            );

            cut.heal();
            scene.converges_since(Instant::now()).await;
            let hashes = scene.hashes().await;
            assert!(
                hashes.values().all(|hash| *hash == hashes[&victim]),
                "{hashes:?}"
            );
            let to = scene.install.http(&victim);
            let opened = scene.install.open(to, "changing", &path).await;
            opened.expect("the status tells the truth");
            scene.all_go_on().await;
            scene.install.no_fight(mark, &scene.quiet);
        }
        assert_eq!(scene.install.switch.refused(), 0);
    });
}

/// A ready replica that the leader cannot ask: named, given up after a minute, rewritten when it is back.
#[test]
fn the_leader_does_not_reach_a_replica() {
    let plane = PLANE.get();
    plane.run(async || {
        let mut scene = Scene::start(&plane, "unreachable").await;
        let (leader, others) = scene.install.leader(&scene.pods).await;
        let lost = others[0].clone();
        let mark = plane.audit().mark();
        let netns = scene.install.node.netns(&leader).expect("it runs");
        let cut = Cut::port(&netns, scene.install.http(&lost).ip(), 9101);
        scene.install.change("changing", "/alone");
        scene
            .install
            .judged(DEADLINE, "changing", |condition| {
                let lags = condition.status == "False" && condition.reason == "Pending";
                lags && condition.message.contains(&lost)
            })
            .await;
        scene.serves(&lost, "/alone").await;
        scene
            .install
            .judged(Duration::from_mins(2), "changing", |condition| {
                let given_up =
                    condition.status == "True" && condition.reason == "ReplicaUnreachable";
                given_up && condition.message.contains(&lost)
            })
            .await;
        let unreachable = scene
            .install
            .metric(&leader, "hawser_peers_unreachable ")
            .await;
        assert_eq!(unreachable, Some(1.0));
        within(DEADLINE, "one event tells it, on the Lease", async || {
            let columns = "custom-columns=REASON:.reason,KIND:.regarding.kind,NOTE:.note";
            let events = [
                "get",
                "events.v1.events.k8s.io",
                "--no-headers",
                "-o",
                columns,
            ];
            let events = scene.install.kubectl(&events).text();
            let mut told = events
                .lines()
                .filter(|line| line.starts_with("ReplicaUnreachable"));
            let first = told.next()?;
            assert!(first.contains("Lease") && first.contains(&lost), "{events}");
            assert!(told.next().is_none(), "{events}");
            Some(())
        })
        .await;
        cut.heal();
        scene.converges_since(Instant::now()).await;
        let unreachable = scene
            .install
            .metric(&leader, "hawser_peers_unreachable ")
            .await;
        assert_eq!(unreachable, Some(0.0));
        scene.all_go_on().await;
        scene.install.handshakes("chat", 12).await;
        scene.install.no_fight(mark, &scene.quiet);
        let what = "conditions: Pending, ReplicaUnreachable, Programmed";
        audit::exactly(3, what, || {
            let mut writes = scene.install.writes(mark);
            writes.retain(|entry| entry.name == "changing" && !entry.uri.contains("hawser-counts"));
            writes
        })
        .await;
        assert_eq!(scene.install.switch.refused(), 0);
    });
}
