//! Logs, metrics and access lines. Used by everything that runs; knows only `ir`.
pub mod access;
pub mod address;
pub mod batch;
mod fields;
mod json;
pub mod log;
pub mod metrics;
mod request_id;

pub use request_id::RequestId;
