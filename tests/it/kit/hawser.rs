//! A Hawser process on a directory of manifests.

use std::{
    net::SocketAddr,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    sync::Arc,
};

use parking_lot::Mutex;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use super::{client, eventually};

/// A running Hawser. Ends with the test.
pub struct Hawser {
    /// Traffic address.
    pub http: SocketAddr,
    /// Admin address.
    pub admin: SocketAddr,
    dir: tempfile::TempDir,
    child: Child,
    log: Arc<Mutex<Vec<Value>>>,
}

/// A process that serves `yaml`, ready to take requests.
pub async fn with(yaml: &str) -> Hawser {
    with_flags(yaml, &[]).await
}

/// The same with further flags.
pub async fn with_flags(yaml: &str, flags: &[&str]) -> Hawser {
    let dir = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(dir.path().join("main.yaml"), yaml).expect("the manifest is written");
    start(dir, flags).await
}

async fn start(dir: tempfile::TempDir, flags: &[&str]) -> Hawser {
    let mut child = unprivileged(env!("CARGO_BIN_EXE_hawser"))
        .args([
            "run",
            "--http",
            "127.0.0.1:0",
            "--admin",
            "127.0.0.1:0",
            "--log-format",
            "json",
        ])
        .arg("--manifests")
        .arg(dir.path())
        .args(flags)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("hawser starts");
    let log = Arc::new(Mutex::new(Vec::new()));
    let stderr = child.stderr.take().expect("a pipe");
    tokio::spawn({
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
    let hawser = Hawser {
        http,
        admin,
        dir,
        child,
        log,
    };
    eventually("hawser is ready", async || {
        let answer = client::get(hawser.admin, "localhost", "/readyz")
            .await
            .ok()?;
        (answer.status == 200).then_some(())
    })
    .await;
    hawser
}

/// A command that may not read what its permissions forbid, even where the tests run as root.
fn unprivileged(program: &str) -> Command {
    if !rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set", "-dac_override,-dac_read_search", program]);
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
        self.dir.path().join(name)
    }

    /// Writes a manifest by atomic rename.
    pub fn write(&self, name: &str, yaml: &str) {
        let target = self.path(name);
        let hidden = self.dir.path().join(format!(".{name}.new"));
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

    /// Generation of the live table.
    pub async fn generation(&self) -> u64 {
        self.metric("hawser_table_generation")
            .await
            .map_or(0, |value| value as u64)
    }

    /// Resident memory in bytes.
    pub fn rss(&self) -> u64 {
        let pid = self.child.id().expect("the process runs");
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .expect("VmRSS");
        let kib: u64 = line
            .split_whitespace()
            .nth(1)
            .expect("a number")
            .parse()
            .expect("KiB");
        kib * 1024
    }

    /// Sends a signal by name, `TERM` or `INT`.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().expect("the process runs");
        let status = std::process::Command::new("kill")
            .args([format!("-{name}"), pid.to_string()])
            .status()
            .expect("kill runs");
        assert!(status.success());
    }

    /// Waits for the end of the process.
    pub async fn ended(&mut self) -> ExitStatus {
        tokio::time::timeout(super::DEADLINE, self.child.wait())
            .await
            .expect("hawser ends in time")
            .expect("an exit status")
    }
}
