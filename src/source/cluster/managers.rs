//! Who Hawser is to server-side apply.
//!
//! What a field manager applied is its own to take back. Two installs therefore need two names, or each would take
//! the other's statuses for its own: the name has the controller's in it, unless that is the default.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use sha1::{Digest as _, Sha1};

use crate::translate;

/// Longest name of a field manager (`ValidateFieldManager` of the API server).
const MAX_NAME: usize = 128;

/// Manager of conditions and addresses.
pub(in crate::source) const CONDITIONS: &str = "hawser";

/// Manager of counts.
pub(in crate::source) const COUNTS: &str = "hawser-counts";

/// The field managers of one install.
#[derive(Debug, Clone, Default)]
pub(in crate::source) struct Managers {
    /// What stands behind the names above.
    suffix: String,
}

impl Managers {
    /// Of the install with this `--controller-name`.
    pub(in crate::source) fn of(controller: &str) -> Self {
        if controller == translate::CONTROLLER_NAME {
            return Self::default();
        }
        let room = MAX_NAME - COUNTS.len() - 1;
        let name = if controller.len() <= room {
            controller.to_owned()
        } else {
            BASE64_URL_SAFE_NO_PAD.encode(Sha1::digest(controller))
        };
        Self {
            suffix: format!("@{name}"),
        }
    }

    /// The whole name of [`CONDITIONS`] or [`COUNTS`].
    pub(in crate::source) fn name(&self, manager: &str) -> String {
        format!("{manager}{}", self.suffix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_controller_has_its_own() {
        let default = Managers::of("hawser.dev/ingress-controller");
        assert_eq!(default.name(CONDITIONS), "hawser");
        let inside = Managers::of("hawser.dev/inside");
        assert_eq!(inside.name(COUNTS), "hawser-counts@hawser.dev/inside");
        let long = ["a", "b"].map(|end| format!("hawser.dev/{}{end}", "x".repeat(238)));
        let names = long.map(|name| Managers::of(&name).name(COUNTS));
        assert_ne!(names[0], names[1]);
        assert!(names[0].len() <= MAX_NAME);
    }
}
