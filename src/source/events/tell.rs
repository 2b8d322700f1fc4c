//! Something to tell about an object.

use std::sync::Arc;

use k8s_openapi::api::core::v1::ObjectReference;
use sha1::{Digest as _, Sha1};

use crate::{api::ObjectKey, ir::ObjectVersion};

/// Longest name of an object in the API.
const MAX_NAME: usize = 253;

/// Digits of the hash in the name of an event.
const HASH: usize = 16;

/// Something to tell about an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Telling {
    /// About what.
    pub(super) regarding: Regarding,
    /// `Warning`, else `Normal`.
    pub(super) warning: bool,
    /// One word.
    pub(super) reason: &'static str,
    /// For people.
    pub(super) note: String,
}

/// The object that something is told about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Regarding {
    /// An object that routes.
    Route {
        key: ObjectKey,
        version: ObjectVersion,
    },
    /// The Lease of the leader. Its UID is looked up when there is something to tell.
    Lease { namespace: Arc<str>, name: Arc<str> },
}

impl Regarding {
    pub(super) fn namespace(&self) -> &str {
        match self {
            Self::Route { key, .. } => &key.namespace,
            Self::Lease { namespace, .. } => namespace,
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::Route { key, .. } => &key.name,
            Self::Lease { name, .. } => name,
        }
    }

    /// As the API has it. `kubectl describe` finds events by kind, name and UID.
    pub(super) fn reference(&self, lease_uid: Option<String>) -> ObjectReference {
        let (api_version, kind, uid) = match self {
            Self::Route { key, version } => {
                let api_version = match &*key.kind {
                    "Ingress" => "networking.k8s.io/v1",
                    _ => "hawser.dev/v1alpha1",
                };
                let uid = (!version.uid.is_empty()).then(|| version.uid.to_string());
                (api_version, key.kind.as_str(), uid)
            }
            Self::Lease { .. } => ("coordination.k8s.io/v1", "Lease", lease_uid),
        };
        ObjectReference {
            api_version: Some(api_version.to_owned()),
            kind: Some(kind.to_owned()),
            name: Some(self.name().to_owned()),
            namespace: Some(self.namespace().to_owned()),
            uid,
            ..ObjectReference::default()
        }
    }
}

impl Telling {
    /// The same for the same telling in every process and at every time, so that the API server itself knows what
    /// was told.
    pub(super) fn name(&self) -> String {
        let uid = match &self.regarding {
            Regarding::Route { version, .. } => &*version.uid,
            Regarding::Lease { .. } => "",
        };
        let mut hash = Sha1::new();
        for part in [uid, self.reason, &self.note] {
            hash.update(part);
            hash.update([0]);
        }
        let digest = hash.finalize();
        let number = digest
            .iter()
            .take(HASH / 2)
            .fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        let digits = format!("{number:0HASH$x}");
        // Names of objects are ASCII.
        let name = self.regarding.name();
        let start = name
            .get(..name.len().min(MAX_NAME - HASH - 1))
            .unwrap_or_default();
        let start = start.trim_end_matches(['-', '.']);
        format!("{start}.{digits}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn telling(name: &str, note: &str) -> Telling {
        Telling {
            regarding: Regarding::Route {
                key: ObjectKey {
                    kind: "Ingress".to_owned(),
                    namespace: "team".to_owned(),
                    name: name.to_owned(),
                },
                version: ObjectVersion {
                    uid: "1-2".into(),
                    generation: 3,
                },
            },
            warning: true,
            reason: "InvalidSpec",
            note: note.to_owned(),
        }
    }

    #[test]
    fn the_same_telling_has_the_same_name_everywhere() {
        // A change of this name makes every installation tell everything again.
        assert_eq!(telling("chat", "bad").name(), "chat.19fef7ae70291c84");
        assert_ne!(
            telling("chat", "bad").name(),
            telling("chat", "worse").name()
        );
    }

    #[test]
    fn a_long_name_is_cut() {
        let long = telling(&format!("{}.{}", "a".repeat(235), "b".repeat(17)), "bad").name();
        assert_eq!(long.len(), 235 + 1 + HASH);
        assert!(long.starts_with(&format!("{}.", "a".repeat(235))));
    }
}
