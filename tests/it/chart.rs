//! The Helm chart: what it renders, what it refuses, and what a real API server says to it.

mod bad_values;
mod golden;
mod helm;
mod pods;
mod rights;
mod schema;
mod server;

use crate::kit::control_plane::{ControlPlane, Ran};

/// `helm install RELEASE` of the chart into a namespace, with further arguments. Waits for nothing.
pub(crate) fn installed(
    plane: &ControlPlane,
    release: &str,
    namespace: &str,
    args: &[&str],
) -> Ran {
    let chart = helm::chart();
    let chart = chart.to_str().expect("a path in UTF-8");
    let install = ["install", release, chart, "--namespace", namespace];
    plane.helm(&[&install, args].concat())
}
