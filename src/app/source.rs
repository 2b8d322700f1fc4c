//! Where objects come from: opened before any address is bound, watched until the end.

use std::{io, path::PathBuf, sync::Arc};

use tokio_util::sync::CancellationToken;

use super::{StartError, control::Control};
use crate::source::{
    cluster::{self, Cluster, Observed},
    directory,
    rebuild::Rebuild,
};

/// Where objects come from.
#[derive(Debug, Clone)]
pub enum Source {
    /// `--manifests`.
    Directory(PathBuf),
    /// The cluster of a kubeconfig or of the pod.
    Cluster(cluster::Settings, Box<Control>),
}

/// A source that can be watched.
pub(super) enum Opened {
    Directory(PathBuf),
    Cluster {
        cluster: Cluster,
        settings: Box<cluster::Settings>,
        observed: Arc<Observed>,
    },
}

/// Refuses what can never work. An API server that is down is no such thing.
pub(super) async fn open(source: &Source) -> Result<Opened, StartError> {
    match source {
        Source::Directory(path) => {
            check(path)?;
            Ok(Opened::Directory(path.clone()))
        }
        Source::Cluster(settings, _) => Ok(Opened::Cluster {
            cluster: cluster::connect(settings).await?,
            settings: Box::new(settings.clone()),
            observed: Arc::default(),
        }),
    }
}

impl Opened {
    /// Watches until `stop`.
    pub(super) async fn watch(self, rebuild: Rebuild, stop: CancellationToken) {
        match self {
            Self::Directory(path) => directory::watch(&path, rebuild, stop).await,
            Self::Cluster {
                cluster,
                settings,
                observed,
            } => cluster::watch(cluster, *settings, rebuild, observed, stop).await,
        }
    }
}

fn check(path: &PathBuf) -> Result<(), StartError> {
    let reason = match std::fs::read_dir(path) {
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            "no such directory; create it or name another".to_owned()
        }
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            "not a directory; name the directory that holds the files".to_owned()
        }
        Err(error) => error.to_string(),
    };
    Err(StartError::Manifests {
        path: path.display().to_string(),
        reason,
    })
}
