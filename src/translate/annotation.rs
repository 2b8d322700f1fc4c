//! Annotations of an Ingress. One that is unknown or has a bad value is a warning, and the default applies.

use std::{collections::BTreeMap, time::Duration};

use super::{
    fault::{Listed, Quoted},
    policy::{self, is_token},
};
use crate::{
    api::{
        self,
        annotations::{Annotation, Class, PREFIX, classify},
    },
    ir::{Policy, Setting, UpgradeMode},
};

/// Most subprotocols of one annotation, as for the field.
const MAX_SUBPROTOCOLS: usize = 16;

/// The policy of all paths of an Ingress.
pub(super) fn policy(
    annotations: Option<&BTreeMap<String, String>>,
    warnings: &mut Listed<String>,
) -> Policy {
    let mut policy = Policy::default();
    let mut response = None;
    let ours = annotations
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| classify(key).map(|class| (key, value.trim(), class)));
    for (key, value, class) in ours {
        let known = match class {
            Class::Known(known) => known,
            Class::NotBuiltYet => {
                warnings.push(format!("annotation {key} has no effect in this version"));
                continue;
            }
            Class::Unknown => {
                warnings.push(format!(
                    "annotation {} is not known and has no effect; known ones: {}",
                    Quoted(key),
                    known_keys()
                ));
                continue;
            }
        };
        if let Err(wrong) = apply(&mut policy, &mut response, known, value) {
            warnings.push(format!(
                "annotation {key} has the bad value {}: {wrong}; the default applies",
                Quoted(value)
            ));
        }
    }
    policy::default_response(&mut policy);
    if let Some(response) = response {
        policy.timeouts.response = response;
    }
    policy
}

fn apply(
    policy: &mut Policy,
    response: &mut Option<Setting<Option<Duration>>>,
    known: Annotation,
    value: &str,
) -> Result<(), String> {
    match known {
        Annotation::Upgrade => {
            let mode = UpgradeMode::ALL
                .into_iter()
                .find(|mode| mode.to_string().eq_ignore_ascii_case(value))
                .ok_or("write Allow, Require, Deny or Ignore")?;
            policy.upgrade.mode = Setting::annotation(mode);
        }
        Annotation::Subprotocols => {
            let names: Vec<String> = value
                .split(',')
                .map(|name| name.trim().to_owned())
                .collect();
            if names.len() > MAX_SUBPROTOCOLS || !names.iter().all(|name| is_token(name)) {
                return Err(format!(
                    "write up to {MAX_SUBPROTOCOLS} subprotocols separated by commas, as in chat.v2, chat.v1"
                ));
            }
            policy.upgrade.subprotocols = Setting::annotation(Some(names.into()));
        }
        Annotation::ConnectTimeout => policy.timeouts.connect = duration(value)?,
        Annotation::HandshakeTimeout => policy.timeouts.handshake = duration(value)?,
        Annotation::ResponseTimeout => *response = Some(duration(value)?),
        Annotation::IdleTimeout => policy.timeouts.idle = duration(value)?,
    }
    Ok(())
}

fn duration(value: &str) -> Result<Setting<Option<Duration>>, String> {
    let duration: api::Duration = value
        .parse()
        .map_err(|_| "write a duration, as in 30s, 1h30m or 500ms; 0s means off")?;
    Ok(Setting::annotation(duration.enabled()))
}

fn known_keys() -> String {
    let names = Annotation::ALL.map(|known| known.key().trim_start_matches(PREFIX));
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::ir::{Origin, defaults};

    fn read(key: &str, value: &str) -> (Policy, Vec<String>) {
        let annotations = BTreeMap::from([(key.to_owned(), value.to_owned())]);
        let mut warnings = Listed::default();
        let policy = policy(Some(&annotations), &mut warnings);
        (policy, warnings.into_lines())
    }

    #[rstest]
    #[case("require")]
    #[case("REQUIRE")]
    #[case(" Require ")]
    fn words_are_read_in_any_case(#[case] value: &str) {
        let (policy, warnings) = read("hawser.dev/upgrade", value);
        assert_eq!(
            policy.upgrade.mode,
            Setting::annotation(UpgradeMode::Require)
        );
        assert!(warnings.is_empty());
    }

    #[rstest]
    #[case("hawser.dev/upgrade", "on")]
    #[case("hawser.dev/subprotocols", "a b")]
    #[case("hawser.dev/subprotocols", "")]
    #[case("hawser.dev/idle-timeout", "-1s")]
    #[case("hawser.dev/response-timeout", "60")]
    #[case("hawser.dev/idel-timeout", "1h")]
    #[case("hawser.dev/cache", "Enabled")]
    fn a_bad_one_is_one_warning_and_the_default(#[case] key: &str, #[case] value: &str) {
        let (read, warnings) = read(key, value);
        assert_eq!(read, Policy::default());
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains(key), "{warnings:?}");
    }

    #[test]
    fn explanations_name_the_same_keys() {
        let explained = crate::ir::ANNOTATIONS.map(|(_, key)| key);
        assert_eq!(explained, Annotation::ALL.map(Annotation::key));
    }

    #[test]
    fn zero_is_off() {
        let (policy, _) = read("hawser.dev/idle-timeout", "0s");
        assert_eq!(policy.timeouts.idle, Setting::annotation(None));
    }

    #[test]
    fn the_mode_moves_the_default_of_the_response_time() {
        let (policy, _) = read("hawser.dev/upgrade", "deny");
        assert_eq!(policy.timeouts.response.value, Some(defaults::RESPONSE));
        assert_eq!(policy.timeouts.response.origin, Origin::Default);
    }

    #[test]
    fn others_keys_are_none_of_our_business() {
        let (_, warnings) = read("nginx.ingress.kubernetes.io/rewrite-target", "/$1");
        assert!(warnings.is_empty());
    }
}
