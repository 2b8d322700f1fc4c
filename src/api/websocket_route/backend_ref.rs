//! Where requests go.

use std::{borrow::Cow, fmt};

use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::api::patterns;

/// A port of a Service with its share of the requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct BackendRef {
    /// Name of a Service in the namespace of the route, for example `chat`.
    #[schemars(length(min = 1, max = 63), regex(pattern = patterns::SERVICE.regex))]
    pub name: String,

    /// Port of the Service: its number, for example 8080, or its name, for example `http`.
    pub port: BackendPort,

    /// Share of the requests in proportion to the sum of all weights of the rule, 0 to 1000000. With 0 the
    /// Service gets none. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub weight: Option<i32>,
}

/// Number or name of a Service port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum BackendPort {
    /// 1 to 65535.
    Number(u16),
    /// The name of a port.
    Name(String),
}

impl fmt::Display for BackendPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl JsonSchema for BackendPort {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "BackendPort".into()
    }

    // The bounds hold for numbers, pattern and length for text.
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "minimum": 1,
            "maximum": 65535,
            "maxLength": 63,
            "pattern": patterns::PORT_NAME.regex,
        })
    }
}
