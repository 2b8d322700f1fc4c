//! From a kubeconfig or the pod's service account to a client.

use std::{
    env,
    error::Error,
    ffi::OsStr,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use http::{HeaderValue, header::USER_AGENT};
use kube::config::{
    AuthInfo, Config, KubeConfigOptions, Kubeconfig, KubeconfigError, LoadDataError,
};
use tracing::info;

use super::{Settings, managers::Managers};

/// For the connection and its TLS handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Without a byte for so long a connection is dead: the API server sends bookmarks, and ends a watch after 60 s.
const READ_TIMEOUT: Duration = Duration::from_secs(70);

/// What Hawser writes is small.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// Longest kubeconfig. Those of large companies have some hundred kilobytes.
const MAX_KUBECONFIG: u64 = 4 << 20;

/// Set in every pod.
const IN_CLUSTER: &str = "KUBERNETES_SERVICE_HOST";

/// A way to an API server. Nothing has been asked yet.
#[derive(Clone)]
pub struct Cluster {
    /// The client.
    pub(in crate::source) client: kube::Client,
    /// Namespace of the pod, or of the context.
    pub namespace: String,
    /// In whose name it is written.
    pub(in crate::source) managers: Managers,
}

/// Why there is no way to an API server.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The kubeconfig cannot be used.
    #[error("{0}")]
    Config(String),
}

fn bad(text: impl Into<String>) -> ConnectError {
    ConnectError::Config(text.into())
}

/// Reads the configuration. Does not talk to the server: that it is down is no error.
pub async fn connect(settings: &Settings) -> Result<Cluster, ConnectError> {
    let (origin, mut config) = config(settings).await?;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(READ_TIMEOUT);
    config.write_timeout = Some(WRITE_TIMEOUT);
    // Whoever asks has its own pace, and says when the server is lost; retries below would hide that.
    config.default_retry = false;
    let agent = HeaderValue::from_static(concat!("hawser/", env!("CARGO_PKG_VERSION")));
    config.headers.push((USER_AGENT, agent));
    let namespace = config.default_namespace.clone();
    let server = config.cluster_url.to_string();
    let client = kube::Client::try_from(config)
        .map_err(|error| bad(format!("{origin}: {}", client_words(&error))))?;
    info!(%server, configuration = %origin, "the cluster");
    Ok(Cluster {
        client,
        namespace,
        managers: Managers::of(&settings.controller_name),
    })
}

/// Where the configuration is, in words, and the configuration.
async fn config(settings: &Settings) -> Result<(String, Config), ConnectError> {
    let context = settings.context.as_deref();
    if let Some(path) = &settings.kubeconfig {
        return from_files(
            &format!("--kubeconfig {}", path.display()),
            std::slice::from_ref(path),
            context,
        )
        .await;
    }
    let paths = env::var_os("KUBECONFIG").map(|paths| split(&paths));
    if let Some(paths) = paths.filter(|paths| !paths.is_empty()) {
        let names: Vec<_> = paths
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        return from_files(&format!("KUBECONFIG={}", names.join(":")), &paths, context).await;
    }
    if env::var_os(IN_CLUSTER).is_some() {
        if let Some(context) = context {
            return Err(bad(format!(
                "--context {context}: there are no contexts in a pod; name the file that has it with --kubeconfig FILE"
            )));
        }
        return Config::incluster_env()
            .map(|config| ("the pod's service account".to_owned(), config))
            .map_err(|error| {
                bad(format!(
                    "the pod's service account cannot be used: {}; does the pod set automountServiceAccountToken: \
                     false? Otherwise name a file with --kubeconfig FILE",
                    chain(&error)
                ))
            });
    }
    let home = env::var_os("HOME").map(PathBuf::from);
    let default = home.map(|home| home.join(".kube/config"));
    match default.filter(|path| path.exists()) {
        Some(path) => {
            from_files(
                &path.display().to_string(),
                std::slice::from_ref(&path),
                context,
            )
            .await
        }
        None => Err(bad(
            "no cluster is configured: this is no pod, and there is neither KUBECONFIG nor ~/.kube/config; name one \
             with --kubeconfig FILE, or a directory of manifests with --manifests DIR",
        )),
    }
}

fn split(paths: &OsStr) -> Vec<PathBuf> {
    env::split_paths(paths)
        .filter(|path| !path.as_os_str().is_empty())
        .collect()
}

async fn from_files(
    origin: &str,
    paths: &[PathBuf],
    context: Option<&str>,
) -> Result<(String, Config), ConnectError> {
    let mut merged = Kubeconfig::default();
    for path in paths {
        let read = read(path).map_err(|text| bad(format!("{origin}: {text}")))?;
        merged = merged
            .merge(read)
            .map_err(|error| bad(format!("{origin}: {}", chain(&error))))?;
    }
    let chosen = choose(&merged, context).map_err(|text| bad(format!("{origin}: {text}")))?;
    let options = KubeConfigOptions {
        context: Some(chosen.context.clone()),
        ..KubeConfigOptions::default()
    };
    let authority = authority(&merged, &chosen.cluster);
    let mut config = Config::from_custom_kubeconfig(merged, &options)
        .await
        .map_err(|error| bad(format!("{origin}: {}", config_words(&error, &chosen))))?;
    if config.root_cert.as_ref().is_some_and(Vec::is_empty) {
        return Err(bad(format!(
            "{origin}: clusters[{}].cluster.certificate-authority holds no certificate in PEM form",
            chosen.cluster
        )));
    }
    // It is read anew once in a minute, as in a pod: authorities are replaced while Hawser runs.
    config.root_cert_file = authority;
    Ok((format!("{origin}, context {}", chosen.context), config))
}

/// The file of a cluster's certificate authority: what stands in the kubeconfig itself comes first.
fn authority(config: &Kubeconfig, cluster: &str) -> Option<PathBuf> {
    let cluster = config.clusters.iter().find(|it| it.name == cluster);
    let cluster = cluster.and_then(|it| it.cluster.as_ref())?;
    let file = cluster.certificate_authority.as_ref();
    let inline = cluster.certificate_authority_data.is_some();
    file.filter(|_| !inline).map(PathBuf::from)
}

fn read(path: &Path) -> Result<Kubeconfig, String> {
    let metadata = std::fs::metadata(path).map_err(|error| file_words(&error))?;
    if metadata.is_dir() {
        return Err("is a directory; name the file in it".to_owned());
    }
    if metadata.len() > MAX_KUBECONFIG {
        return Err(format!(
            "is larger than {MAX_KUBECONFIG} bytes; that is no kubeconfig"
        ));
    }
    let config = Kubeconfig::read_from(path).map_err(|error| match error {
        KubeconfigError::ReadConfig(error, _) => file_words(&error),
        KubeconfigError::Parse(error) => {
            // The parser draws the place below it.
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default();
            let first = first.strip_prefix("error: ").unwrap_or(first);
            format!("is no kubeconfig: {first}")
        }
        other => chain(&other),
    })?;
    if config.clusters.is_empty() && config.contexts.is_empty() {
        return Err("is no kubeconfig: it has neither clusters nor contexts".to_owned());
    }
    Ok(config)
}

fn file_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file; create it or name another".to_owned(),
        io::ErrorKind::PermissionDenied => {
            "cannot be read (permission denied); the user that runs Hawser must be able to"
                .to_owned()
        }
        io::ErrorKind::InvalidData => "is not UTF-8 text; that is no kubeconfig".to_owned(),
        _ => format!("cannot be read: {error}"),
    }
}

/// What a context names.
struct Chosen {
    context: String,
    cluster: String,
    user: Option<String>,
}

/// Follows the names, so that one that leads nowhere is told with those that would.
fn choose(config: &Kubeconfig, context: Option<&str>) -> Result<Chosen, String> {
    let list = |names: Vec<&str>| {
        if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        }
    };
    let contexts = || list(config.contexts.iter().map(|it| it.name.as_str()).collect());
    let current = config.current_context.as_deref();
    let name = context
        .or(current.filter(|name| !name.is_empty()))
        .ok_or_else(|| {
            format!(
                "current-context is not set; set it or name one of these with --context: {}",
                contexts()
            )
        })?;
    let found = config.contexts.iter().find(|it| it.name == name);
    let Some(found) = found.and_then(|it| it.context.as_ref()) else {
        let field = if context.is_some() {
            "--context"
        } else {
            "current-context"
        };
        return Err(format!(
            "{field} {name}: no such context; there are: {}",
            contexts()
        ));
    };
    let cluster = config.clusters.iter().find(|it| it.name == found.cluster);
    let Some(cluster) = cluster.and_then(|it| it.cluster.as_ref()) else {
        return Err(format!(
            "contexts[{name}].context.cluster {}: no such cluster; there are: {}",
            found.cluster,
            list(config.clusters.iter().map(|it| it.name.as_str()).collect())
        ));
    };
    if cluster.server.as_deref().is_none_or(str::is_empty) {
        return Err(format!(
            "clusters[{}].cluster.server is missing; it is the URL of the API server",
            found.cluster
        ));
    }
    if let Some(user) = found.user.as_deref().filter(|user| !user.is_empty()) {
        let known = config.auth_infos.iter().find(|it| it.name == user);
        let Some(known) = known else {
            return Err(format!(
                "contexts[{name}].context.user {user}: no such user; there are: {}",
                list(
                    config
                        .auth_infos
                        .iter()
                        .map(|it| it.name.as_str())
                        .collect()
                )
            ));
        };
        for (field, path) in known.auth_info.iter().flat_map(files) {
            if let Err(error) = std::fs::File::open(path) {
                let words = file_words(&error);
                return Err(format!("users[{user}].user.{field} {path}: {words}"));
            }
        }
    }
    Ok(Chosen {
        context: name.to_owned(),
        cluster: found.cluster.clone(),
        user: found.user.clone(),
    })
}

/// Files of a user that are read: what stands in the kubeconfig itself comes first.
fn files(user: &AuthInfo) -> impl Iterator<Item = (&'static str, &str)> {
    [
        (
            "client-certificate",
            &user.client_certificate,
            user.client_certificate_data.is_some(),
        ),
        (
            "client-key",
            &user.client_key,
            user.client_key_data.is_some(),
        ),
        ("tokenFile", &user.token_file, user.token.is_some()),
    ]
    .into_iter()
    .filter_map(|(field, path, inline)| {
        let path = path.as_deref().filter(|_| !inline)?;
        Some((field, path))
    })
}

fn config_words(error: &KubeconfigError, chosen: &Chosen) -> String {
    let cluster = format!("clusters[{}].cluster", chosen.cluster);
    let user = format!("users[{}].user", chosen.user.as_deref().unwrap_or_default());
    match error {
        KubeconfigError::ParseClusterUrl(error) => {
            format!("{cluster}.server is no URL: {error}; it looks like https://10.0.0.1:6443")
        }
        KubeconfigError::ParseProxyUrl(error) => format!("{cluster}.proxy-url is no URL: {error}"),
        KubeconfigError::LoadCertificateAuthority(error) => {
            data_words(&format!("{cluster}.certificate-authority"), error)
        }
        KubeconfigError::ParseCertificates(error) => {
            format!("{cluster}.certificate-authority is not in PEM form: {error}")
        }
        KubeconfigError::LoadClientCertificate(error) => {
            data_words(&format!("{user}.client-certificate"), error)
        }
        KubeconfigError::LoadClientKey(error) => data_words(&format!("{user}.client-key"), error),
        other => chain(other),
    }
}

fn data_words(field: &str, error: &LoadDataError) -> String {
    match error {
        LoadDataError::DecodeBase64(error) => format!("{field}-data is not base64: {error}"),
        LoadDataError::ReadFile(error, path) => {
            format!("{field} {}: {}", path.display(), file_words(error))
        }
        LoadDataError::NoBase64DataOrFile => {
            format!("{field} is missing; set it or {field}-data")
        }
    }
}

fn client_words(error: &kube::Error) -> String {
    match error {
        kube::Error::RustlsTls(error) => format!(
            "certificate-authority, client-certificate or client-key cannot be used: {}",
            chain(error)
        ),
        kube::Error::ProxyProtocolDisabled { proxy_url, .. }
        | kube::Error::ProxyProtocolUnsupported { proxy_url } => {
            format!("proxy-url {proxy_url}: Hawser does not support proxies; remove it")
        }
        other => format!("the credentials cannot be used: {}", chain(other)),
    }
}

/// An error with its causes, each said once.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let cause = error.to_string();
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
        next = error.source();
    }
    text
}

#[cfg(test)]
mod tests;
