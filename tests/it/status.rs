//! What Hawser reports, on a real API server: statuses, addresses and events, and that it reports nothing twice.

mod addresses;
mod conditions;
mod events;
mod hostile;
mod idle;
mod outage;
mod seen;
mod site;

use site::Site;

use crate::kit::{
    control_plane::{ControlPlane, Handle, Shared},
    manifest,
};

static PLANE: Shared = Shared::api();

/// An address of the control plane's host that EndpointSlices may name.
const BACKEND: &str = "10.244.0.1";

/// Somebody else's, beside the default class, which is ours.
const OTHER_CLASSES: &str = "apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: other}
spec: {controller: example.com/other}
---
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: second}
spec: {controller: hawser.dev/second}
";

fn plane() -> Handle {
    let plane = PLANE.get();
    furnish(&plane);
    plane
}

/// Installs what every test needs.
fn furnish(plane: &ControlPlane) {
    plane.install_crd();
    plane.share(manifest::CLASS);
    plane.share(OTHER_CLASSES);
}

/// Text without what differs from run to run: ages, times, the namespace, and how wide columns are because of them.
fn normalised(text: &str, namespace: &str) -> String {
    let lines = text.lines().map(|line| {
        let words = line.replace(namespace, "NAMESPACE");
        let words: Vec<&str> = words.split("  ").map(str::trim).collect();
        let words = words.into_iter().filter(|word| !word.is_empty());
        let mut words: Vec<String> = words.map(plain).collect();
        if let [name, value] = &mut *words
            && ["UID:", "Resource Version:"].contains(&name.as_str())
        {
            "...".clone_into(value);
        }
        let indent = line.len() - line.trim_start().len();
        format!("{:indent$}{}", "", words.join("  "))
    });
    lines.collect::<Vec<_>>().join("\n") + "\n"
}

fn plain(word: &str) -> String {
    let digits = word.trim_end_matches(['s', 'm']);
    let is_age =
        digits.len() < word.len() && digits.chars().all(|c| c.is_ascii_digit() || c == 'm');
    if is_age || word == "<invalid>" || word == "<unknown>" {
        return "AGE".to_owned();
    }
    if word.parse::<jiff::Timestamp>().is_ok() {
        return "TIME".to_owned();
    }
    word.to_owned()
}
