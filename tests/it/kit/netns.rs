//! Network namespaces: hosts of their own on one machine.

use std::{
    fs::File,
    os::fd::AsFd,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    thread,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::{janitor, process};

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A network namespace with its loopback up. Goes when it is dropped.
pub struct Netns {
    name: String,
}

impl Netns {
    /// A new one; `kind` is part of its name, for people who look at a running test.
    pub fn new(kind: &str) -> Self {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("hawser-{kind}-{}-{number}", std::process::id());
        let added = Command::new("ip").args(["netns", "add", &name]).output();
        let added = added.expect("the program ip (Debian: apt-get install iproute2) is there");
        assert!(
            added.status.success(),
            "this test needs the right to make network namespaces; run `make test`, which gets it with \
             unshare(1), or become root: {}",
            String::from_utf8_lossy(&added.stderr)
        );
        janitor::netns(&name);
        let netns = Self { name };
        netns.ip("link set lo up");
        netns
    }

    /// Its name for `ip netns`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `ip ARGS` inside.
    pub fn ip(&self, args: &str) {
        ip(&format!("-n {} {args}", self.name));
    }

    /// A command that runs inside, to be started with `Process::start`.
    pub fn command(&self, program: &str) -> Command {
        // `ip netns exec` becomes the program, so the process id and the signal stay.
        let mut command = process::command("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    /// Moves the calling thread inside; threads and sockets that it makes from then on are there, too.
    pub fn enter(&self) {
        enter(&self.file());
    }

    /// The namespace itself, for a thread that enters it later.
    pub fn file(&self) -> File {
        File::open(format!("/run/netns/{}", self.name)).expect("the namespace is there")
    }

    /// Runs a future inside, on a runtime of its own.
    pub fn run<T: Send>(&self, work: impl AsyncFnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                self.enter();
                let runtime = tokio::runtime::Builder::new_multi_thread()
                    .worker_threads(2)
                    .enable_all()
                    .build()
                    .expect("a runtime");
                runtime.block_on(work())
            });
            inside
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let _ = Command::new("ip")
            .args(["netns", "del", &self.name])
            .output();
    }
}

/// Moves the calling thread inside.
pub fn enter(netns: &File) {
    move_into_link_name_space(netns.as_fd(), Some(LinkNameSpaceType::Network))
        .expect("the namespace can be entered");
}

/// Runs `ip ARGS`.
pub fn ip(args: &str) {
    let ran = Command::new("ip").args(args.split(' ')).output();
    let ran = ran.expect("ip runs");
    let why = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "ip {args}: {why}");
}
