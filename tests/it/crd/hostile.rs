//! Text that would be code elsewhere is refused, or it is plain data.

use serde_json::{Value, json};

use super::{dry_run, offline, plane, route, with};

const TEXTS: [&str; 8] = [
    "a\nb",
    "a}b",
    "a\"b",
    "a'b",
    "$a",
    "${jndi:x}",
    "{{ .Values.x }}",
    "a\r\nx-evil: 1",
];

/// Fields with texts of a user.
const FIELDS: [&str; 8] = [
    "/metadata/name",
    "/spec/hostnames/0",
    "/spec/rules/0/name",
    "/spec/rules/0/matches/0/path/value",
    "/spec/rules/0/matches/0/headers/0/value",
    "/spec/rules/0/headers/request/set/0/value",
    "/spec/rules/0/rewrite/prefix",
    "/spec/rules/0/backendRefs/0/name",
];

#[test]
fn code_in_a_text_is_refused_or_plain_data() {
    let plane = plane();
    plane.run(async || {
        let client = plane.client().await;
        for field in FIELDS {
            for text in TEXTS {
                let text = if field.ends_with("/path/value") || field.ends_with("/prefix") {
                    format!("/{text}")
                } else {
                    text.to_owned()
                };
                let manifest = with(route(), field, json!(text));
                let here = dry_run(&client, &manifest).await;
                assert_eq!(
                    here.is_ok(),
                    offline(&manifest).is_ok(),
                    "{field} {text:?}: {here:?}"
                );
                let breaks_lines = text.contains(['\n', '\r']);
                assert!(here.is_err() || !breaks_lines, "{field} takes {text:?}");
                let is_value = field.ends_with("/value") || field.ends_with("/prefix");
                assert!(here.is_err() || is_value, "{field} takes {text:?}");
            }
        }
        // Annotations are free text to Kubernetes; they come back as they were, and ours are read as one word.
        for text in TEXTS {
            let annotations: Value = json!({"hawser.dev/upgrade": text, "other": text});
            let manifest = with(route(), "/metadata/annotations", annotations);
            assert_eq!(dry_run(&client, &manifest).await, Ok(()), "{text:?}");
            assert_eq!(offline(&manifest), Ok(()), "{text:?}");
        }
    });
}
