//! A Kubernetes control plane of its own: etcd, kube-apiserver and, where asked for, kube-controller-manager, the
//! real programs, in a network namespace of their own.
//!
//! ```ignore
//! static PLANE: Shared = Shared::full();
//!
//! #[test]
//! fn something() {
//!     let plane = PLANE.get();
//!     plane.run(async || {
//!         let namespace = plane.namespace("something").await;
//!         plane.kubectl(&["apply", "-n", &namespace, "-f", "-"], MANIFEST).text();
//!     });
//! }
//! ```
//! A test that breaks the control plane takes one of its own, by [`ControlPlane::api`] or [`ControlPlane::full`].

mod certificates;
mod shared;

use std::{
    env, fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant, SystemTime},
};

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    core::v1::{Namespace, ServiceAccount},
};
use kube::{
    Api, Client, Config,
    api::PostParams,
    config::{KubeConfigOptions, Kubeconfig},
};
use parking_lot::Mutex;
use rcgen::{KeyPair, PKCS_RSA_SHA256};
use serde_json::json;

use super::{DEADLINE, eventually, janitor::Folder, netns::Netns, process::Process, within};
use certificates::{Authority, Credential};
pub use shared::{Handle, Shared};

/// Address of the API server, and of the bridge that pods are plugged into.
pub const ADDRESS: &str = "10.244.0.1";
/// Port of the API server.
pub const PORT: u16 = 6443;
/// Issuer of service account tokens.
pub const ISSUER: &str = "https://kubernetes.default.svc";

/// Cold caches and other tests beside it; it takes some seconds.
const START: Duration = Duration::from_secs(90);

/// A running control plane. Ends when it is dropped, and with the test binary.
pub struct ControlPlane {
    // Fields are dropped in this order: programs, then what they stand on.
    manager: Mutex<Option<Process>>,
    pub(super) api: Mutex<Option<Process>>,
    pub(super) etcd: Mutex<Option<Process>>,
    netns: Netns,
    folder: Folder,
    pub(super) authority: Mutex<Authority>,
    programs: PathBuf,
    admin: PathBuf,
    started: Duration,
    count: AtomicU32,
    /// Which service account keys the API server uses; the last one signs.
    pub(super) keys: Mutex<Vec<PathBuf>>,
    /// Held by the test that applies something for all.
    sharing: Mutex<()>,
}

/// What a program said.
#[derive(Debug)]
pub struct Ran {
    /// Whether its exit code was 0.
    pub success: bool,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Ran {
    /// The output of a success; panics with both outputs otherwise.
    pub fn text(self) -> String {
        assert!(self.success, "{}\n{}", self.stderr, self.stdout);
        self.stdout
    }

    /// The error output of a failure; panics otherwise.
    pub fn failure(self) -> String {
        assert!(!self.success, "this should have failed: {}", self.stdout);
        self.stderr
    }
}

impl ControlPlane {
    /// etcd and kube-apiserver: enough for objects, watches and rights. Nothing fills EndpointSlices, makes
    /// ServiceAccounts or finishes the deletion of namespaces.
    pub fn api() -> Self {
        Self::start(false)
    }

    /// With kube-controller-manager, ready once the `default` ServiceAccount exists.
    pub fn full() -> Self {
        Self::start(true)
    }

    fn start(with_manager: bool) -> Self {
        let start = Instant::now();
        let programs = programs();
        let netns = Netns::new("cp");
        // An address of its own: otherwise it takes the lowest of its ports, and whoever had talked to it before a port
        // came or went talks into the void until ARP asks again, half a minute in the end.
        netns.ip("link add br0 address 02:00:0a:f4:00:01 type bridge");
        netns.ip(&format!("addr add {ADDRESS}/16 dev br0"));
        netns.ip("link set br0 up");
        let folder = Folder::new("control-plane");
        let mut plane = Self {
            sharing: Mutex::new(()),
            manager: Mutex::new(None),
            api: Mutex::new(None),
            etcd: Mutex::new(None),
            netns,
            admin: folder.path().join("admin.conf"),
            folder,
            authority: Mutex::new(Authority::new()),
            programs,
            started: Duration::ZERO,
            count: AtomicU32::new(0),
            keys: Mutex::default(),
        };
        plane.write_files();
        plane.start_etcd();
        plane.start_api();
        // Beside the API server it is ready a second earlier.
        if with_manager {
            plane.start_manager();
        }
        plane.run(async || {
            plane.serving().await;
            if with_manager {
                plane.manager_works().await;
            }
        });
        plane.started = start.elapsed();
        plane
    }

    fn write_files(&self) {
        self.write("ca.crt", &self.ca());
        self.write_server();
        self.write(
            "audit.yaml",
            "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\n\
             rules: [{level: Metadata}]\n",
        );
        self.new_service_account_key();
        self.kubeconfig("admin", &["system:masters"]);
        self.kubeconfig("system:kube-controller-manager", &[]);
    }

    fn write_server(&self) {
        let names = [ADDRESS, "127.0.0.1", "10.0.0.1", "kubernetes.default.svc"];
        let server = self.authority.lock().server(&names);
        self.write("server.crt", &server.certificate);
        self.write("server.key", &server.key);
    }

    /// The API server has a certificate of a new authority from its next start. Clients of the old one are still
    /// believed.
    pub(super) fn new_authority(&self) {
        let old = self.ca();
        *self.authority.lock() = Authority::new();
        self.write("ca.crt", &(old + &self.ca()));
        self.write_server();
        self.kubeconfig("admin", &["system:masters"]);
    }

    /// Makes a key that the API server signs with from its next start; its older keys stay valid.
    pub(super) fn new_service_account_key(&self) {
        let key = KeyPair::generate_for(&PKCS_RSA_SHA256).expect("a key");
        let mut keys = self.keys.lock();
        let number = keys.len();
        let path = self.write(&format!("sa-{number}.key"), &key.serialize_pem());
        self.write(&format!("sa-{number}.pub"), &key.public_key_pem());
        keys.push(path);
    }

    pub(super) fn start_etcd(&self) {
        let mut command = self.command("etcd");
        command.arg("--data-dir").arg(self.etcd_data()).args([
            "--listen-client-urls=http://127.0.0.1:2379",
            "--advertise-client-urls=http://127.0.0.1:2379",
            "--listen-peer-urls=http://127.0.0.1:2380",
            "--initial-advertise-peer-urls=http://127.0.0.1:2380",
            "--initial-cluster=default=http://127.0.0.1:2380",
            // Data of a test need not survive the machine.
            "--unsafe-no-fsync",
        ]);
        *self.etcd.lock() = Some(self.process("etcd", command));
    }

    pub(super) fn etcd_data(&self) -> PathBuf {
        self.folder.path().join("etcd")
    }

    pub(super) fn start_api(&self) {
        let mut command = self.command("kube-apiserver");
        command
            .current_dir(self.folder.path())
            .args([
                "--etcd-servers=http://127.0.0.1:2379",
                "--bind-address=0.0.0.0",
                "--tls-cert-file=server.crt",
                "--tls-private-key-file=server.key",
                "--client-ca-file=ca.crt",
                "--authorization-mode=RBAC",
                "--anonymous-auth=false",
                "--service-cluster-ip-range=10.0.0.0/24",
                "--allow-privileged=true",
                // The API server writes no endpoints of its own: nobody here uses them.
                "--endpoint-reconciler-type=none",
                "--profiling=false",
                "--v=1",
                "--audit-policy-file=audit.yaml",
                "--audit-log-path=audit.log",
                // In megabytes: no rotation below a reader.
                "--audit-log-maxsize=10000",
            ])
            .arg(format!("--secure-port={PORT}"))
            .arg(format!("--advertise-address={ADDRESS}"))
            .arg(format!("--service-account-issuer={ISSUER}"));
        let keys = self.keys.lock();
        for key in keys.iter() {
            let public = key.with_extension("pub");
            command.arg(format!("--service-account-key-file={}", public.display()));
        }
        let signing = keys.last().expect("a key");
        command.arg(format!(
            "--service-account-signing-key-file={}",
            signing.display()
        ));
        *self.api.lock() = Some(self.process("kube-apiserver", command));
    }

    fn start_manager(&self) {
        let mut command = self.command("kube-controller-manager");
        command
            .arg("--kubeconfig")
            .arg(self.kubeconfig_path("system:kube-controller-manager"))
            .arg("--service-account-private-key-file")
            .arg(self.folder.path().join("sa-0.key"))
            .arg("--root-ca-file")
            .arg(self.folder.path().join("ca.crt"))
            .args([
                "--leader-elect=false",
                "--use-service-account-credentials=true",
                "--bind-address=127.0.0.1",
                // The defaults are for a big cluster's peace; here they cost three seconds of the start.
                "--kube-api-qps=1000",
                "--kube-api-burst=1000",
            ]);
        *self.manager.lock() = Some(self.process("kube-controller-manager", command));
    }

    fn process(&self, name: &str, command: Command) -> Process {
        let log = self.folder.path().join(format!("{name}.log"));
        Process::start(name, command, &log)
    }

    /// Waits until the API server says it is ready. Inside only.
    pub(super) async fn serving(&self) {
        let client = self.client().await;
        within(START, "the API server is ready", async || {
            if let Some(status) = self.api.lock().as_mut().and_then(Process::ended) {
                panic!("the API server ended with {status}: {}", self.log_ends());
            }
            let request = http::Request::get("/readyz").body(Vec::new()).ok()?;
            let asked = client.request_text(request);
            let answer = tokio::time::timeout(Duration::from_secs(2), asked).await;
            (answer.ok()?.ok()? == "ok").then_some(())
        })
        .await;
    }

    async fn manager_works(&self) {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client().await, "default");
        within(START, "there is a default ServiceAccount", async || {
            let ended = self.manager.lock().as_mut().and_then(Process::ended);
            if ended.is_some() {
                // It waits 10 s for an API server; on a busy machine that is too short.
                self.start_manager();
            }
            accounts.get("default").await.ok()
        })
        .await;
    }

    fn log_ends(&self) -> String {
        let mut ends = Vec::new();
        for name in ["etcd", "kube-apiserver", "kube-controller-manager"] {
            let log = self.folder.path().join(format!("{name}.log"));
            let text = fs::read_to_string(log).unwrap_or_default();
            let lines: Vec<&str> = text.lines().rev().take(5).collect();
            for line in lines.iter().rev() {
                ends.push(format!("{name}: {line}"));
            }
        }
        ends.join("\n")
    }

    /// How long it took to be ready.
    pub fn started_in(&self) -> Duration {
        self.started
    }

    /// Process id of etcd.
    pub fn etcd_id(&self) -> u32 {
        self.etcd.lock().as_ref().expect("etcd runs").id()
    }

    /// The network namespace it runs in.
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// Where its files are: logs, certificates, kubeconfigs. Gone afterwards, kept when a test panics.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Keeps the logs and says where they are.
    pub fn keep_logs(&self) {
        self.folder.keep();
    }

    /// Runs a future inside the network namespace.
    pub fn run<T: Send>(&self, work: impl AsyncFnOnce() -> T + Send) -> T {
        self.netns.run(work)
    }

    /// A program of the control plane that runs inside.
    fn command(&self, program: &str) -> Command {
        let path = self.programs.join(program);
        self.netns.command(path.to_str().expect("a path in UTF-8"))
    }

    /// The base URL of the API server.
    #[allow(
        clippy::unused_self,
        reason = "like the URL of a proxy in front of it, which has one of its own"
    )]
    pub fn url(&self) -> String {
        format!("https://{ADDRESS}:{PORT}")
    }

    /// The certificate of its authority, PEM.
    pub fn ca(&self) -> String {
        self.authority.lock().pem()
    }

    /// A client with all rights. Inside only.
    pub async fn client(&self) -> Client {
        self.client_of(&self.admin).await
    }

    /// A client with this kubeconfig. Inside only.
    pub async fn client_of(&self, kubeconfig: &Path) -> Client {
        Client::try_from(self.config_of(kubeconfig).await).expect("a client")
    }

    /// The configuration of a client with this kubeconfig, to change timeouts in it.
    pub async fn config_of(&self, kubeconfig: &Path) -> Config {
        let kubeconfig = Kubeconfig::read_from(kubeconfig).expect("a kubeconfig of ours");
        Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .expect("a usable kubeconfig")
    }

    /// The kubeconfig with all rights.
    pub fn admin(&self) -> &Path {
        &self.admin
    }

    fn kubeconfig_path(&self, user: &str) -> PathBuf {
        let name = user.replace(['/', ':'], "-");
        self.folder.path().join(format!("{name}.conf"))
    }

    /// A kubeconfig of any user, by certificate; at most two groups.
    pub fn kubeconfig(&self, user: &str, groups: &[&str]) -> PathBuf {
        self.kubeconfig_at(&self.url(), user, groups)
    }

    /// The same for another address, such as a fault proxy's.
    pub fn kubeconfig_at(&self, url: &str, user: &str, groups: &[&str]) -> PathBuf {
        let identity = self.authority.lock().client(user, groups);
        let credential = Credential::Certificate(&identity);
        let path = self.kubeconfig_path(user);
        let text = certificates::kubeconfig(url, &self.ca(), &credential);
        fs::write(&path, text).expect("the kubeconfig is written");
        path
    }

    /// A kubeconfig with a token, for this address.
    pub fn kubeconfig_with(&self, url: &str, name: &str, token: &str) -> PathBuf {
        let text = certificates::kubeconfig(url, &self.ca(), &Credential::Token(token));
        self.write(&format!("{name}.token.conf"), &text)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, text).expect("the file is written");
        path
    }

    /// Runs kubectl with all rights.
    pub fn kubectl(&self, args: &[&str], stdin: &str) -> Ran {
        self.tool("kubectl", &self.admin, args, stdin)
    }

    /// Runs kubectl with another kubeconfig.
    pub fn kubectl_as(&self, kubeconfig: &Path, args: &[&str], stdin: &str) -> Ran {
        self.tool("kubectl", kubeconfig, args, stdin)
    }

    /// Runs helm with all rights.
    pub fn helm(&self, args: &[&str]) -> Ran {
        self.tool("helm", &self.admin, args, "")
    }

    fn tool(&self, program: &str, kubeconfig: &Path, args: &[&str], stdin: &str) -> Ran {
        let mut command = self.command(program);
        let mut child = command
            .args(args)
            // Caches and plugins of the person who runs the tests stay out.
            .env("HOME", self.folder.path())
            .env("KUBECONFIG", kubeconfig)
            .env_remove("XDG_CACHE_HOME")
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("XDG_DATA_HOME")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut pipe = child.stdin.take().expect("a pipe");
        let text = stdin.to_owned();
        // Beside the reading of its output, so that neither waits for the other; it may end without reading.
        let writer = std::thread::spawn(move || {
            let _ = pipe.write_all(text.as_bytes());
        });
        let output = child.wait_with_output().expect("a child of ours");
        writer.join().expect("the writer does not panic");
        Ran {
            success: output.status.success(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Makes a namespace for one test: `prefix` and a number that no other test of this control plane gets.
    pub async fn namespace(&self, prefix: &str) -> String {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let name = format!("{prefix}-{number}");
        let client = self.client().await;
        let mut namespace = Namespace::default();
        namespace.metadata.name = Some(name.clone());
        let namespaces: Api<Namespace> = Api::all(client.clone());
        namespaces
            .create(&PostParams::default(), &namespace)
            .await
            .expect("the namespace is made");
        let has_manager = self.manager.lock().is_some();
        if has_manager {
            // Pods are refused before.
            let accounts: Api<ServiceAccount> = Api::namespaced(client, &name);
            eventually("the namespace has its ServiceAccount", async || {
                accounts.get("default").await.ok()
            })
            .await;
        }
        name
    }

    /// Installs the WebSocketRoute CRD and waits until it is served.
    pub fn install_crd(&self) {
        let crd = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds/websocketroutes.yaml");
        let crd = crd.to_str().expect("a path in UTF-8");
        let apply = ["apply", "--server-side", "--force-conflicts", "-f", crd];
        let _alone = self.sharing.lock();
        self.kubectl(&apply, "").text();
        self.established("websocketroutes.hawser.dev");
    }

    /// Applies what the tests of a control plane share, for one of them at a time: who looks first and then creates
    /// may be too late.
    pub fn share(&self, manifest: &str) {
        let _alone = self.sharing.lock();
        let apply = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
        self.kubectl(&apply, manifest).text();
    }

    /// Waits until a CRD is served. `kubectl wait` fails at once while there are no conditions yet
    /// (kubernetes/kubernetes#66439).
    pub fn established(&self, name: &str) {
        let status = r#"jsonpath={.status.conditions[?(@.type=="Established")].status}"#;
        let start = Instant::now();
        loop {
            // A failure, too, as long as there are no conditions to look through.
            let said = self.kubectl(&["get", "crd", name, "-o", status], "");
            if said.success && said.stdout == "True" {
                return;
            }
            let waited = start.elapsed();
            assert!(waited < DEADLINE, "{name} is not served: {said:?}");
        }
    }

    /// A token of a ServiceAccount, which is made if it does not exist; an empty audience is the API server's own.
    pub async fn token(&self, namespace: &str, account: &str, audience: &str) -> String {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client().await, namespace);
        let mut object = ServiceAccount::default();
        object.metadata.name = Some(account.to_owned());
        match accounts.create(&PostParams::default(), &object).await {
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            made => {
                made.expect("the ServiceAccount is made");
            }
        }
        let audience = if audience.is_empty() {
            ISSUER
        } else {
            audience
        };
        let request = TokenRequest {
            spec: TokenRequestSpec {
                audiences: vec![audience.to_owned()],
                ..TokenRequestSpec::default()
            },
            ..TokenRequest::default()
        };
        let made = accounts
            .create_token_request(account, &PostParams::default(), &request)
            .await
            .expect("the token is made");
        made.status.expect("a token").token
    }

    /// A token of a ServiceAccount that exists, signed here, so that it may end sooner than after ten minutes. The API
    /// server believes it for a minute longer.
    pub async fn token_until(&self, namespace: &str, account: &str, expires: SystemTime) -> String {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client().await, namespace);
        let object = accounts.get(account).await.expect("the ServiceAccount");
        let seconds = |time: SystemTime| {
            let since = time.duration_since(SystemTime::UNIX_EPOCH);
            since.expect("after 1970").as_secs()
        };
        let began = seconds(expires - Duration::from_hours(1));
        let claims = json!({
            "iss": ISSUER, "aud": [ISSUER], "sub": format!("system:serviceaccount:{namespace}:{account}"),
            "iat": began, "nbf": began, "exp": seconds(expires),
            "kubernetes.io": {
                "namespace": namespace,
                "serviceaccount": {"name": account, "uid": object.metadata.uid},
            },
        });
        let pem = fs::read_to_string(self.folder.path().join("sa-0.key")).expect("the key");
        let pair = KeyPair::from_pem(&pem).expect("a key");
        // PKCS#8 is PKCS#1 behind 26 bytes, for every key of 2048 bits.
        let key = EncodingKey::from_rsa_der(pair.serialized_der().get(26..).expect("a key"));
        encode(&Header::new(Algorithm::RS256), &claims, &key).expect("a token")
    }
}

/// The folder with etcd, kube-apiserver, kube-controller-manager, kubectl and helm.
pub fn programs() -> PathBuf {
    if let Some(folder) = env::var_os("HAWSER_CONTROL_PLANE") {
        return folder.into();
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/control-plane");
    let ran = Command::new(script)
        .arg("--print")
        .output()
        .expect("scripts/control-plane runs");
    assert!(
        ran.status.success(),
        "{}",
        String::from_utf8_lossy(&ran.stderr)
    );
    String::from_utf8_lossy(&ran.stdout).trim().into()
}
