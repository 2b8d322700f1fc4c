//! Identity of an object, cheap to compare.

use std::{
    hash::{BuildHasher as _, Hash, Hasher, RandomState},
    ops::Deref,
    sync::{Arc, LazyLock},
};

use crate::api::ObjectKey;

/// An [`ObjectKey`] with its hash: every change compares all objects of a directory, and reading three strings
/// of each would be most of the work.
#[derive(Debug, Clone)]
pub(super) struct Key {
    hash: u64,
    object: Arc<ObjectKey>,
}

/// Seeded once per process, so that nobody can choose names that collide.
static HASHES: LazyLock<RandomState> = LazyLock::new(RandomState::new);

impl Key {
    pub(super) fn new(object: ObjectKey) -> Self {
        Self {
            hash: HASHES.hash_one(&object),
            object: Arc::new(object),
        }
    }
}

impl Deref for Key {
    type Target = ObjectKey;

    fn deref(&self) -> &ObjectKey {
        &self.object
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash
            && (Arc::ptr_eq(&self.object, &other.object) || self.object == other.object)
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}
