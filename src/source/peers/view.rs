//! What the leader knows of the others.

use std::sync::Arc;

use hashbrown::HashMap;
use tokio::time::Instant;

/// What the leader knows of the other replicas. This process is not in it.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// Every ready replica that is not terminating was asked since this process leads: nothing may be written
    /// before.
    pub complete: bool,
    /// Ready replicas that are not terminating, by name.
    pub replicas: Vec<Replica>,
}

/// Another replica.
#[derive(Debug, Clone)]
pub struct Replica {
    /// Name of its pod.
    pub name: Arc<str>,
    /// Whether it answers.
    pub reached: Reached,
    /// The generation that it serves of each object, by UID. What it said last if it cannot be reached.
    pub served: Arc<HashMap<Arc<str>, i64>>,
    /// Its open tunnels by `Kind/namespace/name`. What it said last if it cannot be reached.
    pub connections: Arc<HashMap<Box<str>, u64>>,
}

/// Whether a replica answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reached {
    /// It answered the last time.
    Yes,
    /// It has not answered since then.
    NoSince(Instant),
}

impl View {
    /// How many do not answer.
    pub(super) fn unreachable(&self) -> usize {
        let lost = |replica: &&Replica| replica.reached != Reached::Yes;
        self.replicas.iter().filter(lost).count()
    }
}
