//! What goes wrong with a control plane and its network.

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{client, control_plane::ControlPlane, netns::Netns};

impl ControlPlane {
    /// The API server stops answering; its connections stay open.
    pub fn pause_api(&self) {
        self.signal_api(Signal::STOP);
    }

    /// It goes on.
    pub fn resume_api(&self) {
        self.signal_api(Signal::CONT);
    }

    fn signal_api(&self, signal: Signal) {
        let api = self.api.lock();
        api.as_ref().expect("the API server runs").signal(signal);
    }

    /// The API server is gone at once; connections are refused from now on.
    pub fn kill_api(&self) {
        self.api.lock().take().expect("the API server runs").kill();
    }

    /// Starts it again at the same address on the same data, and waits until it is ready. Inside only.
    pub async fn restart_api(&self) {
        *self.api.lock() = None;
        self.start_api();
        self.serving().await;
    }

    /// New tokens are signed with another key from now on; those of older keys stay valid. Inside only.
    pub async fn rotate_service_account_key(&self) {
        self.new_service_account_key();
        self.restart_api().await;
    }

    /// Its certificate is of another authority from now on, which [`Self::ca`] gives. Inside only.
    pub async fn rotate_authority(&self) {
        self.new_authority();
        self.restart_api().await;
    }

    /// etcd forgets everything but the newest version of each object. Inside only.
    ///
    /// The API server still answers from its watch cache; see [`Self::forget_history`].
    pub async fn compact(&self) {
        let range = json!({"key": STANDARD.encode(b"\0")});
        let answer = etcd("/v3/kv/range", &range).await;
        let revision = &answer["header"]["revision"];
        let order = json!({"revision": revision, "physical": true});
        etcd("/v3/kv/compaction", &order).await;
    }

    /// No watch can go on from before this moment: it gets 410. Inside only.
    pub async fn forget_history(&self) {
        self.compact().await;
        self.restart_api().await;
    }

    /// The data as it is now: both programs are stopped, it is copied, they go on. Inside only.
    pub async fn snapshot(&self) -> Snapshot {
        let snapshot = Snapshot(self.folder().join("etcd.snapshot"));
        self.with_etcd_down(|data| copy(data, &snapshot.0)).await;
        snapshot
    }

    /// The data is what it was; as an operator's guide asks, API server and etcd are started anew. Resource
    /// versions go back, too. Inside only.
    pub async fn restore(&self, snapshot: &Snapshot) {
        self.with_etcd_down(|data| copy(&snapshot.0, data)).await;
    }

    async fn with_etcd_down(&self, work: impl FnOnce(&Path)) {
        *self.api.lock() = None;
        *self.etcd.lock() = None;
        work(&self.etcd_data());
        self.start_etcd();
        self.start_api();
        self.serving().await;
    }
}

/// etcd's data at one moment.
pub struct Snapshot(PathBuf);

fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    for entry in walkdir::WalkDir::new(from) {
        let entry = entry.expect("a readable folder");
        let target = to.join(entry.path().strip_prefix(from).expect("below it"));
        if entry.file_type().is_dir() {
            fs::create_dir_all(target).expect("a folder");
        } else {
            fs::copy(entry.path(), target).expect("copied");
        }
    }
}

/// Asks etcd through its JSON gateway.
async fn etcd(path: &str, order: &Value) -> Value {
    let request = Request::post(path)
        .header("host", "127.0.0.1:2379")
        .body(Full::new(Bytes::from(order.to_string())))
        .expect("a valid request");
    let address = "127.0.0.1:2379".parse().expect("an address");
    let answer = client::send(address, request).await.expect("etcd answers");
    assert_eq!(answer.status, 200, "{}", answer.text());
    serde_json::from_slice(&answer.body).expect("JSON")
}

static CUTS: AtomicU32 = AtomicU32::new(0);

/// Packets that are dropped without a word, until it is healed or dropped.
pub struct Cut {
    netns: String,
    table: String,
}

impl Cut {
    /// Nothing passes between a namespace and an address, in both directions.
    pub fn host(netns: &Netns, address: IpAddr) -> Self {
        let ip = family(address);
        Self::new(
            netns,
            &format!("{ip} saddr {address}"),
            &format!("{ip} daddr {address}"),
        )
    }

    /// The same for one TCP port of the address only.
    pub fn port(netns: &Netns, address: IpAddr, port: u16) -> Self {
        let ip = family(address);
        Self::new(
            netns,
            &format!("{ip} saddr {address} tcp sport {port}"),
            &format!("{ip} daddr {address} tcp dport {port}"),
        )
    }

    /// Nothing of what others send to a TCP port inside arrives, and no answer leaves.
    pub fn server(netns: &Netns, port: u16) -> Self {
        Self::new(
            netns,
            &format!("tcp dport {port}"),
            &format!("tcp sport {port}"),
        )
    }

    /// Nobody inside gets an answer from a name server.
    pub fn dns(netns: &Netns) -> Self {
        Self::new(netns, "th sport 53", "th dport 53")
    }

    fn new(netns: &Netns, incoming: &str, outgoing: &str) -> Self {
        let number = CUTS.fetch_add(1, Ordering::Relaxed);
        let cut = Self {
            netns: netns.name().to_owned(),
            table: format!("cut{number}"),
        };
        let table = &cut.table;
        cut.nft(&format!(
            "table inet {table} {{ \
             chain in {{ type filter hook input priority 0; {incoming} drop; }}; \
             chain out {{ type filter hook output priority 0; {outgoing} drop; }}; }}"
        ))
        .expect("the packets are dropped");
        cut
    }

    fn nft(&self, rules: &str) -> Result<(), String> {
        let ran = Command::new("ip")
            .args(["netns", "exec", &self.netns, "nft", rules])
            .stdin(Stdio::null())
            .output()
            .map_err(|error| error.to_string())?;
        if ran.status.success() {
            return Ok(());
        }
        let why = String::from_utf8_lossy(&ran.stderr);
        Err(format!(
            "nft (Debian: apt-get install nftables) {rules}: {why}"
        ))
    }

    /// Packets pass again.
    pub fn heal(self) {
        drop(self);
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        // The namespace may be gone already.
        let _ = self.nft(&format!("delete table inet {}", self.table));
    }
}

fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "ip" } else { "ip6" }
}
