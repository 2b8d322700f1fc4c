//! What a request must look like to be taken by a rule.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::{headers::MAX_NAME_LENGTH, patterns};

/// A match: path and all headers and all query parameters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RouteMatch {
    /// The path. Default: Prefix `/`, which is every path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathMatch>,

    /// Header fields that the request must have, all of them, at most 16, for example
    /// `[{name: x-tenant, value: a}]`. Default: any request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub headers: Vec<HeaderMatch>,

    /// Query parameters that the request must have, all of them, at most 16, for example
    /// `[{name: v, value: "2"}]`. Default: any request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub query_params: Vec<QueryParamMatch>,
}

/// A path and how it is compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("self.type == 'Regex' || self.value.startsWith('/')")
        .message("an Exact or Prefix path starts with '/', as in /ws")
        .field_path(".value"),
    validation = Rule::new("self.type == 'Regex' || !self.value.contains('?')")
        .message("an Exact or Prefix path has no query: put it into queryParams")
        .field_path(".value"),
    validation = Rule::new(
        "self.type == 'Regex' || !(self.value.contains('[') || self.value.contains(']') \
         || self.value.contains('{') || self.value.contains('}') || self.value.contains('|') \
         || self.value.contains('^') || self.value.contains('\\\\'))"
    )
    .message(
        "an Exact or Prefix path has only what a URL path may have: percent-encode the rest, \
         or set type to Regex"
    )
    .field_path(".value"),
    validation = Rule::new("self.type == 'Regex' || !self.value.contains('//')")
        .message("an Exact or Prefix path has no '//': requests are compared without empty segments")
        .field_path(".value"),
    validation = Rule::new(
        "self.type == 'Regex' || !(self.value.contains('/./') || self.value.endsWith('/.'))"
    )
    .message("an Exact or Prefix path has no '.' segment")
    .field_path(".value"),
    validation = Rule::new(
        "self.type == 'Regex' || !(self.value.contains('/../') || self.value.endsWith('/..'))"
    )
    .message("an Exact or Prefix path has no '..' segment")
    .field_path(".value"),
    validation = Rule::new(
        "self.type == 'Regex' || !(self.value.contains('%2f') || self.value.contains('%2F'))"
    )
    .message("an Exact or Prefix path has no encoded slash (%2f)")
    .field_path(".value")
)]
pub struct PathMatch {
    /// How the path is compared, always with regard to case. Exact: the whole path. Prefix: element by element,
    /// so `/ws` takes `/ws`, `/ws/` and `/ws/room` but not `/wsx`. Regex: a regular expression (RE2 syntax,
    /// linear time) that must match the whole path. Default: Prefix.
    #[serde(rename = "type", default)]
    pub type_: PathMatchType,

    /// The path or the expression, at most 1024 visible ASCII characters but `"`, `#`, `<`, `>` and the
    /// backtick, for example `/ws`. An Exact or Prefix
    /// path starts with `/`, has no query, and no `//`, `.` or `..` segment or encoded slash.
    #[schemars(length(min = 1, max = 1024), regex(pattern = patterns::PATH_OR_REGEX.regex))]
    pub value: String,
}

/// How a path is compared.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
pub enum PathMatchType {
    /// The whole path.
    Exact,
    /// Element by element.
    #[default]
    Prefix,
    /// A regular expression that must match the whole path.
    Regex,
}

/// A header field that must be there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct HeaderMatch {
    /// Name of the header, compared without regard to case, at most 256 characters, for example `x-tenant`.
    #[schemars(length(min = 1, max = MAX_NAME_LENGTH), regex(pattern = patterns::TOKEN.regex))]
    pub name: String,

    /// The exact value, compared with regard to case, at most 1024 visible ASCII characters, spaces and tabs.
    #[schemars(length(min = 1, max = 1024), regex(pattern = patterns::FIELD_VALUE.regex))]
    pub value: String,
}

/// A query parameter that must be there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct QueryParamMatch {
    /// Name of the parameter without percent-encoding, compared with regard to case, at most 256 characters.
    #[schemars(length(min = 1, max = 256), regex(pattern = patterns::TEXT.regex))]
    pub name: String,

    /// The exact value without percent-encoding, compared with regard to case, at most 1024 characters. Of a
    /// parameter that comes several times the first one counts.
    #[schemars(length(max = 1024), regex(pattern = patterns::TEXT.regex))]
    pub value: String,
}
