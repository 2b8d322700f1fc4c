//! Manifests as objects, without asking the schema: translation must cope with what it would refuse.

use hawser::{
    api::Object,
    translate::{Options, Output, Prepared, SourceKind, prepare, translate},
};
use serde_json::Value;

/// Objects and what to translate them with.
pub(super) struct Input {
    pub(super) objects: Vec<Object>,
    pub(super) options: Options,
}

/// The options of `hawser run --manifests` without flags.
pub(super) fn options() -> Options {
    Options {
        controller_name: "hawser.dev/ingress-controller".into(),
        ingress_class: "hawser".into(),
        watch_ingress_without_class: false,
        origin: SourceKind::Directory,
        own_addresses: Vec::new(),
        peer_service: None,
        drain_window: None,
    }
}

/// Reads a multi-document manifest. A document of kind `Options` changes the options.
pub(super) fn read(yaml: &str) -> Input {
    let documents: Vec<Value> = serde_saphyr::from_multiple(yaml).expect("YAML");
    let mut input = Input {
        objects: Vec::new(),
        options: options(),
    };
    for document in documents {
        if document["kind"] == "Options" {
            if document["origin"] == "Cluster" {
                input.options.origin = SourceKind::Cluster;
            }
            input.options.watch_ingress_without_class =
                document["watchIngressWithoutClass"] == true;
            let strings = |field: &str| {
                let values = document[field].as_array().into_iter().flatten();
                values
                    .filter_map(Value::as_str)
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            };
            if let Some(window) = document["drainWindow"].as_str() {
                let window: hawser::api::Duration = window.parse().expect("a duration");
                input.options.drain_window = Some(window.get());
            }
            let own = strings("ownAddresses").into_iter();
            input.options.own_addresses = own.map(|ip| ip.parse().expect("an address")).collect();
            if let [namespace, name] = &*strings("peerService") {
                input.options.peer_service = Some((namespace.clone(), name.clone()));
            }
        } else {
            input.objects.push(object(document));
        }
    }
    input
}

pub(super) fn object(document: Value) -> Object {
    fn typed<T: serde::de::DeserializeOwned>(document: Value) -> T {
        serde_json::from_value(document).expect("object")
    }
    match document["kind"].as_str() {
        Some("WebSocketRoute") => Object::WebSocketRoute(Box::new(typed(document))),
        Some("Ingress") => Object::Ingress(Box::new(typed(document))),
        Some("IngressClass") => Object::IngressClass(Box::new(typed(document))),
        Some("Service") => Object::Service(Box::new(typed(document))),
        Some("EndpointSlice") => Object::EndpointSlice(Box::new(typed(document))),
        other => panic!("kind {other:?}"),
    }
}

/// Both stages.
pub(super) fn run(objects: &[Object], options: &Options) -> Output {
    let prepared: Vec<Prepared> = objects.iter().map(prepare).collect();
    translate(&prepared, options)
}
