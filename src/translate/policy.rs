//! Policies with every default applied. Most routes set nothing: they share one.

use std::sync::{Arc, LazyLock};

use crate::ir::{Extensions, PingTarget, Policy, Reaction, Setting, UpgradeMode};

/// The default of `timeouts.response` depends on whether upgrades are allowed; called once the mode is
/// known.
pub(super) fn default_response(policy: &mut Policy) {
    let mode = policy.upgrade.mode.value;
    policy.timeouts.response = Setting::default(Some(mode.default_response()));
}

/// One allocation for all routes that set nothing.
pub(super) fn share(policy: Policy) -> Arc<Policy> {
    static UNSET: LazyLock<Arc<Policy>> = LazyLock::new(Arc::default);
    if policy == **UNSET {
        Arc::clone(&UNSET)
    } else {
        Arc::new(policy)
    }
}

impl From<crate::api::UpgradeMode> for UpgradeMode {
    fn from(mode: crate::api::UpgradeMode) -> Self {
        match mode {
            crate::api::UpgradeMode::Allow => Self::Allow,
            crate::api::UpgradeMode::Require => Self::Require,
            crate::api::UpgradeMode::Deny => Self::Deny,
            crate::api::UpgradeMode::Ignore => Self::Ignore,
        }
    }
}

impl From<crate::api::Extensions> for Extensions {
    fn from(extensions: crate::api::Extensions) -> Self {
        match extensions {
            crate::api::Extensions::Allow => Self::Allow,
            crate::api::Extensions::Strip => Self::Strip,
        }
    }
}

impl From<crate::api::PingTarget> for PingTarget {
    fn from(target: crate::api::PingTarget) -> Self {
        match target {
            crate::api::PingTarget::Client => Self::Client,
            crate::api::PingTarget::Backend => Self::Backend,
            crate::api::PingTarget::Both => Self::Both,
        }
    }
}

impl From<crate::api::Reaction> for Reaction {
    fn from(reaction: crate::api::Reaction) -> Self {
        match reaction {
            crate::api::Reaction::Drain => Self::Drain,
            crate::api::Reaction::Keep => Self::Keep,
            crate::api::Reaction::Close => Self::Close,
        }
    }
}

/// A subprotocol is a token (RFC 6455 section 4.1), a header name as well (RFC 9110 section 5.1).
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::defaults;

    #[test]
    fn routes_that_set_nothing_share_one_policy() {
        assert!(Arc::ptr_eq(
            &share(Policy::default()),
            &share(Policy::default())
        ));
    }

    #[test]
    fn the_default_response_time_depends_on_upgrades() {
        let mut policy = Policy::default();
        assert_eq!(
            policy.timeouts.response.value,
            Some(defaults::RESPONSE_WITH_UPGRADES)
        );
        policy.upgrade.mode = Setting::field(UpgradeMode::Deny);
        default_response(&mut policy);
        assert_eq!(policy.timeouts.response.value, Some(defaults::RESPONSE));
    }

    #[test]
    fn tokens() {
        assert!(is_token("chat.v2"));
        assert!(!is_token(""));
        assert!(!is_token("a b"));
        assert!(!is_token("a,b"));
        assert!(!is_token("a\r\nb"));
    }
}
