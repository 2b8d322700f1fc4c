//! Logs, metrics and access lines. Used by everything that runs; knows only `ir`.
pub mod access;
pub mod log;
pub mod metrics;
