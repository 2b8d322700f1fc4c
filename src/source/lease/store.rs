//! Reading and writing the one Lease.

use std::future::Future;

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, api::PostParams};

/// Why a Lease was not read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum StoreError {
    /// It does not exist, or its namespace does not.
    #[error("not found: {0}")]
    NotFound(String),
    /// Somebody else was faster.
    #[error("changed by another")]
    Conflict,
    /// No right to do it.
    #[error("forbidden: {0}")]
    Forbidden(String),
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

/// Where the Lease is: the API server, or a test's idea of one.
pub(super) trait Store: Send + Sync {
    /// Reads it.
    fn get(&self) -> impl Future<Output = Result<Lease, StoreError>> + Send;
    /// Makes it.
    fn create(&self, lease: Lease) -> impl Future<Output = Result<Lease, StoreError>> + Send;
    /// Replaces it, if it still has the resource version that `lease` names.
    fn replace(&self, lease: Lease) -> impl Future<Output = Result<Lease, StoreError>> + Send;
}

/// The Lease of an API server.
pub(super) struct Remote {
    /// Leases of its namespace.
    pub api: Api<Lease>,
    /// Its name.
    pub name: String,
}

impl Store for Remote {
    async fn get(&self) -> Result<Lease, StoreError> {
        self.api.get(&self.name).await.map_err(told)
    }

    async fn create(&self, lease: Lease) -> Result<Lease, StoreError> {
        let made = self.api.create(&PostParams::default(), &lease).await;
        made.map_err(told)
    }

    async fn replace(&self, lease: Lease) -> Result<Lease, StoreError> {
        let params = PostParams::default();
        let made = self.api.replace(&self.name, &params, &lease).await;
        made.map_err(told)
    }
}

fn told(error: kube::Error) -> StoreError {
    match error {
        kube::Error::Api(status) => match status.code {
            404 => StoreError::NotFound(status.message.clone()),
            409 => StoreError::Conflict,
            403 => StoreError::Forbidden(status.message.clone()),
            code => StoreError::Failed(format!("{code}: {}", status.message)),
        },
        error => StoreError::Failed(error.to_string()),
    }
}
