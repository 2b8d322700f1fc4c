//! Objects in, configuration and verdicts out. Pure and total: no clock, no I/O, no `Result`.
//!
//! Two stages. [`prepare`] judges one object on its own and reduces it to what routing needs. A [`Translator`]
//! keeps all objects together (classes, references, claims, order), so that a change costs what it touches;
//! [`translate`] is the same for all objects at once. Nothing that an object says can hurt another object, except where
//! the rules of precedence say so.

mod annotation;
mod backend;
mod class;
mod defaults;
mod endpoints;
mod fault;
mod fields;
mod headers;
mod host;
mod host_state;
mod ingress;
mod member;
mod path;
mod policy;
mod prepare;
mod translator;
mod uses;
mod verdict;
mod websocket_route;

#[cfg(test)]
mod tests;

use std::{net::IpAddr, time::Duration};

use crate::ir;

pub use endpoints::SERVICE_NAME;
pub use prepare::{Prepared, prepare};
pub use translator::{Delta, Translator};
pub use verdict::{Condition, Verdict};

/// The default of `--controller-name`.
pub const CONTROLLER_NAME: &str = "hawser.dev/ingress-controller";

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
    /// Addresses of this pod. A cluster's endpoints with one of them are refused: requests would come back.
    pub own_addresses: Vec<IpAddr>,
    /// Namespace and name of the Service that has all replicas: its addresses are Hawser's own, too.
    pub peer_service: Option<(String, String)>,
    /// `--drain-window`; `None` = not known, as for files that are only checked. A longer `drain.window` has not the
    /// effect at the end of the process that it seems to have, which is a warning.
    pub drain_window: Option<Duration>,
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
    let mut translator = Translator::new(options.clone());
    let objects = objects.into_iter();
    translator.apply(objects.map(|object| (object.key(), Some(object.clone()))));
    Output {
        config: translator.config(),
        verdicts: translator.verdicts(),
    }
}
