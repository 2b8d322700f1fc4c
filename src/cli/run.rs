//! `hawser run`: flags and environment to [`Settings`], signals to an orderly end.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use clap::Args;
use ipnet::IpNet;
use tracing::{error, info, warn};

use super::control::ControlArgs;
use crate::{
    api,
    app::{self, Inherited, Settings, Signals, Source},
    source::cluster,
    telemetry::log,
    translate,
};

/// Flags of `hawser run`. Each is also an environment variable.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a flag that a user gives or not"
)]
pub(super) struct RunArgs {
    /// Serve the manifests of this directory instead of a cluster
    ///
    /// All *.yaml, *.yml and *.json files below it, watched for changes.
    #[arg(long, value_name = "DIR", env = "HAWSER_MANIFESTS")]
    manifests: Option<PathBuf>,

    /// Configuration file for the cluster
    ///
    /// Default: the files of the variable KUBECONFIG, the pod's service account, or ~/.kube/config, whichever
    /// is there first.
    #[arg(
        long,
        value_name = "FILE",
        env = "HAWSER_KUBECONFIG",
        conflicts_with = "manifests"
    )]
    kubeconfig: Option<PathBuf>,

    /// Context of the configuration file [default: its current-context]
    #[arg(long, value_name = "NAME", env = "HAWSER_CONTEXT", value_parser = parse_name, conflicts_with = "manifests")]
    context: Option<String>,

    /// Namespace to watch instead of all (repeatable)
    ///
    /// Needs rights in these namespaces only. Without the right to read IngressClass objects, classes match by
    /// --ingress-class alone.
    #[arg(
        long,
        value_name = "NS",
        env = "HAWSER_WATCH_NAMESPACE",
        value_delimiter = ',',
        value_parser = parse_namespace,
        conflicts_with = "manifests"
    )]
    watch_namespace: Vec<String>,

    /// How long a complete list waits that would remove everything, or more than half of more than 10 objects
    ///
    /// Then the list is taken again, and obeyed. 0s = off.
    #[arg(long, value_name = "DURATION", env = "HAWSER_RELIST_GUARD", default_value = "30s", value_parser = parse_duration)]
    relist_guard: Duration,

    /// Address for HTTP traffic (repeatable)
    #[arg(
        long,
        value_name = "ADDR",
        env = "HAWSER_HTTP",
        value_delimiter = ',',
        default_value = "0.0.0.0:8080"
    )]
    http: Vec<SocketAddr>,

    /// Let other processes of this user listen on the same --http addresses, by `SO_REUSEPORT`
    ///
    /// For an upgrade with two processes side by side: docs/guide/upgrade.md. Sockets that systemd hands over
    /// are shared without it.
    #[arg(long, env = "HAWSER_REUSE_PORT", value_parser = clap::builder::BoolishValueParser::new())]
    reuse_port: bool,

    /// Address for HTTPS traffic (not built yet: binds nothing) [default: 0.0.0.0:8443]
    #[arg(long, value_name = "ADDR", env = "HAWSER_HTTPS")]
    https: Option<SocketAddr>,

    /// Address for probes, metrics and the JSON views; keep it on loopback
    #[arg(
        long,
        value_name = "ADDR",
        env = "HAWSER_ADMIN",
        default_value = "127.0.0.1:9100"
    )]
    admin: SocketAddr,

    /// Let the admin address take orders: close a connection, drain a route or an endpoint
    #[arg(long, env = "HAWSER_ADMIN_WRITE", value_parser = clap::builder::BoolishValueParser::new())]
    admin_write: bool,

    /// Address for /livez, /readyz and /metrics only
    ///
    /// Default: 0.0.0.0:9101 with a cluster, off with --manifests.
    #[arg(long, value_name = "ADDR", env = "HAWSER_STATUS")]
    status: Option<SocketAddr>,

    /// Class that the annotation kubernetes.io/ingress.class must name, and that ingressClassName
    /// must name where there is no IngressClass object
    #[arg(long, value_name = "NAME", env = "HAWSER_INGRESS_CLASS", default_value = "hawser", value_parser = parse_name)]
    ingress_class: String,

    /// An IngressClass is ours when its spec.controller is this
    #[arg(long, value_name = "NAME", env = "HAWSER_CONTROLLER_NAME", default_value = translate::CONTROLLER_NAME, value_parser = parse_controller)]
    controller_name: String,

    /// Serve Ingress objects that name no class, too
    #[arg(long, env = "HAWSER_WATCH_INGRESS_WITHOUT_CLASS", value_parser = clap::builder::BoolishValueParser::new())]
    watch_ingress_without_class: bool,

    #[command(flatten)]
    control: ControlArgs,

    /// Peers whose X-Forwarded-* are believed (not built yet: nobody's are)
    #[arg(
        long,
        value_name = "CIDR,...",
        env = "HAWSER_TRUSTED_PROXIES",
        value_delimiter = ','
    )]
    trusted_proxies: Vec<IpNet>,

    /// Peers that send a PROXY header (not built yet: off)
    #[arg(
        long,
        value_name = "CIDR,...",
        env = "HAWSER_PROXY_PROTOCOL",
        value_delimiter = ','
    )]
    proxy_protocol: Vec<IpNet>,

    /// From SIGTERM to the drain: not ready, but serving as ever, while load balancers notice
    #[arg(long, value_name = "DURATION", env = "HAWSER_DRAIN_DELAY", default_value = "10s", value_parser = parse_duration)]
    drain_delay: Duration,

    /// The drain: nothing new is accepted, and tunnels get their Close spread over this time
    ///
    /// Requests and the last tunnels get 10 s more; then what is left is cut. A route may shorten it for its
    /// tunnels (drain.window).
    #[arg(long, value_name = "DURATION", env = "HAWSER_DRAIN_WINDOW", default_value = "60s", value_parser = parse_duration)]
    drain_window: Duration,

    /// Client connections at a time [default: from the limit of file descriptors]
    ///
    /// On a connection of HTTP/2 each request or tunnel beyond the first, at the same time, counts as one more.
    #[arg(long, value_name = "N", env = "HAWSER_MAX_CONNECTIONS", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    max_connections: Option<u32>,

    /// Move large frames of WebSockets without a copy, by splice(2)
    #[arg(long, value_name = "BOOL", env = "HAWSER_SPLICE", default_value_t = true, action = clap::ArgAction::Set, value_parser = clap::builder::BoolishValueParser::new())]
    splice: bool,

    /// TLS certificate for hosts without one (not built yet)
    #[arg(long, value_name = "NS/NAME", env = "HAWSER_DEFAULT_CERTIFICATE", value_parser = parse_reference)]
    default_certificate: Option<(String, String)>,

    /// Format of the log on standard error [default: text on a terminal, else json]
    #[arg(long, value_name = "FORMAT", env = "HAWSER_LOG_FORMAT")]
    log_format: Option<log::Format>,

    /// Log level, or a filter such as `info,hawser::access=warn`
    #[arg(
        long,
        value_name = "LEVEL",
        env = "HAWSER_LOG_LEVEL",
        default_value = "info"
    )]
    log_level: String,
}

/// Default of `--status` with a cluster: the kubelet asks the address of the pod.
const CLUSTER_STATUS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 9101);

const EXAMPLES: &str = "\
Examples:
  hawser run --kubeconfig ~/.kube/config --context staging
  hawser run --watch-namespace shop --watch-namespace chat
  hawser run --manifests ./routes
  hawser run --manifests ./routes --http 127.0.0.1:8080 --http '[::1]:8080' --log-format text
  HAWSER_MANIFESTS=./routes HAWSER_LOG_LEVEL=debug hawser run";

/// Runs until a signal ends it. Exit code 0 after any end that was asked for, 64 when it could not start.
pub(super) fn run(args: &RunArgs) -> ExitCode {
    // First of all: it changes the environment, which other threads must not see.
    let inherited = match Inherited::take() {
        Ok(inherited) => inherited,
        Err(error) => return super::usage(&error.to_string()),
    };
    if let Err(error) = log::init(args.log_format, &args.log_level) {
        return super::usage(&format!("--log-level {}: {error}", args.log_level));
    }
    for flag in args.without_effect() {
        warn!(
            flag,
            "this flag is accepted but its feature is not built yet: it has no effect"
        );
    }
    let settings = args.settings();
    super::block_on(async move {
        let mut signals = match Signals::listen() {
            Ok(signals) => signals,
            Err(error) => {
                error!(%error, "signals cannot be received");
                return ExitCode::FAILURE;
            }
        };
        let started = tokio::select! {
            started = app::start(settings, inherited) => started,
            signal = signals.next() => {
                info!(%signal, "ended before anything was served");
                return ExitCode::SUCCESS;
            }
        };
        match started {
            Ok(app) => {
                app.run(signals).await;
                ExitCode::SUCCESS
            }
            Err(error) => super::usage(&error.to_string()),
        }
    })
}

impl RunArgs {
    fn settings(&self) -> Settings {
        let source = self.source();
        let (origin, status) = match source {
            Source::Directory(_) => (translate::SourceKind::Directory, None),
            Source::Cluster(..) => (translate::SourceKind::Cluster, Some(CLUSTER_STATUS)),
        };
        Settings {
            http: self.http.clone(),
            reuse_port: self.reuse_port,
            admin: Some(self.admin),
            admin_write: self.admin_write,
            status: self.status.or(status),
            source,
            translate: translate::Options {
                controller_name: self.controller_name.clone(),
                ingress_class: self.ingress_class.clone(),
                watch_ingress_without_class: self.watch_ingress_without_class,
                origin,
                own_addresses: self.control.own_addresses(),
                peer_service: self.control.peer_service(),
                drain_window: Some(self.drain_window),
            },
            max_connections: self.max_connections.and_then(|n| usize::try_from(n).ok()),
            drain_delay: self.drain_delay,
            drain_window: self.drain_window,
            splice: self.splice,
        }
    }

    fn source(&self) -> Source {
        if let Some(manifests) = &self.manifests {
            return Source::Directory(manifests.clone());
        }
        let settings = cluster::Settings {
            kubeconfig: self.kubeconfig.clone(),
            context: self.context.clone(),
            namespaces: self.watch_namespace.clone(),
            peer_service: self.control.peer_service(),
            relist_guard: self.relist_guard,
            controller_name: self.controller_name.clone(),
        };
        Source::Cluster(settings, Box::new(self.control.control()))
    }

    /// Flags that were given and whose feature is not built yet. Without this list a user would
    /// believe that they work.
    fn without_effect(&self) -> Vec<&'static str> {
        [
            ("--https", self.https.is_some()),
            ("--trusted-proxies", !self.trusted_proxies.is_empty()),
            ("--proxy-protocol", !self.proxy_protocol.is_empty()),
            ("--default-certificate", self.default_certificate.is_some()),
        ]
        .into_iter()
        .filter_map(|(flag, given)| given.then_some(flag))
        .collect()
    }
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    text.parse::<api::Duration>()
        .map(api::Duration::get)
        .map_err(|error| error.to_string())
}

fn parse_name(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        return Err("must not be empty".to_owned());
    }
    Ok(text.to_owned())
}

/// RFC 1123 label, as the API server wants it.
fn parse_namespace(text: &str) -> Result<String, String> {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let good = (1..=63).contains(&text.len())
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-');
    good.then(|| text.to_owned())
        .ok_or_else(|| "is no name of a namespace: at most 63 of a-z, 0-9 and -".to_owned())
}

fn parse_controller(text: &str) -> Result<String, String> {
    match text.split_once('/') {
        Some((domain, path)) if !domain.is_empty() && !path.is_empty() => Ok(text.to_owned()),
        _ => Err("must look like example.com/name".to_owned()),
    }
}

/// `namespace/name`.
pub(super) fn parse_reference(text: &str) -> Result<(String, String), String> {
    match text.split_once('/') {
        Some((namespace, name))
            if !namespace.is_empty() && !name.is_empty() && !name.contains('/') =>
        {
            Ok((namespace.to_owned(), name.to_owned()))
        }
        _ => Err("must look like namespace/name".to_owned()),
    }
}
