//! Objects in, configuration and verdicts out. Pure and total: no clock, no I/O, no `Result`.
//!
//! Two stages. [`prepare`] judges one object on its own and reduces it to what routing needs; sources keep
//! the result, so a change costs what changed. [`translate`] puts all objects together: classes,
//! references, claims, order. Nothing that an object says can hurt another object, except where the
//! rules of precedence say so.

mod annotation;
mod assemble;
mod backend;
mod claim;
mod class;
mod endpoints;
mod fault;
mod headers;
mod host;
mod ingress;
mod inputs;
mod judge;
mod path;
mod policy;
mod prepare;
mod verdict;
mod websocket_route;

#[cfg(test)]
mod tests;

use crate::ir;

pub use prepare::{Prepared, prepare};
pub use verdict::{Condition, Verdict};

/// What translation must know besides the objects.
#[derive(Debug, Clone)]
pub struct Options {
    /// `--controller-name`.
    pub controller_name: String,
    /// `--ingress-class`.
    pub ingress_class: String,
    /// `--watch-ingress-without-class`.
    pub watch_ingress_without_class: bool,
    /// Where the objects come from.
    pub origin: SourceKind,
}

/// Where objects come from: some Ingress rules differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceKind {
    /// Files: no admission ran, loopback endpoints are fine.
    Directory,
    /// An API server.
    Cluster,
}

/// The result.
#[derive(Debug, Clone)]
pub struct Output {
    /// What to serve.
    pub config: ir::Config,
    /// One per input object that can be judged (WebSocketRoute, Ingress), in total order.
    pub verdicts: Vec<Verdict>,
}

/// Translates all objects together. The order of `objects` has no influence. Each object is expected once;
/// of two with the same kind, namespace and name the caller chooses.
pub fn translate<'a>(objects: impl IntoIterator<Item = &'a Prepared>, options: &Options) -> Output {
    let inputs = inputs::Inputs::new(objects, options);
    let backends = backend::Backends::new(&inputs, options.origin);
    let mut judged = judge::judge(&inputs, &backends);
    let config = assemble::assemble(&mut judged, &backends);
    Output {
        config,
        verdicts: verdict::verdicts(&inputs, judged),
    }
}
