//! Backends and the way to them. A `Backend`'s identity outlives tables: its counts, pools and rotation survive
//! every change.

mod backend;
mod connect;
mod pool;
mod registry;

pub use backend::{Backend, Endpoint, Standing, TunnelGuard};
pub use connect::{ConnectError, ConnectErrorKind, USER_TIMEOUT, connect, keepalive};
pub use pool::{AnswerBody, Pool, PoolError};
pub use registry::Registry;
