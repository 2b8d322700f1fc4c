//! Probes and lifecycle hooks.

use std::{fmt::Write, time::Duration};

use k8s_openapi::{
    api::core::v1::{Container, ExecAction, HTTPGetAction, LifecycleHandler, Probe},
    apimachinery::pkg::util::intstr::IntOrString,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::Command,
    sync::mpsc,
    time::{sleep, timeout},
};

/// Which probe of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Startup,
    Readiness,
    Liveness,
}

/// The container that is asked.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) container: Container,
    pub(super) address: String,
    pub(super) pid: u32,
}

/// Says every change of the probe's verdict; never ends.
pub(super) async fn watch(
    kind: Kind,
    probe: Probe,
    target: Target,
    verdicts: mpsc::Sender<(Kind, bool)>,
) {
    let seconds = |value: Option<i32>, default: i32| {
        Duration::from_secs(u64::try_from(value.unwrap_or(default)).unwrap_or(0))
    };
    sleep(seconds(probe.initial_delay_seconds, 0)).await;
    let mut run = (false, 0);
    let mut said = None;
    loop {
        let asked = timeout(seconds(probe.timeout_seconds, 1), once(&probe, &target));
        let fine = asked.await.unwrap_or(false);
        run = if run.0 == fine {
            (fine, run.1 + 1)
        } else {
            (fine, 1)
        };
        let threshold = if fine {
            probe.success_threshold.unwrap_or(1)
        } else {
            probe.failure_threshold.unwrap_or(3)
        };
        if run.1 >= threshold && said != Some(fine) {
            said = Some(fine);
            if verdicts.send((kind, fine)).await.is_err() {
                return;
            }
        }
        sleep(seconds(probe.period_seconds, 10)).await;
    }
}

async fn once(probe: &Probe, target: &Target) -> bool {
    if let Some(action) = &probe.http_get {
        http(action, target).await.is_some()
    } else if let Some(action) = &probe.tcp_socket {
        let Some(port) = port(&action.port, &target.container) else {
            return false;
        };
        let host = action.host.as_ref().unwrap_or(&target.address);
        TcpStream::connect((host.as_str(), port)).await.is_ok()
    } else if let Some(action) = &probe.exec {
        exec(action, target).await
    } else {
        false
    }
}

/// Runs the hook before SIGTERM; its failure changes nothing, as with a kubelet.
pub(super) async fn hook(hook: &LifecycleHandler, target: &Target) {
    if let Some(pause) = &hook.sleep {
        sleep(Duration::from_secs(
            u64::try_from(pause.seconds).unwrap_or(0),
        ))
        .await;
    } else if let Some(action) = &hook.exec {
        exec(action, target).await;
    } else if let Some(action) = &hook.http_get {
        http(action, target).await;
    }
}

fn port(port: &IntOrString, container: &Container) -> Option<u16> {
    let number = match port {
        IntOrString::Int(number) => *number,
        IntOrString::String(name) => {
            let mut ports = container.ports.iter().flatten();
            ports
                .find(|port| port.name.as_ref() == Some(name))?
                .container_port
        }
    };
    u16::try_from(number).ok()
}

/// GET without a client's niceties: the status line decides.
async fn http(action: &HTTPGetAction, target: &Target) -> Option<()> {
    let host = action.host.as_ref().unwrap_or(&target.address);
    let port = port(&action.port, &target.container)?;
    if action.scheme.as_deref() == Some("HTTPS") {
        return None;
    }
    let mut stream = TcpStream::connect((host.as_str(), port)).await.ok()?;
    let path = action.path.as_deref().unwrap_or("/");
    let mut head =
        format!("GET {path} HTTP/1.1\r\nUser-Agent: kube-probe/1.36\r\nConnection: close\r\n");
    let headers = action.http_headers.as_deref().unwrap_or_default();
    for header in headers {
        let _ = write!(head, "{}: {}\r\n", header.name, header.value);
    }
    if !headers
        .iter()
        .any(|header| header.name.eq_ignore_ascii_case("host"))
    {
        let _ = write!(head, "Host: {host}:{port}\r\n");
    }
    stream
        .write_all(format!("{head}\r\n").as_bytes())
        .await
        .ok()?;
    let mut status = [0; 12];
    stream.read_exact(&mut status).await.ok()?;
    let code: u16 = std::str::from_utf8(&status[9..]).ok()?.parse().ok()?;
    (200..400).contains(&code).then_some(())
}

async fn exec(action: &ExecAction, target: &Target) -> bool {
    let pid = target.pid.to_string();
    let mut command = Command::new("nsenter");
    command.args(["-t", &pid, "-n", "-m", "-r", "-w", "--"]);
    command.args(action.command.iter().flatten());
    command.kill_on_drop(true);
    command
        .output()
        .await
        .is_ok_and(|output| output.status.success())
}
