//! Header changes and header matches: the API server has refused bad ones already, a file or an old schema
//! has not.

use super::{
    fault::{Fault, Quoted},
    policy::is_token,
};
use crate::{
    api::{self, headers::is_protected},
    ir::{HeaderEdits, HeaderRules, HeaderValue},
};

/// Changes in both directions.
pub(super) fn rules(field: &str, headers: &api::Headers) -> Result<HeaderRules, Fault> {
    Ok(HeaderRules {
        request: edits(&format!("{field}.request"), &headers.request)?,
        response: edits(&format!("{field}.response"), &headers.response)?,
    })
}

fn edits(field: &str, edits: &api::HeaderEdits) -> Result<HeaderEdits, Fault> {
    let values = |list: &str, values: &[api::HeaderField]| {
        values
            .iter()
            .enumerate()
            .map(|(index, header)| {
                let field = format!("{field}.{list}[{index}]");
                let name = editable(&format!("{field}.name"), &header.name.0)?;
                if !is_field_value(&header.value) {
                    return Err(Fault::invalid(
                        format!("{field}.value"),
                        "a header value has no line break and no control character",
                    ));
                }
                Ok(HeaderValue {
                    name,
                    value: header.value.clone(),
                })
            })
            .collect::<Result<Vec<_>, _>>()
    };
    Ok(HeaderEdits {
        set: values("set", &edits.set)?,
        add: values("add", &edits.add)?,
        remove: edits
            .remove
            .iter()
            .enumerate()
            .map(|(index, name)| editable(&format!("{field}.remove[{index}]"), &name.0))
            .collect::<Result<_, _>>()?,
    })
}

/// A name that a route may touch, lower case.
fn editable(field: &str, name: &str) -> Result<String, Fault> {
    let name = self::name(field, name)?;
    if is_protected(&name) {
        return Err(Fault::invalid(
            field,
            format_args!(
                "{} belongs to the proxy, a route may not change it",
                Quoted(&name)
            ),
        ));
    }
    Ok(name)
}

/// A field name (RFC 9110 section 5.1), lower case.
pub(super) fn name(field: &str, name: &str) -> Result<String, Fault> {
    if is_token(name) {
        Ok(name.to_ascii_lowercase())
    } else {
        Err(Fault::invalid(
            field,
            format_args!("{} is no header name", Quoted(name)),
        ))
    }
}

/// A field value (RFC 9110 section 5.5): nothing that could end the line.
pub(super) fn is_field_value(value: &str) -> bool {
    value
        .bytes()
        .all(|byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn set(name: &str, value: &str) -> api::Headers {
        api::Headers {
            request: api::HeaderEdits {
                set: vec![api::HeaderField {
                    name: api::headers::EditableHeaderName(name.into()),
                    value: value.into(),
                }],
                ..Default::default()
            },
            ..Default::default()
        }
    }

    #[test]
    fn names_become_lower_case() {
        let rules = rules("headers", &set("X-Tenant", "a")).unwrap();
        assert_eq!(rules.request.set[0].name, "x-tenant");
    }

    #[rstest]
    #[case("Content-Length", "1")]
    #[case("transfer-encoding", "chunked")]
    #[case("Connection", "x")]
    #[case("Sec-WebSocket-Protocol", "x")]
    #[case("X-Forwarded-For", "192.0.2.1")]
    #[case("Forwarded", "for=x")]
    #[case("X-Request-ID", "1")]
    #[case("Host", "x")]
    #[case("", "x")]
    #[case("a b", "x")]
    #[case("a\r\nb", "x")]
    #[case("x-a", "1\r\nx-b: 2")]
    #[case("x-a", "1\n2")]
    #[case("x-a", "1\u{0}")]
    fn refused(#[case] name: &str, #[case] value: &str) {
        let fault = rules("headers", &set(name, value)).unwrap_err();
        assert!(
            fault.field.starts_with("headers.request.set[0]."),
            "{fault}"
        );
    }

    #[test]
    fn the_prefix_is_the_routes_to_tell() {
        assert!(rules("headers", &set("X-Forwarded-Prefix", "/app")).is_ok());
    }
}
