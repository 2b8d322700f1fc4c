//! An `IngressClass`.

use k8s_openapi::api::networking::v1::IngressClass;
use serde_json::Value;

use super::{Object, decode, names, problems::Problems, words};

/// Longest name of a controller that Kubernetes takes.
const MAX_CONTROLLER: usize = 250;

pub(super) fn read(manifest: &Value, problems: &mut Problems) -> Option<Object> {
    let class = decode::decode::<IngressClass>(manifest, "", problems)?;
    let controller = class
        .spec
        .as_ref()
        .and_then(|spec| spec.controller.as_deref())
        .unwrap_or_default();
    if controller.is_empty() {
        problems.push(
            "spec.controller",
            "required, but missing, as in hawser.dev/ingress-controller",
        );
    } else if controller.len() > MAX_CONTROLLER || !names::is_domain_prefixed_path(controller) {
        problems.push(
            "spec.controller",
            format!(
                "{} is no name of a controller: write a domain and a path, at most \
                 {MAX_CONTROLLER} characters, as in hawser.dev/ingress-controller",
                words::quote(controller)
            ),
        );
    }
    if let (Some(given), Some(spec)) = (manifest.get("spec"), &class.spec) {
        decode::unknown_fields(given, spec, "spec", problems);
    }
    Some(Object::IngressClass(Box::new(class)))
}
