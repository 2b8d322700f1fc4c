//! Replicas that ask one another over TCP, each on a loopback address of its own.

use std::{collections::BTreeMap, net::IpAddr, path::Path, sync::Arc, time::Duration};

use http::StatusCode;
use parking_lot::Mutex;
use serde_json::json;
use tokio::{
    net::TcpListener,
    sync::watch,
    time::{Instant, timeout},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::keys::{Signer, claims, jwks};
use crate::{
    admin,
    api::{ObjectKey, conditions::PROGRAMMED},
    ir::{ObjectId, ObjectVersion, RouteKind},
    source::{
        peers::{
            Connections, Reached, Replica, Server, Settings, View,
            client::{self, AskError},
            discovery::Ready,
            message::{CONNECTIONS, SERVED},
            term,
        },
        rebuild::Verdicts,
    },
    telemetry::metrics::Metrics,
    translate::{Condition, Verdict},
};

/// For what takes milliseconds.
const SOON: Duration = Duration::from_secs(30);

/// What all replicas of a test share.
struct World {
    signer: Signer,
    folder: tempfile::TempDir,
    port: u16,
}

/// A replica on its status address.
struct Pod {
    verdicts: Arc<Verdicts>,
    open: Arc<Mutex<hashbrown::HashMap<ObjectId, u64>>>,
    _task: AbortOnDropHandle<()>,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let signer = Signer::elliptic("a");
        let world = Self {
            port: free_port().await,
            signer,
            folder,
        };
        world.token("token", &json!({}));
        world.token("stranger", &json!({"sub": "system:serviceaccount:a:b"}));
        world
    }

    fn token(&self, name: &str, with: &serde_json::Value) {
        let token = self.signer.sign(&claims(with));
        std::fs::write(self.file(name), token).expect("written");
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn settings(&self, token: &str) -> Settings {
        Settings {
            service: Some(("system".to_owned(), "peers".to_owned())),
            pod: "leader".to_owned(),
            port: self.port,
            token_file: self.file(token),
        }
    }

    /// A replica that starts anew.
    async fn pod(&self, number: u8) -> Pod {
        self.on(number, admin::Surface::Status, true).await
    }

    async fn on(&self, number: u8, surface: admin::Surface, peers: bool) -> Pod {
        let verdicts = Arc::new(Verdicts::default());
        let open = Arc::new(Mutex::new(hashbrown::HashMap::new()));
        let connections: Connections = {
            let open = Arc::clone(&open);
            Arc::new(move || open.lock().clone())
        };
        let keys = jwks(&[&self.signer]);
        let fetch = Box::new(move || -> futures_util::future::BoxFuture<'static, _> {
            let keys = keys.clone();
            Box::pin(async move { Ok(keys) })
        });
        let settings = self.settings("token");
        let server = Arc::new(Server::with(
            fetch,
            &settings,
            Arc::clone(&verdicts),
            connections,
        ));
        let service: admin::PeerService = Arc::new(move |request| {
            let server = Arc::clone(&server);
            Box::pin(async move { server.answer(request).await })
        });
        let state = admin::State {
            live: Arc::default(),
            backends: Arc::default(),
            tunnels: Arc::default(),
            metrics: Metrics::new(),
            verdicts: Arc::new(|| json!([])),
            peers: peers.then_some(service),
            draining: Arc::new(|| false),
            orders: None,
        };
        let listener = timeout(SOON, async {
            loop {
                // The listener of a replica that ended may be closing.
                match TcpListener::bind((address(number), self.port)).await {
                    Ok(listener) => return listener,
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        });
        let listener = listener.await.expect("a listener");
        let answering = admin::serve(listener, surface, state, CancellationToken::new());
        Pod {
            verdicts,
            open,
            _task: AbortOnDropHandle::new(tokio::spawn(answering)),
        }
    }

    async fn get(&self, number: u8, target: &str, token: &Path) -> Result<(), AskError> {
        let address = (address(number), self.port).into();
        let answer = client::get::<serde_json::Value>(address, target, token, SOON).await;
        answer.map(drop)
    }
}

/// Free on all loopback addresses that the tests use, as likely as can be.
async fn free_port() -> u16 {
    let any = TcpListener::bind("0.0.0.0:0").await.expect("a port");
    any.local_addr().expect("an address").port()
}

fn address(number: u8) -> IpAddr {
    [127, 0, 40, number].into()
}

impl Pod {
    fn serves(&self, name: &str, uid: &str, generation: i64, status: bool) {
        let object = key(name);
        let verdict = Verdict {
            object: object.clone(),
            version: ObjectVersion {
                uid: uid.into(),
                generation,
            },
            backends: Vec::new(),
            ours: true,
            conditions: vec![Condition {
                type_: PROGRAMMED,
                status,
                reason: "Any",
                message: String::new(),
            }],
            warnings: Vec::new(),
        };
        self.verdicts.apply([(object, Some(Arc::new(verdict)))]);
    }

    fn gone(&self, name: &str) {
        self.verdicts.apply([(key(name), None)]);
    }
}

fn key(name: &str) -> ObjectKey {
    ObjectKey {
        kind: "WebSocketRoute".to_owned(),
        namespace: "shop".to_owned(),
        name: name.to_owned(),
    }
}

/// A leader that asks the replicas of a list.
struct Leader {
    found: watch::Sender<Option<Ready>>,
    view: watch::Receiver<Arc<View>>,
    metrics: Arc<Metrics>,
    _task: AbortOnDropHandle<()>,
}

impl Leader {
    fn new(world: &World, token: &str, pods: &[u8]) -> Self {
        let settings = Arc::new(world.settings(token));
        let (found, replicas) = watch::channel(Some(ready(pods)));
        let (seen, view) = watch::channel(Arc::default());
        let metrics = Metrics::new();
        let task = {
            let metrics = Arc::clone(&metrics);
            tokio::spawn(async move { term::run(settings, replicas, &seen, &metrics).await })
        };
        Self {
            found,
            view,
            metrics,
            _task: AbortOnDropHandle::new(task),
        }
    }

    async fn sees(&mut self, what: &str, wanted: impl Fn(&View) -> bool) -> Arc<View> {
        let view = timeout(SOON, self.view.wait_for(|view| wanted(view))).await;
        if let Ok(Ok(view)) = view {
            return Arc::clone(&view);
        }
        drop(view);
        panic!("{what} is not seen in time: {:?}", self.view.borrow());
    }
}

fn ready(pods: &[u8]) -> Ready {
    let names = pods
        .iter()
        .map(|number| (format!("pod-{number}").into(), vec![address(*number)]));
    names.collect()
}

fn pod(view: &View, number: u8) -> Option<&Replica> {
    let name = format!("pod-{number}");
    view.replicas.iter().find(|replica| *replica.name == *name)
}

/// Whether a replica answers and serves exactly this.
fn serves(view: &View, number: u8, wanted: &[(&str, i64)]) -> bool {
    pod(view, number).is_some_and(|replica| {
        let served: BTreeMap<_, _> = replica
            .served
            .iter()
            .map(|(uid, at)| (&**uid, *at))
            .collect();
        replica.reached == Reached::Yes && served == wanted.iter().copied().collect()
    })
}

#[tokio::test]
async fn changes_reach_the_leader_at_once() {
    let world = World::new().await;
    let (a, b) = (world.pod(2).await, world.pod(3).await);
    a.serves("chat", "u1", 1, true);
    a.serves("files", "u2", 7, true);
    a.serves("broken", "u3", 1, false);
    let id = ObjectId {
        namespace: "shop".into(),
        name: "chat".into(),
        kind: RouteKind::WebSocketRoute,
    };
    a.open.lock().insert(id, 12);
    let mut leader = Leader::new(&world, "token", &[2, 3]);
    let view = leader.sees("everything", |view| view.complete).await;
    assert!(serves(&view, 2, &[("u1", 1), ("u2", 7)]), "{view:?}");
    assert!(serves(&view, 3, &[]), "{view:?}");
    let open = &pod(&view, 2).expect("a").connections;
    assert_eq!(open.get("WebSocketRoute/shop/chat"), Some(&12));

    // Long polls wait for 20 s: these come by them and not by the next one.
    let start = Instant::now();
    b.serves("chat", "u1", 1, true);
    leader.sees("b", |view| serves(view, 3, &[("u1", 1)])).await;
    a.serves("chat", "u1", 2, true);
    let new = [("u1", 2), ("u2", 7)];
    leader
        .sees("a generation", |view| serves(view, 2, &new))
        .await;
    a.serves("files", "u2", 8, false);
    leader
        .sees("a fall", |view| serves(view, 2, &[("u1", 2)]))
        .await;
    a.gone("chat");
    leader.sees("a deletion", |view| serves(view, 2, &[])).await;
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    let text = leader.metrics.encode();
    assert!(text.contains("hawser_peers 2\n"), "{text}");
    assert!(text.contains("hawser_peers_unreachable 0\n"), "{text}");
}

#[tokio::test]
async fn a_replica_that_starts_anew_forgets_nothing_into_the_view() {
    let world = World::new().await;
    let a = world.pod(2).await;
    a.serves("chat", "u1", 1, true);
    a.serves("files", "u2", 1, true);
    let mut leader = Leader::new(&world, "token", &[2]);
    let both = [("u1", 1), ("u2", 1)];
    leader.sees("both", |view| serves(view, 2, &both)).await;
    drop(a);
    let view = leader
        .sees("the loss", |view| {
            view.complete && pod(view, 2).is_some_and(|a| a.reached != Reached::Yes)
        })
        .await;
    let last = &pod(&view, 2).expect("a").served;
    assert_eq!(last.len(), 2, "what it said last stays");
    // The same cursor of another process means something else.
    let a = world.pod(2).await;
    a.serves("files", "u2", 1, true);
    a.serves("other", "u9", 4, true);
    let new = [("u2", 1), ("u9", 4)];
    leader
        .sees("the new one", |view| serves(view, 2, &new))
        .await;
}

#[tokio::test]
async fn who_cannot_be_reached_holds_up_a_new_leader_for_two_seconds_only() {
    let world = World::new().await;
    let a = world.pod(2).await;
    a.serves("chat", "u1", 1, true);
    let start = Instant::now();
    let mut leader = Leader::new(&world, "token", &[2, 4]);
    let view = leader
        .sees("the other", |view| serves(view, 2, &[("u1", 1)]))
        .await;
    assert!(!view.complete || start.elapsed() >= Duration::from_secs(2));
    let view = leader.sees("an end", |view| view.complete).await;
    assert!(
        start.elapsed() >= Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
    assert!(matches!(
        pod(&view, 4).expect("listed").reached,
        Reached::NoSince(_)
    ));

    // A pod that is new stops nobody, and one that goes is gone.
    leader.found.send_replace(Some(ready(&[2, 4, 5])));
    let view = leader
        .sees("a new pod", |view| pod(view, 5).is_some())
        .await;
    assert!(view.complete, "once complete it stays so");
    leader.found.send_replace(Some(ready(&[2])));
    let view = leader.sees("an end", |view| view.replicas.len() == 1).await;
    assert!(view.complete && serves(&view, 2, &[("u1", 1)]), "{view:?}");
}

#[tokio::test]
async fn a_leader_with_another_token_learns_nothing() {
    let world = World::new().await;
    let a = world.pod(2).await;
    a.serves("chat", "u1", 1, true);
    let mut leader = Leader::new(&world, "stranger", &[2]);
    let view = leader.sees("an end", |view| view.complete).await;
    let replica = pod(&view, 2).expect("listed");
    assert!(replica.reached != Reached::Yes && replica.served.is_empty());
    let text = leader.metrics.encode();
    assert!(
        text.contains("hawser_peer_requests_total{result=\"refused\"}"),
        "{text}"
    );
    assert!(text.contains("hawser_peers_unreachable 1\n"), "{text}");
}

#[tokio::test]
async fn the_endpoint_is_on_the_status_address_of_a_replica_with_peers_only() {
    let world = World::new().await;
    let _all = (
        world.pod(2).await,
        world.on(3, admin::Surface::Status, false).await,
        world.on(4, admin::Surface::Admin, true).await,
    );
    let (ours, stranger) = (world.file("token"), world.file("stranger"));
    let status = async |number, target, token: &Path| match world.get(number, target, token).await {
        Ok(()) => StatusCode::OK,
        Err(AskError::Refused(status)) => status,
        Err(error) => panic!("{error}"),
    };
    let now = format!("{SERVED}?wait=0");
    for target in [&*now, CONNECTIONS] {
        assert_eq!(status(2, target, &ours).await, StatusCode::OK);
        assert_eq!(status(2, target, &stranger).await, StatusCode::UNAUTHORIZED);
        assert_eq!(status(3, target, &ours).await, StatusCode::NOT_FOUND);
        assert_eq!(status(4, target, &ours).await, StatusCode::NOT_FOUND);
    }
    for target in ["/peer/v1/served?cursor=x", "/peer/v1/served?wait=-1"] {
        assert_eq!(status(2, target, &ours).await, StatusCode::BAD_REQUEST);
    }
    assert_eq!(
        status(2, "/peer/v1/else", &ours).await,
        StatusCode::NOT_FOUND
    );
    // Who is not known is not told what there is.
    let refused = status(2, "/peer/v1/else", &stranger).await;
    assert_eq!(refused, StatusCode::UNAUTHORIZED);
}
