//! Fields of a `WebSocketRoute` rule to a policy.

use std::{fmt::Display, time::Duration};

use super::{
    fault::{Fault, Quoted},
    headers, host, path,
    policy::{self, is_token},
};
use crate::{
    api::{self, MAX_BYTES, MAX_CONNECTIONS, MAX_MESSAGES_PER_SECOND},
    ir::{
        ConnectionsStatus, Drain, Keepalive, Limits, Policy, Rewrite, Setting, Timeouts, Upgrade,
    },
};

/// The policy of a rule; `field` is the path of the rule.
pub(super) fn policy(field: &str, rule: &api::RouteRule) -> Result<Policy, Fault> {
    let mut policy = Policy::default();
    upgrade(
        &format!("{field}.upgrade"),
        &rule.upgrade,
        &mut policy.upgrade,
    )?;
    if rule.upgrade.mode.is_some() {
        policy::default_response(&mut policy);
    }
    timeouts(&rule.timeouts, &mut policy.timeouts);
    keepalive(
        &format!("{field}.keepalive"),
        &rule.keepalive,
        &mut policy.keepalive,
    )?;
    limits(&format!("{field}.limits"), &rule.limits, &mut policy.limits)?;
    drain(&format!("{field}.drain"), &rule.drain, &mut policy.drain)?;
    policy.headers = headers::rules(&format!("{field}.headers"), &rule.headers)?;
    policy.rewrite = rewrite(&format!("{field}.rewrite"), &rule.rewrite)?;
    Ok(policy)
}

/// Takes over what is written.
fn set<F: Into<T>, T>(setting: &mut Setting<T>, field: Option<F>) {
    if let Some(value) = field {
        *setting = Setting::field(value.into());
    }
}

/// The same for a time of which `0s` means off.
fn set_time(setting: &mut Setting<Option<Duration>>, field: Option<api::Duration>) {
    set(setting, field.map(api::Duration::enabled));
}

/// The same for a number of which 0 means off, and `most` is the largest.
fn set_number<F, T>(
    setting: &mut Setting<Option<T>>,
    path: &str,
    name: &str,
    field: Option<F>,
    most: F,
) -> Result<(), Fault>
where
    F: PartialOrd + Display + Copy,
    T: TryFrom<F> + Default + PartialEq,
{
    let Some(number) = field else { return Ok(()) };
    if number > most {
        return Err(Fault::invalid(
            format!("{path}.{name}"),
            format!("it is more than {most}; 0 means off"),
        ));
    }
    let number = T::try_from(number)
        .map_err(|_| Fault::invalid(format!("{path}.{name}"), "it is negative; 0 means off"))?;
    *setting = Setting::field((number != T::default()).then_some(number));
    Ok(())
}

fn upgrade(path: &str, fields: &api::Upgrade, upgrade: &mut Upgrade) -> Result<(), Fault> {
    set(&mut upgrade.mode, fields.mode);
    set(&mut upgrade.extensions, fields.extensions);
    let subprotocols = &fields.subprotocols;
    if let Some(bad) = subprotocols.iter().position(|name| !is_token(name)) {
        return Err(Fault::invalid(
            format!("{path}.subprotocols[{bad}]"),
            "it is no token (RFC 6455 section 4.1), as in chat.v2",
        ));
    }
    if !subprotocols.is_empty() {
        upgrade.subprotocols = Setting::field(Some(subprotocols.as_slice().into()));
    }
    let (message, frame) = (&mut upgrade.max_message_bytes, &mut upgrade.max_frame_bytes);
    set_number(
        message,
        path,
        "maxMessageBytes",
        fields.max_message_bytes,
        MAX_BYTES,
    )?;
    set_number(
        frame,
        path,
        "maxFrameBytes",
        fields.max_frame_bytes,
        MAX_BYTES,
    )?;
    if let (Some(message), Some(frame)) = (message.value, frame.value)
        && frame > message
    {
        return Err(Fault::invalid(
            format!("{path}.maxFrameBytes"),
            api::FRAME_OVER_MESSAGE,
        ));
    }
    set(&mut upgrade.strict, fields.strict);
    Ok(())
}

fn timeouts(fields: &api::Timeouts, timeouts: &mut Timeouts) {
    set_time(&mut timeouts.connect, fields.connect);
    set_time(&mut timeouts.handshake, fields.handshake);
    set_time(&mut timeouts.response, fields.response);
    set_time(&mut timeouts.idle, fields.idle);
    set_time(&mut timeouts.max_lifetime, fields.max_lifetime);
}

fn keepalive(path: &str, fields: &api::Keepalive, keepalive: &mut Keepalive) -> Result<(), Fault> {
    if fields
        .interval
        .and_then(api::Duration::enabled)
        .is_some_and(|interval| interval < api::MIN_INTERVAL)
    {
        return Err(Fault::invalid(
            format!("{path}.interval"),
            api::MIN_INTERVAL_MESSAGE,
        ));
    }
    set_time(&mut keepalive.interval, fields.interval);
    set_time(&mut keepalive.timeout, fields.timeout);
    set(&mut keepalive.target, fields.target);
    Ok(())
}

fn limits(path: &str, fields: &api::Limits, limits: &mut Limits) -> Result<(), Fault> {
    set_number(
        &mut limits.connections,
        path,
        "connections",
        fields.connections,
        MAX_CONNECTIONS,
    )?;
    set_number(
        &mut limits.connections_per_client,
        path,
        "connectionsPerClient",
        fields.connections_per_client,
        MAX_CONNECTIONS,
    )?;
    if let Some(status) = fields.connections_status {
        limits.connections_status = Setting::field(match status {
            503 => ConnectionsStatus::ServiceUnavailable,
            429 => ConnectionsStatus::TooManyRequests,
            _ => {
                return Err(Fault::invalid(
                    format!("{path}.connectionsStatus"),
                    "write 503 or 429",
                ));
            }
        });
    }
    set_number(
        &mut limits.messages_per_second,
        path,
        "messagesPerSecond",
        fields.messages_per_second,
        MAX_MESSAGES_PER_SECOND,
    )?;
    set_number(
        &mut limits.bytes_per_second,
        path,
        "bytesPerSecond",
        fields.bytes_per_second,
        MAX_BYTES,
    )?;
    set_time(&mut limits.write_stall, fields.write_stall);
    Ok(())
}

fn drain(path: &str, fields: &api::Drain, drain: &mut Drain) -> Result<(), Fault> {
    set(&mut drain.window, fields.window.map(api::Duration::get));
    set(
        &mut drain.backend_grace,
        fields.backend_grace.map(api::Duration::get),
    );
    if let Some(code) = fields.code {
        let known = u16::try_from(code)
            .ok()
            .filter(|_| api::is_drain_code(code));
        let code =
            known.ok_or_else(|| Fault::invalid(format!("{path}.code"), api::DRAIN_CODE_MESSAGE))?;
        drain.code = Setting::field(code);
    }
    set(
        &mut drain.on_backend_terminating,
        fields.on_backend_terminating,
    );
    set(&mut drain.on_backend_removed, fields.on_backend_removed);
    set(&mut drain.on_route_removed, fields.on_route_removed);
    Ok(())
}

fn rewrite(path: &str, rewrite: &api::Rewrite) -> Result<Rewrite, Fault> {
    let prefix = rewrite.prefix.as_deref().map(|raw| {
        path::literal(raw).map_err(|problem| {
            Fault::invalid(
                format!("{path}.prefix"),
                format_args!("{}: {problem}", Quoted(raw)),
            )
        })
    });
    let hostname = rewrite.hostname.as_deref().map(|raw| {
        host::name(raw).map_err(|problem| {
            Fault::invalid(
                format!("{path}.hostname"),
                format_args!("{}: {problem}", Quoted(raw)),
            )
        })
    });
    Ok(Rewrite {
        prefix: prefix.transpose()?,
        hostname: hostname.transpose()?,
    })
}
