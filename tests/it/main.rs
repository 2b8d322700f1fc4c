//! The integration tests: one binary, one file per subject, real parts.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::unreachable,
    reason = "a test may panic: that is how it fails"
)]
#![allow(clippy::disallowed_types, reason = "deadlines of tests are real time")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "numbers of tests are small"
)]
#![allow(
    clippy::too_many_lines,
    clippy::format_push_string,
    reason = "a test reads from top to bottom, and tables are long"
)]
#![allow(
    unreachable_pub,
    reason = "a test binary has no API; the kit marks what tests use"
)]

mod access_log;
mod chart;
mod cli;
mod cluster;
mod control_plane;
mod crd;
mod documents;
mod faults;
mod frames;
mod goodbye;
mod handover;
mod handshake;
mod http;
mod http2;
mod image;
mod install;
mod interop;
mod kit;
mod layering;
mod leadership;
mod live_change;
mod node;
mod orders;
mod proxy_headers;
mod raw;
mod replicas;
mod shutdown;
mod soak;
mod standalone;
mod status;
mod translate;
