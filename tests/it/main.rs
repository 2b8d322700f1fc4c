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
    unreachable_pub,
    reason = "a test binary has no API; the kit marks what tests use"
)]

mod cli;
mod documents;
mod handshake;
mod http;
mod interop;
mod kit;
mod layering;
mod live_change;
mod proxy_headers;
mod raw;
mod shutdown;
mod standalone;
mod translate;
