//! The environment of a container.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVarSource, Pod, Secret};
use kube::{Api, Client, ResourceExt};

use super::super::control_plane::{ADDRESS, PORT};

/// Names and values; an error says what is missing.
pub(super) async fn of(
    client: &Client,
    pod: &Pod,
    container: &Container,
    address: &str,
) -> Result<BTreeMap<String, String>, String> {
    let namespace = pod.namespace().unwrap_or_default();
    let mut env = BTreeMap::from(
        [
            (
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            ),
            ("HOME", "/"),
            ("HOSTNAME", &pod.name_any()),
            ("KUBERNETES_SERVICE_HOST", ADDRESS),
            ("KUBERNETES_SERVICE_PORT", &PORT.to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    for from in container.env_from.iter().flatten() {
        let prefix = from.prefix.clone().unwrap_or_default();
        let values = if let Some(source) = &from.config_map_ref {
            config_map(client, &namespace, &source.name, source.optional).await?
        } else if let Some(source) = &from.secret_ref {
            secret(client, &namespace, &source.name, source.optional).await?
        } else {
            continue;
        };
        env.extend(values.into_iter().map(|(key, value)| {
            let value = String::from_utf8_lossy(&value).into_owned();
            (format!("{prefix}{key}"), value)
        }));
    }
    for variable in container.env.iter().flatten() {
        let value = match &variable.value_from {
            None => Some(expand(variable.value.as_deref().unwrap_or_default(), &env)),
            Some(source) => from(client, pod, container, address, source).await?,
        };
        env.extend(value.map(|value| (variable.name.clone(), value)));
    }
    Ok(env)
}

async fn from(
    client: &Client,
    pod: &Pod,
    container: &Container,
    address: &str,
    source: &EnvVarSource,
) -> Result<Option<String>, String> {
    let namespace = pod.namespace().unwrap_or_default();
    if let Some(field) = &source.field_ref {
        return self::field(pod, address, &field.field_path).map(Some);
    }
    if let Some(resource) = &source.resource_field_ref {
        return Ok(Some(self::resource(container, &resource.resource)));
    }
    let (values, key, optional) = if let Some(source) = &source.secret_key_ref {
        let values = secret(client, &namespace, &source.name, source.optional).await?;
        (values, &source.key, source.optional)
    } else if let Some(source) = &source.config_map_key_ref {
        let values = config_map(client, &namespace, &source.name, source.optional).await?;
        (values, &source.key, source.optional)
    } else {
        return Err("this source of a variable is not supported".to_owned());
    };
    match values.get(key) {
        Some(value) => Ok(Some(String::from_utf8_lossy(value).into_owned())),
        None if optional == Some(true) => Ok(None),
        None => Err(format!("there is no key {key}")),
    }
}

/// A field of the Pod, as `fieldRef` names it.
pub(super) fn field(pod: &Pod, address: &str, path: &str) -> Result<String, String> {
    let spec = pod.spec.clone().unwrap_or_default();
    let entry = |prefix: &str, map: &BTreeMap<String, String>| {
        let key = path.strip_prefix(prefix)?.strip_suffix("']")?;
        Some(map.get(key).cloned().unwrap_or_default())
    };
    Ok(match path {
        "metadata.name" => pod.name_any(),
        "metadata.namespace" => pod.namespace().unwrap_or_default(),
        "metadata.uid" => pod.uid().unwrap_or_default(),
        "metadata.labels" => lines(pod.labels()),
        "metadata.annotations" => lines(pod.annotations()),
        "spec.nodeName" => spec.node_name.unwrap_or_default(),
        "spec.serviceAccountName" => spec.service_account_name.unwrap_or_default(),
        "status.podIP" | "status.podIPs" => address.to_owned(),
        "status.hostIP" | "status.hostIPs" => ADDRESS.to_owned(),
        _ => entry("metadata.labels['", pod.labels())
            .or_else(|| entry("metadata.annotations['", pod.annotations()))
            .ok_or_else(|| format!("the field {path} is not supported"))?,
    })
}

fn lines(map: &BTreeMap<String, String>) -> String {
    let lines: Vec<String> = map
        .iter()
        .map(|(key, value)| format!("{key}={value:?}"))
        .collect();
    lines.join("\n")
}

/// A limit or request in whole units (CPUs rounded up, bytes), 0 without one.
pub(super) fn resource(container: &Container, name: &str) -> String {
    let resources = container.resources.clone().unwrap_or_default();
    let (kind, name) = name.split_once('.').unwrap_or(("limits", name));
    let map = if kind == "limits" {
        resources.limits
    } else {
        resources.requests
    };
    let text = map
        .and_then(|mut map| map.remove(name))
        .map(|quantity| quantity.0)
        .unwrap_or_default();
    let units = [
        ("Ki", 1_f64 * 1024.0),
        ("Mi", 1024.0 * 1024.0),
        ("Gi", 1024.0 * 1024.0 * 1024.0),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("m", 1e-3),
    ];
    let (number, unit) = units
        .iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)))
        .unwrap_or((&text, 1.0));
    let value = number.parse::<f64>().unwrap_or(0.0) * unit;
    format!("{}", value.ceil())
}

/// Replaces `$(NAME)` by the value; `$$` is one `$`, unknown names stay.
pub(super) fn expand(text: &str, env: &BTreeMap<String, String>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out += &rest[..at];
        rest = &rest[at..];
        let reference = rest
            .strip_prefix("$(")
            .and_then(|name| name.split_once(')'));
        if let Some(after) = rest.strip_prefix("$$") {
            out.push('$');
            rest = after;
        } else if let Some((value, after)) =
            reference.and_then(|(name, after)| Some((env.get(name)?, after)))
        {
            out += value;
            rest = after;
        } else {
            out.push('$');
            rest = &rest[1..];
        }
    }
    out + rest
}

type Values = BTreeMap<String, Vec<u8>>;

/// All entries of a `ConfigMap`.
pub(super) async fn config_map(
    client: &Client,
    namespace: &str,
    name: &str,
    optional: Option<bool>,
) -> Result<Values, String> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    match api.get_opt(name).await {
        Ok(Some(map)) => {
            let text = map.data.unwrap_or_default().into_iter();
            let binary = map.binary_data.unwrap_or_default().into_iter();
            let text = text.map(|(key, value)| (key, value.into_bytes()));
            Ok(text
                .chain(binary.map(|(key, value)| (key, value.0)))
                .collect())
        }
        Ok(None) if optional == Some(true) => Ok(Values::new()),
        Ok(None) => Err(format!("configmap {name:?} not found")),
        Err(error) => Err(error.to_string()),
    }
}

/// All entries of a Secret.
pub(super) async fn secret(
    client: &Client,
    namespace: &str,
    name: &str,
    optional: Option<bool>,
) -> Result<Values, String> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    match api.get_opt(name).await {
        Ok(Some(secret)) => {
            let data = secret.data.unwrap_or_default().into_iter();
            Ok(data.map(|(key, value)| (key, value.0)).collect())
        }
        Ok(None) if optional == Some(true) => Ok(Values::new()),
        Ok(None) => Err(format!("secret {name:?} not found")),
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn references_are_expanded() {
    let env = BTreeMap::from([("A".to_owned(), "1".to_owned())]);
    assert_eq!(expand("x$(A)y$$(A)$(B)$", &env), "x1y$(A)$(B)$");
}
