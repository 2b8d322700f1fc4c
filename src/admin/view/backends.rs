//! `/api/v1/backends`: Services with their endpoints.

use std::io;

use serde::Serialize;

use super::{super::State, write};
use crate::{ir, upstream};

#[derive(Serialize)]
struct Backend {
    #[serde(flatten)]
    id: ir::BackendId,
    endpoints: Vec<Endpoint>,
}

#[derive(Serialize)]
struct Endpoint {
    #[serde(flatten)]
    state: ir::Endpoint,
    /// Open ones, those of removed routes included.
    tunnels: usize,
}

impl Endpoint {
    fn new(endpoint: &upstream::Endpoint) -> Self {
        Self {
            state: endpoint.state(),
            tunnels: endpoint.tunnels(),
        }
    }
}

/// Writes the view: an array in the order of the names.
pub(in super::super) fn backends(state: &State, out: &mut dyn io::Write) -> io::Result<()> {
    let mut backends = state.backends.list();
    backends.sort_by(|one, other| one.id().cmp(other.id()));
    let view = super::Seq(|| {
        backends.iter().map(|backend| Backend {
            id: backend.id().clone(),
            endpoints: backend
                .endpoints()
                .iter()
                .map(|endpoint| Endpoint::new(endpoint))
                .collect(),
        })
    });
    write(out, &view)
}
