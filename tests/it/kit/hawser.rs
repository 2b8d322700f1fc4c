//! A Hawser process on a directory of manifests or on a cluster.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::fd::AsFd,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    task::JoinHandle,
};

use super::{client, eventually, netns::Netns};

/// A running Hawser. Ends with the test.
pub struct Hawser {
    /// Traffic address.
    pub http: SocketAddr,
    /// Admin address.
    pub admin: SocketAddr,
    dir: Option<tempfile::TempDir>,
    child: Child,
    log: Arc<Mutex<Vec<Value>>>,
    /// Ends with the log.
    reader: JoinHandle<()>,
}

/// A process that serves `yaml`, ready to take requests.
pub async fn with(yaml: &str) -> Hawser {
    with_flags(yaml, &[]).await
}

/// The same with further flags.
pub async fn with_flags(yaml: &str, flags: &[&str]) -> Hawser {
    let command = unprivileged(Command::new(PROGRAM));
    start(command, Ipv4Addr::LOCALHOST.into(), folder(yaml), flags).await
}

/// The same on this address of the network namespace of the caller.
pub async fn at(address: IpAddr, yaml: &str) -> Hawser {
    start(Command::new(PROGRAM), address, folder(yaml), &[]).await
}

/// The same with a library that takes calls of the system's library over, and a variable for it.
pub async fn preloaded(yaml: &str, library: &Path, variable: (&str, &Path)) -> Hawser {
    let mut command = Command::new(PROGRAM);
    command
        .env("LD_PRELOAD", library)
        .env(variable.0, variable.1);
    start(command, Ipv4Addr::LOCALHOST.into(), folder(yaml), &[]).await
}

fn folder(yaml: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(dir.path().join("main.yaml"), yaml).expect("the manifest is written");
    dir
}

async fn start(
    mut command: Command,
    address: IpAddr,
    dir: tempfile::TempDir,
    flags: &[&str],
) -> Hawser {
    command.arg("run").arg("--manifests").arg(dir.path());
    let hawser = launch(command, address, flags, Some(dir)).await;
    hawser.ready().await;
    hawser
}

/// A process that serves this directory on sockets that are handed to it as descriptors 3 and 4, as systemd does. It
/// need not be ready yet.
pub async fn handed(
    sockets: [&std::net::TcpListener; 2],
    manifests: &Path,
    flags: &[&str],
) -> Hawser {
    let mut command = handing(sockets, "export LISTEN_FDS=2 LISTEN_PID=$$");
    command.arg(PROGRAM);
    command.arg("run").arg("--manifests").arg(manifests);
    for socket in sockets {
        let address = socket.local_addr().expect("an address").to_string();
        command.args(["--http", &address]);
    }
    spawn(command, Ipv4Addr::LOCALHOST.into(), flags, None).await
}

/// A command that gets sockets as descriptors 3 and 4 and what `export` says in its environment. Its program and
/// arguments are still to be added.
pub fn handing(sockets: [&std::net::TcpListener; 2], export: &str) -> Command {
    let [third, fourth] = sockets.map(|socket| socket.as_fd().try_clone_to_owned());
    let mut command = Command::new("sh");
    // A shell keeps its process id when it becomes another program.
    let script = format!("{export}; exec \"$@\" 3<&0 4<&1 0</dev/null 1>/dev/null");
    command.args(["-c", &script, "sh"]);
    command.stdin(third.expect("a descriptor"));
    command.stdout(fourth.expect("a descriptor"));
    command
}

/// A process that serves this directory on this address and shares it with others that do the same.
pub async fn sharing(http: SocketAddr, manifests: &Path, flags: &[&str]) -> Hawser {
    let mut command = Command::new(PROGRAM);
    command.arg("run").arg("--manifests").arg(manifests);
    command.args(["--http", &http.to_string(), "--reuse-port"]);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    spawn(command, Ipv4Addr::LOCALHOST.into(), flags, None).await
}

const PROGRAM: &str = env!("CARGO_BIN_EXE_hawser");

/// The program itself, for runs that are meant to end at once.
pub fn program() -> Command {
    unprivileged(Command::new(PROGRAM))
}

/// A process on the cluster of this kubeconfig, in the network namespace of the caller. It need not be ready yet.
pub async fn on(kubeconfig: &Path, flags: &[&str]) -> Hawser {
    let mut command = unprivileged(Command::new(PROGRAM));
    command.arg("run").arg("--kubeconfig").arg(kubeconfig);
    // Backends of the test are on this host, too.
    command.env("POD_IPS", "192.0.2.1");
    let mut all = vec!["--status", "127.0.0.1:0"];
    all.extend(flags);
    launch(command, Ipv4Addr::LOCALHOST.into(), &all, None).await
}

/// The same in a network namespace of its own, where it has this address; the caller can reach it. Its status address
/// has port 9101, so that replicas find one another.
pub async fn inside(
    netns: &Netns,
    address: IpAddr,
    name: &str,
    kubeconfig: &Path,
    flags: &[&str],
) -> Hawser {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", netns.name(), PROGRAM]);
    command.arg("run").arg("--kubeconfig").arg(kubeconfig);
    command.env("POD_NAME", name);
    command.env("POD_IPS", address.to_string());
    let status = SocketAddr::new(address, 9101).to_string();
    let mut all = vec!["--status", &*status];
    all.extend(flags);
    launch(command, address, &all, None).await
}

/// Starts it and waits until it listens.
async fn launch(
    mut command: Command,
    address: IpAddr,
    flags: &[&str],
    dir: Option<tempfile::TempDir>,
) -> Hawser {
    command.args(["--http", &SocketAddr::new(address, 0).to_string()]);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    spawn(command, address, flags, dir).await
}

/// The same for a command that knows its traffic address and its standard input and output.
async fn spawn(
    mut command: Command,
    address: IpAddr,
    flags: &[&str],
    dir: Option<tempfile::TempDir>,
) -> Hawser {
    let any = SocketAddr::new(address, 0).to_string();
    let mut child = command
        .args(["--admin", &any, "--log-format", "json"])
        .args(flags)
        // No load balancer has to notice, and no test waits for what it does not test; flags win.
        .env("HAWSER_DRAIN_DELAY", "0s")
        .env("HAWSER_DRAIN_WINDOW", "1s")
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("hawser starts");
    let log = Arc::new(Mutex::new(Vec::new()));
    let stderr = child.stderr.take().expect("a pipe");
    let reader = tokio::spawn({
        let log = Arc::clone(&log);
        async move {
            let mut lines = BufReader::new(stderr).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let entry = serde_json::from_str(&line).unwrap_or(Value::String(line));
                log.lock().push(entry);
            }
        }
    });
    let address = async |message: &str| {
        eventually(
            &format!("hawser logs {message:?}: {:#?}", log.lock()),
            async || {
                let log = log.lock();
                let line = log
                    .iter()
                    .find(|line| field(line, "message") == Some(message))?;
                field(line, "address")?.parse().ok()
            },
        )
        .await
    };
    let http = address("listening for HTTP").await;
    let admin = address("listening for admin requests").await;
    Hawser {
        http,
        admin,
        dir,
        child,
        log,
        reader,
    }
}

/// A command that may not read what its permissions forbid, even where the tests run as root.
fn unprivileged(program: Command) -> Command {
    if !rustix::process::geteuid().is_root() {
        return program;
    }
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set", "-dac_override,-dac_read_search"]);
    command.arg(program.as_std().get_program());
    command
}

/// A field of a log line.
pub fn field<'a>(line: &'a Value, name: &str) -> Option<&'a str> {
    line.get("fields")
        .and_then(|fields| fields.get(name))
        .or_else(|| line.get(name))?
        .as_str()
}

impl Hawser {
    /// Path of a manifest file.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    fn folder(&self) -> &Path {
        self.dir.as_ref().expect("it serves a directory").path()
    }

    /// Whether it is ready now.
    pub async fn is_ready(&self) -> bool {
        let answer = client::get(self.admin, "localhost", "/readyz").await;
        answer.is_ok_and(|answer| answer.status == 200)
    }

    /// Waits until it is ready.
    pub async fn ready(&self) {
        let what = "hawser is ready";
        eventually(what, async || self.is_ready().await.then_some(())).await;
    }

    /// Writes a manifest by atomic rename.
    pub fn write(&self, name: &str, yaml: &str) {
        let target = self.path(name);
        let hidden = self.folder().join(format!(".{name}.new"));
        std::fs::write(&hidden, yaml).expect("the manifest is written");
        std::fs::rename(hidden, target).expect("the manifest is renamed");
    }

    /// Deletes a manifest.
    pub fn delete(&self, name: &str) {
        std::fs::remove_file(self.path(name)).expect("the manifest is deleted");
    }

    /// The lines of the log so far.
    pub fn log(&self) -> Vec<Value> {
        self.log.lock().clone()
    }

    /// Waits for a log line.
    pub async fn logged(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        eventually(what, async || {
            self.log.lock().iter().find(|line| wanted(line)).cloned()
        })
        .await
    }

    /// A JSON view of the admin address.
    pub async fn view(&self, path: &str) -> Value {
        let answer = client::get(self.admin, "localhost", path)
            .await
            .expect("the admin answers");
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        serde_json::from_slice(&answer.body).expect("JSON")
    }

    /// The view of the routes, once it has this many verdicts: they follow a new table by a moment.
    pub async fn judged(&self, verdicts: usize) -> Value {
        eventually(&format!("{verdicts} verdicts"), async || {
            let view = self.view("/api/v1/routes").await;
            let count = view["verdicts"].as_array().map(Vec::len);
            (count == Some(verdicts)).then_some(view)
        })
        .await
    }

    /// The value of the first metric line that starts with `series`.
    pub async fn metric(&self, series: &str) -> Option<f64> {
        let answer = client::get(self.admin, "localhost", "/metrics")
            .await
            .expect("metrics");
        let text = answer.text();
        let line = text.lines().find(|line| line.starts_with(series))?;
        line.rsplit(' ').next()?.parse().ok()
    }

    /// The sum of all series of a metric that have these label values.
    pub async fn sum(&self, name: &str, labels: &[&str]) -> f64 {
        let answer = client::get(self.admin, "localhost", "/metrics").await;
        let text = answer.expect("metrics").text();
        let values = text.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?.strip_prefix('{')?;
            let (series, value) = rest.rsplit_once("} ")?;
            let has = |value: &&str| series.contains(&format!("=\"{value}\""));
            labels.iter().all(has).then(|| value.parse::<f64>().ok())?
        });
        values.sum()
    }

    /// Generation of the live table.
    pub async fn generation(&self) -> u64 {
        self.metric("hawser_table_generation")
            .await
            .map_or(0, |value| value as u64)
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id().expect("the process runs")
    }

    /// Resident memory in bytes.
    pub fn rss(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// Resident memory that belongs to no file, in bytes.
    pub fn rss_anon(&self) -> u64 {
        self.memory("RssAnon:")
    }

    fn memory(&self, what: &str) -> u64 {
        let pid = self.id();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
        let line = status
            .lines()
            .find(|line| line.starts_with(what))
            .expect("the kernel tells it");
        let kib: u64 = line
            .split_whitespace()
            .nth(1)
            .expect("a number")
            .parse()
            .expect("KiB");
        kib * 1024
    }

    /// Open file descriptors.
    pub fn descriptors(&self) -> BTreeSet<usize> {
        let folder = std::fs::read_dir(format!("/proc/{}/fd", self.id())).expect("its descriptors");
        folder
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .collect()
    }

    /// How many of them are sockets.
    pub fn sockets(&self) -> usize {
        let folder = std::fs::read_dir(format!("/proc/{}/fd", self.id())).expect("its descriptors");
        let links = folder.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
        links
            .filter(|link| link.to_string_lossy().starts_with("socket:"))
            .count()
    }

    /// Processor time that it has used.
    pub fn cpu(&self) -> Duration {
        let pid = self.child.id().expect("the process runs");
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("stat");
        // Behind the name, which may hold anything but this.
        let (_, fields) = stat.rsplit_once(") ").expect("a name");
        let times = fields.split(' ').skip(11).take(2);
        let ticks: u64 = times
            .map(|text| text.parse::<u64>().expect("a number"))
            .sum();
        // The kernel tells it in hundredths of a second, whatever its own tick is.
        Duration::from_millis(ticks * 10)
    }

    /// Sends a signal by name, `TERM` or `INT`.
    pub fn signal(&self, name: &str) {
        let pid = self.id();
        let status = std::process::Command::new("kill")
            .args([format!("-{name}"), pid.to_string()])
            .status()
            .expect("kill runs");
        assert!(status.success());
    }

    /// How many lines of the log have this message.
    pub fn said(&self, message: &str) -> usize {
        let log = self.log.lock();
        let lines = log
            .iter()
            .filter(|line| field(line, "message") == Some(message));
        lines.count()
    }

    /// Waits for the end of the process, and of its log.
    pub async fn ended(&mut self) -> ExitStatus {
        let both = async {
            let status = self.child.wait().await.expect("an exit status");
            if !self.reader.is_finished() {
                (&mut self.reader).await.expect("the log is read");
            }
            status
        };
        tokio::time::timeout(super::DEADLINE, both)
            .await
            .expect("hawser ends in time")
    }
}
