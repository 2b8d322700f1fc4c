//! Hawser: a Kubernetes ingress controller for long-lived connections.
//!
//! ```text
//!   a cluster or a directory                                     clients (browsers, apps)
//!              │ watch                                                  │ TCP, HTTP/1.1
//!              ▼                                                        ▼
//!           source ──► translate ──► table  ◄── one load per request ── proxy ──► upstream ──► endpoints
//!              ▲        pure, total   immutable, swapped whole            │ 101
//!              │           │                                              ▼
//!           status ◄── verdicts                                        tunnel ── registry
//!     (leader only)  one per object                              keeps the Route it was opened with
//! ```
//!
//! Kubernetes stops at `translate`: right of it there is no Kubernetes type, left of it no socket.
//! The allowed arrows between modules are listed in `tests/it/layering.rs`.

pub mod admin;
pub mod api;
pub mod app;
pub mod cli;
pub mod demo;
pub mod ir;
pub mod proxy;
pub mod source;
pub mod table;
pub mod telemetry;
pub mod translate;
pub mod tunnel;
pub mod upstream;
pub mod ws;
