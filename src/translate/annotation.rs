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
        Annotation::MaxLifetime => policy.timeouts.max_lifetime = duration(value)?,
        Annotation::KeepaliveInterval => policy.keepalive.interval = interval(value)?,
        Annotation::Connections => policy.limits.connections = count(value)?,
        Annotation::ConnectionsPerClient => policy.limits.connections_per_client = count(value)?,
        Annotation::DrainWindow => {
            policy.drain.window = Setting::annotation(time(value, "at once")?.get());
        }
    }
    Ok(())
}

fn time(value: &str, zero: &str) -> Result<api::Duration, String> {
    value
        .parse()
        .map_err(|_| format!("write a duration, as in 30s, 1h30m or 500ms; 0s means {zero}"))
}

fn duration(value: &str) -> Result<Setting<Option<Duration>>, String> {
    Ok(Setting::annotation(time(value, "off")?.enabled()))
}

fn interval(value: &str) -> Result<Setting<Option<Duration>>, String> {
    let interval = duration(value)?;
    if interval.value.is_some_and(|time| time < api::MIN_INTERVAL) {
        return Err(api::MIN_INTERVAL_MESSAGE.to_owned());
    }
    Ok(interval)
}

/// A number of tunnels, as for the fields.
fn count(value: &str) -> Result<Setting<Option<u32>>, String> {
    let digits = value.bytes().all(|byte| byte.is_ascii_digit());
    let number = value.parse().ok().filter(|_| digits);
    match number {
        Some(number) if i64::from(number) <= i64::from(api::MAX_CONNECTIONS) => {
            Ok(Setting::annotation((number > 0).then_some(number)))
        }
        _ => Err(format!(
            "write a whole number from 0 to {}, as in 1000; 0 means off",
            api::MAX_CONNECTIONS
        )),
    }
}

fn known_keys() -> String {
    let names = Annotation::ALL.map(|known| known.key().trim_start_matches(PREFIX));
    names.join(", ")
}

#[cfg(test)]
mod tests;
