//! Which replica writes, and who may ask a replica: real processes, a real API server and tokens that it signed.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use bytes::Bytes;
use http::Request;
use http_body_util::Empty;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::kit::{
    client,
    control_plane::{ADDRESS, ControlPlane, Shared},
    eventually,
    hawser::{self, Hawser},
    netns::{self, Netns},
    within,
};

static PLANE: Shared = Shared::api();

/// Until the other replica says that it leads, on a loaded machine; the Lease tells how long it took.
const SEEN: Duration = Duration::from_mins(1);

const AUDIENCE: &str = "hawser.dev/peers";

/// A namespace with two replicas that know one another.
struct Replicas {
    namespace: String,
    a: Hawser,
    b: Hawser,
    addresses: [IpAddr; 2],
    _tokens: tempfile::TempDir,
    _hosts: [Netns; 2],
}

/// What the chart gives, without watches of status and events.
const RULES: &str = r#"
- {apiGroups: [""], resources: [services], verbs: [list, watch]}
- {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list, watch]}
- {apiGroups: [networking.k8s.io], resources: [ingresses, ingressclasses], verbs: [list, watch]}
- {apiGroups: [hawser.dev], resources: [websocketroutes], verbs: [list, watch]}
- {apiGroups: [networking.k8s.io], resources: [ingresses/status], verbs: [patch]}
- {apiGroups: [hawser.dev], resources: [websocketroutes/status], verbs: [patch]}
- {apiGroups: [events.k8s.io], resources: [events], verbs: [create, patch]}
- {apiGroups: [coordination.k8s.io], resources: [leases], verbs: [create, get, update]}
- {nonResourceURLs: [/openid/v1/jwks], verbs: [get]}
"#;

impl Replicas {
    /// Numbers are those of addresses: no two tests may use the same.
    async fn start(plane: &ControlPlane, name: &str, numbers: [u8; 2]) -> Self {
        plane.install_crd();
        let namespace = plane.namespace(name).await;
        let addresses = numbers.map(|number| IpAddr::from([10, 244, 200, number]));
        let hosts = numbers.map(|number| host(plane, number));
        let endpoints = addresses.map(|address| json!({"addresses": [address]}));
        let objects = format!(
            "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\n\
             metadata: {{name: {namespace}}}\nrules:{RULES}---\n\
             apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\n\
             metadata: {{name: {namespace}}}\n\
             roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {namespace}}}\n\
             subjects: [{{kind: ServiceAccount, name: hawser, namespace: {namespace}}}]\n---\n{}",
            json!({
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {
                    "name": "peers",
                    "namespace": namespace,
                    "labels": {"kubernetes.io/service-name": "peers"},
                },
                "addressType": "IPv4",
                "ports": [{"name": "status", "port": 9101}],
                "endpoints": endpoints,
            })
        );
        plane.kubectl(&["apply", "-f", "-"], &objects).text();
        let token = plane.token(&namespace, "hawser", "").await;
        let kubeconfig = plane.kubeconfig_with(&plane.url(), &namespace, &token);
        let tokens = tempfile::tempdir().expect("a folder");
        let file = tokens.path().join("token");
        let peer = plane.token(&namespace, "hawser", AUDIENCE).await;
        std::fs::write(&file, peer).expect("written");

        let (service, lease) = (format!("{namespace}/peers"), format!("{namespace}/hawser"));
        let file = file.to_str().expect("a path in UTF-8");
        let flags = [
            "--peer-service",
            &service,
            "--peer-token-file",
            file,
            "--lease",
            &lease,
        ];
        let start = async |number: usize, name| {
            hawser::inside(&hosts[number], addresses[number], name, &kubeconfig, &flags).await
        };
        let (a, b) = (start(0, "replica-a").await, start(1, "replica-b").await);
        a.ready().await;
        b.ready().await;
        Self {
            namespace,
            a,
            b,
            addresses,
            _tokens: tokens,
            _hosts: hosts,
        }
    }

    fn lease(&self, plane: &ControlPlane) -> Value {
        let get = [
            "get",
            "lease",
            "hawser",
            "-n",
            &self.namespace,
            "-o",
            "json",
        ];
        let ran = plane.kubectl(&get, "");
        let lease: Value = serde_json::from_str(&ran.text()).expect("JSON");
        lease["spec"].clone()
    }

    /// How long after `told` the Lease was taken, by the Lease: how quick this test looks does not matter.
    fn taken_after(&self, plane: &ControlPlane, told: Timestamp) -> SignedDuration {
        let lease = self.lease(plane);
        let taken = lease["acquireTime"].as_str().and_then(|at| at.parse().ok());
        let taken: Timestamp = taken.expect("a time");
        let after = taken.duration_since(told);
        assert!(after >= SignedDuration::ZERO, "it was taken before");
        after
    }

    /// The one that leads, and the other.
    async fn leader(&mut self) -> (&mut Hawser, &Hawser) {
        let first = eventually("one of the two leads", async || {
            match (leads(&self.a).await, leads(&self.b).await) {
                (true, false) => Some(true),
                (false, true) => Some(false),
                (false, false) => None,
                (true, true) => panic!("both lead"),
            }
        })
        .await;
        if first {
            (&mut self.a, &self.b)
        } else {
            (&mut self.b, &self.a)
        }
    }
}

async fn leads(hawser: &Hawser) -> bool {
    hawser.metric("hawser_leader ").await == Some(1.0)
}

/// A host on the network of the control plane.
fn host(plane: &ControlPlane, number: u8) -> Netns {
    let host = Netns::new("replica");
    let plane = plane.netns().name();
    let link = format!("replica{number}");
    netns::ip(&format!(
        "-n {plane} link add {link} type veth peer name eth0 netns {}",
        host.name()
    ));
    netns::ip(&format!("-n {plane} link set {link} master br0 up"));
    host.ip(&format!("addr add 10.244.200.{number}/16 dev eth0"));
    host.ip("link set eth0 up");
    host.ip(&format!("route add default via {ADDRESS}"));
    host
}

#[test]
fn one_leads_and_another_follows_a_kill_and_an_end() {
    let plane = PLANE.get();
    plane.run(async || {
        let mut replicas = Replicas::start(&plane, "leadership", [1, 2]).await;
        let (leader, other) = replicas.leader().await;
        eventually("the leader knows its peer", async || {
            let known = leader.metric("hawser_peers ").await == Some(1.0);
            let lost = leader.metric("hawser_peers_unreachable ").await;
            (known && lost == Some(0.0)).then_some(())
        })
        .await;
        assert!(!leads(other).await);

        let killed = Timestamp::now();
        leader.signal("KILL");
        leader.ended().await;
        within(SEEN, "the other leads", async || {
            leads(other).await.then_some(())
        })
        .await;
        let took = replicas.taken_after(&plane, killed);
        println!("follows a kill after {took:?}");
        assert!(took <= SignedDuration::from_secs(20), "{took:?}");
        let lease = replicas.lease(&plane);
        assert_eq!(lease["leaseDurationSeconds"], 15, "{lease}");
        assert_eq!(lease["leaseTransitions"], 1, "{lease}");
        let holder = lease["holderIdentity"].as_str().expect("a holder");
        assert!(holder.starts_with("replica-"), "{lease}");
        for time in ["acquireTime", "renewTime"] {
            assert!(lease[time].is_string(), "{lease}");
        }

        let last = [&mut replicas.a, &mut replicas.b];
        for hawser in last {
            // The one that was killed is gone already.
            if hawser.is_ready().await {
                hawser.signal("TERM");
                assert!(hawser.ended().await.success());
            }
        }
        let lease = replicas.lease(&plane);
        assert!(
            lease["holderIdentity"]
                .as_str()
                .unwrap_or_default()
                .is_empty(),
            "{lease}"
        );
    });
}

#[test]
fn a_leader_that_ends_is_followed_at_once() {
    let plane = PLANE.get();
    plane.run(async || {
        let mut replicas = Replicas::start(&plane, "succession", [3, 4]).await;
        let (leader, other) = replicas.leader().await;
        let told = Timestamp::now();
        leader.signal("TERM");
        within(SEEN, "the other leads", async || {
            leads(other).await.then_some(())
        })
        .await;
        assert!(leader.ended().await.success());
        let took = replicas.taken_after(&plane, told);
        println!("follows an end after {took:?}");
        // 2 s on a machine that has time; without the release it would be 13 s at least.
        assert!(took <= SignedDuration::from_secs(5), "{took:?}");
    });
}

#[test]
fn a_leader_that_stood_still_leads_no_longer() {
    let plane = PLANE.get();
    plane.run(async || {
        let mut replicas = Replicas::start(&plane, "standstill", [7, 8]).await;
        let (leader, other) = replicas.leader().await;
        leader.signal("STOP");
        within(SEEN, "the other leads", async || {
            leads(other).await.then_some(())
        })
        .await;
        leader.signal("CONT");
        eventually("the one that stood still knows it", async || {
            (!leads(leader).await).then_some(())
        })
        .await;
        assert!(leads(other).await);
        let lease = replicas.lease(&plane);
        assert_eq!(lease["leaseTransitions"], 1, "{lease}");
    });
}

#[test]
fn only_a_token_of_ours_for_peers_is_let_in() {
    let plane = PLANE.get();
    plane.run(async || {
        let replicas = Replicas::start(&plane, "tokens", [5, 6]).await;
        let address = SocketAddr::new(replicas.addresses[0], 9101);
        let ask = async |token: Option<&str>, path: &str| {
            let mut request = Request::get(path).header("host", "peer");
            if let Some(token) = token {
                request = request.header("authorization", format!("Bearer {token}"));
            }
            let request = request.body(Empty::<Bytes>::new()).expect("a request");
            client::send(address, request).await.expect("an answer")
        };
        let create = ["create", "token", "hawser", "--audience", AUDIENCE, "-n"];
        let create = [&create[..], &[&replicas.namespace]].concat();
        let ours = plane.kubectl(&create, "").text();
        let namespace = &replicas.namespace;
        let default_audience = plane.token(namespace, "hawser", "").await;
        let another_account = plane.token(namespace, "other", AUDIENCE).await;
        let another_namespace = plane.token("default", "hawser", AUDIENCE).await;
        for path in ["/peer/v1/served?wait=0", "/peer/v1/connections"] {
            let answer = ask(Some(ours.trim()), path).await;
            assert_eq!(answer.status, 200, "{path}: {}", answer.text());
            assert!(serde_json::from_slice::<Value>(&answer.body).is_ok());
            for token in [&default_audience, &another_account, &another_namespace] {
                let answer = ask(Some(token), path).await;
                assert_eq!((answer.status, &*answer.text()), (401, ""), "{path}");
            }
            assert_eq!(ask(None, path).await.status, 401, "{path}");
        }
        let admin = client::get(replicas.a.admin, "localhost", "/peer/v1/connections").await;
        assert_eq!(admin.expect("an answer").status, 404);
    });
}
