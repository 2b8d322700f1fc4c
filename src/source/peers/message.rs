//! What replicas say to one another, as JSON.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Path of [`News`].
pub(super) const SERVED: &str = "/peer/v1/served";

/// Path of the open tunnels by object.
pub(super) const CONNECTIONS: &str = "/peer/v1/connections";

/// The longest that an answer waits for something to tell, in seconds.
pub(super) const MAX_WAIT: u64 = 20;

/// What a replica serves, or what changed of it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct News {
    /// Another one: the process is another one and cursors start anew.
    pub epoch: String,
    /// Ask with this next time.
    pub cursor: u64,
    /// True: `served` is all that there is.
    pub complete: bool,
    /// UID and generation.
    pub served: Vec<(Arc<str>, i64)>,
    /// UIDs that are served no longer.
    #[serde(default)]
    pub gone: Vec<Arc<str>>,
}
