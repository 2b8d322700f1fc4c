//! Every validation of the schema: a value that passes and one that does not.

use rstest::rstest;

use super::*;

const RULE: &str = "/spec/rules/0";

#[test]
fn a_route_with_every_field_passes() {
    assert_eq!(problems(route()), Vec::<String>::new());
}

#[test]
fn the_shortest_route_passes() {
    let manifest = json!({
        "apiVersion": "hawser.dev/v1alpha1",
        "kind": "WebSocketRoute",
        "metadata": {"name": "chat"},
        "spec": {"rules": [{"name": "all", "backendRefs": [{"name": "chat", "port": "http"}]}]},
    });
    assert_eq!(problems(manifest), Vec::<String>::new());
}

#[rstest]
#[case("/spec/ingressClassName", "hawser.internal", "Hawser", "lower case")]
#[case("/spec/hostnames/0", "*.chat.example.com", "10.0.0.1", "no IP address")]
#[case(
    "/spec/hostnames/0",
    "localhost",
    "chat.example.com:8080",
    "without port"
)]
#[case("/spec/hostnames/0", "2.example.com", "Chat.example.com", "lower case")]
#[case(
    "/spec/hostnames/0",
    "xn--caf-dma.example",
    "chat.*.com",
    "whole first label"
)]
#[case("/spec/rules/0/name", "a-1", "a_1", "lower case letters")]
#[case(
    "/spec/rules/0/matches/0/path/type",
    "Exact",
    "exact",
    "Exact, Prefix, Regex"
)]
#[case(
    "/spec/rules/0/matches/0/path/value",
    "/caf%C3%A9",
    "/café",
    "percent-encode"
)]
#[case("/spec/rules/0/matches/0/path/value", "/", "ws", "starts with '/'")]
#[case("/spec/rules/0/matches/0/path/value", "/a:b", "/ws?v=2", "queryParams")]
#[case(
    "/spec/rules/0/matches/0/path/value",
    "/a'b",
    "/ws#top",
    "percent-encode"
)]
#[case("/spec/rules/0/matches/0/path/value", "/a/b/", "/a//b", "no '//'")]
#[case(
    "/spec/rules/0/matches/0/path/value",
    "/a/.b",
    "/a/./b",
    "no '.' segment"
)]
#[case("/spec/rules/0/matches/0/path/value", "/a.", "/a/.", "no '.' segment")]
#[case(
    "/spec/rules/0/matches/0/path/value",
    "/a/..b",
    "/a/../b",
    "no '..' segment"
)]
#[case(
    "/spec/rules/0/matches/0/path/value",
    "/a..",
    "/a/..",
    "no '..' segment"
)]
#[case(
    "/spec/rules/0/matches/0/path/value",
    "/a%20b",
    "/a%2Fb",
    "encoded slash"
)]
#[case(
    "/spec/rules/0/matches/0/path/value",
    "/a%20b",
    "/a%2fb",
    "encoded slash"
)]
#[case(
    "/spec/rules/0/matches/0/path/value",
    "/a%5Bb",
    "/a[b",
    "set type to Regex"
)]
#[case(
    "/spec/rules/0/matches/0/path/value",
    "/a%5Cb",
    "/a\\b",
    "set type to Regex"
)]
#[case(
    "/spec/rules/0/matches/0/path/value",
    "/a%7Cb",
    "/a|b",
    "set type to Regex"
)]
#[case(
    "/spec/rules/0/matches/0/path/value",
    "/a%20b",
    "/a b",
    "percent-encode"
)]
#[case(
    "/spec/rules/0/matches/0/headers/0/name",
    "X-Tenant",
    "x tenant",
    "letters, digits"
)]
#[case(
    "/spec/rules/0/matches/0/headers/0/value",
    "a b",
    "a\nb",
    "visible ASCII"
)]
#[case(
    "/spec/rules/0/matches/0/headers/0/value",
    "a",
    " a",
    "only between them"
)]
#[case("/spec/rules/0/matches/0/queryParams/0/name", "größe", "", "empty")]
#[case(
    "/spec/rules/0/matches/0/queryParams/0/value",
    "",
    "a\u{7}",
    "control characters"
)]
#[case(
    "/spec/rules/0/backendRefs/0/name",
    "chat-2",
    "chat.other",
    "same namespace"
)]
#[case("/spec/rules/0/backendRefs/0/port", "8-http", "8080", "without quotes")]
#[case(
    "/spec/rules/0/upgrade/mode",
    "Require",
    "require",
    "Allow, Require, Deny, Ignore"
)]
#[case(
    "/spec/rules/0/upgrade/subprotocols/0",
    "v12.stomp",
    "a,b",
    "letters, digits"
)]
#[case("/spec/rules/0/upgrade/extensions", "Strip", "Drop", "Allow, Strip")]
#[case("/spec/rules/0/timeouts/connect", "500ms", "5", "as in 30s")]
#[case("/spec/rules/0/timeouts/handshake", "0s", "-1s", "as in 30s")]
#[case("/spec/rules/0/timeouts/response", "1m30s", "1.5m", "as in 30s")]
#[case("/spec/rules/0/timeouts/idle", "99999h", "1d", "as in 30s")]
#[case("/spec/rules/0/timeouts/maxLifetime", "0s", "1d", "as in 30s")]
#[case("/spec/rules/0/keepalive/interval", "1s", "1", "as in 30s")]
#[case(
    "/spec/rules/0/keepalive/interval",
    "500ms500ms",
    "999ms",
    "once a second"
)]
#[case("/spec/rules/0/keepalive/interval", "0s", "1ms", "1s or more")]
#[case("/spec/rules/0/keepalive/timeout", "0s", "-1s", "as in 30s")]
#[case(
    "/spec/rules/0/keepalive/target",
    "Backend",
    "Server",
    "Client, Backend, Both"
)]
#[case("/spec/rules/0/limits/writeStall", "0s", "1.5s", "as in 30s")]
#[case("/spec/rules/0/drain/window", "0s", "1d", "as in 30s")]
#[case("/spec/rules/0/drain/backendGrace", "1m30s", "90", "as in 30s")]
#[case(
    "/spec/rules/0/drain/onBackendTerminating",
    "Keep",
    "Ignore",
    "Drain, Keep, Close"
)]
#[case(
    "/spec/rules/0/drain/onBackendRemoved",
    "Drain",
    "drain",
    "Drain, Keep, Close"
)]
#[case(
    "/spec/rules/0/drain/onRouteRemoved",
    "Close",
    "",
    "Drain, Keep, Close"
)]
#[case(
    "/spec/rules/0/headers/request/set/0/value",
    "a; b=\"c\"",
    "a\r\nx: y",
    "visible ASCII"
)]
#[case(
    "/spec/rules/0/headers/response/add/0/value",
    "a\tb",
    "ä",
    "visible ASCII"
)]
#[case(
    "/spec/rules/0/headers/response/remove/0",
    "server",
    "ser ver",
    "letters, digits"
)]
#[case("/spec/rules/0/rewrite/prefix", "/a%20b", "a", "start with '/'")]
#[case("/spec/rules/0/rewrite/prefix", "/", "/a?b", "start with '/'")]
#[case("/spec/rules/0/rewrite/prefix", "/a/", "/a//b", "no '//'")]
#[case("/spec/rules/0/rewrite/prefix", "/..a", "/../a", "'..' segment")]
#[case("/spec/rules/0/rewrite/prefix", "/a.", "/a/.", "'..' segment")]
#[case("/spec/rules/0/rewrite/hostname", "a.example", "*.example", "wildcard")]
fn texts(
    #[case] pointer: &str,
    #[case] accepted: &str,
    #[case] refused: &str,
    #[case] words: &str,
) {
    assert_eq!(
        problems(with(route(), pointer, json!(accepted))),
        Vec::<String>::new()
    );
    let field = pointer
        .split('/')
        .skip(1)
        .fold(String::new(), |field, part| match part.parse::<usize>() {
            Ok(index) => format!("{field}[{index}]"),
            Err(_) => words::join(&field, part),
        });
    assert_refused(with(route(), pointer, json!(refused)), &field, words);
}

#[rstest]
#[case("/spec/rules/0/backendRefs/0/port", json!(1), json!(0), "less than 1")]
#[case("/spec/rules/0/backendRefs/0/port", json!(65535), json!(65536), "more than 65535")]
#[case("/spec/rules/0/backendRefs/0/port", json!("http"), json!(80.5), "number or a name")]
#[case("/spec/rules/0/backendRefs/0/weight", json!(0), json!(-1), "less than 0")]
#[case("/spec/rules/0/backendRefs/0/weight", json!(1_000_000), json!(1_000_001), "more than 1000000")]
#[case("/spec/rules/0/backendRefs/0/weight", json!(1), json!("1"), "without quotes")]
#[case("/spec/rules/0/timeouts/idle", json!("30s"), json!(30), "the number 30")]
#[case("/spec/rules/0/upgrade/maxMessageBytes", json!(0), json!(-1), "less than 0")]
#[case("/spec/rules/0/upgrade/maxMessageBytes", json!(65_536), json!(65_535), "at most maxMessageBytes")]
#[case("/spec/rules/0/upgrade/maxFrameBytes", json!(1_099_511_627_776_i64), json!(1_099_511_627_777_i64), "more than 1099511627776")]
#[case("/spec/rules/0/upgrade/maxFrameBytes", json!(1), json!("64Ki"), "without quotes")]
#[case("/spec/rules/0/upgrade/strict", json!(false), json!("true"), "the text \"true\"")]
#[case("/spec/rules/0/keepalive", json!({}), json!("30s"), "interval, target, timeout")]
#[case("/spec/rules/0/limits/connections", json!(10_000_000), json!(10_000_001), "more than 10000000")]
#[case("/spec/rules/0/limits/connectionsPerClient", json!(0), json!(-1), "less than 0")]
#[case("/spec/rules/0/limits/connectionsStatus", json!(503), json!(500), "the number 500 is none of 503, 429")]
#[case("/spec/rules/0/limits/connectionsStatus", json!(429), json!("429"), "one of 503, 429")]
#[case("/spec/rules/0/limits/messagesPerSecond", json!(1), json!(1.5), "a whole number")]
#[case("/spec/rules/0/limits/bytesPerSecond", json!(0), json!(-1), "less than 0")]
#[case("/spec/rules/0/drain/code", json!(1012), json!(1000), "1012 (service restart)")]
#[case("/spec/rules/0/drain/code", json!(1013), json!(1005), "never stand in a Close frame")]
#[case("/spec/rules/0/drain/code", json!(1001), json!(1006), "never stand in a Close frame")]
#[case("/spec/rules/0/drain/code", json!(3000), json!(1015), "never stand in a Close frame")]
#[case("/spec/rules/0/drain/code", json!(4999), json!(5000), "3000 to 4999")]
#[case("/spec/rules/0/drain/code", json!(4001), json!("1012"), "without quotes")]
#[case("/spec/rules/0/upgrade/mode", json!("Deny"), json!(false), "one of Allow")]
#[case("/spec/rules/0/matches/0/queryParams/0/value", json!("2"), json!(2), "quotes")]
#[case("/spec/rules/0/backendRefs", json!([{"name": "a", "port": 1}]), json!({"name": "a"}), "this is a list")]
#[case("/spec/rules/0/backendRefs", json!([{"name": "a", "port": 1}]), json!([]), "at least 1")]
#[case("/spec/rules/0/upgrade/subprotocols", json!(["a"]), json!([]), "at least 1")]
#[case("/spec/rules/0/timeouts", json!({}), json!("5s"), "connect, handshake, idle, maxLifetime, response")]
#[case("/spec/rules/0/matches", json!([]), json!("/ws"), "this is a list")]
#[case("/spec/rules/0/matches/0", json!({}), json!("/ws"), "an object")]
fn other_values(
    #[case] pointer: &str,
    #[case] accepted: Value,
    #[case] refused: Value,
    #[case] words: &str,
) {
    assert_eq!(
        problems(with(route(), pointer, accepted)),
        Vec::<String>::new()
    );
    let found = problems(with(route(), pointer, refused));
    assert!(
        found.len() == 1 && found[0].contains(words),
        "no {words:?} in {found:#?}"
    );
}

#[rstest]
#[case("/spec", "spec")]
#[case("/spec/rules", "spec.rules")]
#[case("/spec/rules/0/name", "spec.rules[0].name")]
#[case("/spec/rules/0/backendRefs", "spec.rules[0].backendRefs")]
#[case(
    "/spec/rules/0/backendRefs/0/name",
    "spec.rules[0].backendRefs[0].name"
)]
#[case(
    "/spec/rules/0/backendRefs/0/port",
    "spec.rules[0].backendRefs[0].port"
)]
#[case(
    "/spec/rules/0/matches/0/path/value",
    "spec.rules[0].matches[0].path.value"
)]
#[case(
    "/spec/rules/0/headers/request/set/0/value",
    "spec.rules[0].headers.request.set[0].value"
)]
fn required_fields(#[case] pointer: &str, #[case] field: &str) {
    assert_refused(
        with(route(), pointer, Value::Null),
        field,
        "required, but missing",
    );
}

#[rstest]
#[case("/sepc", "sepc", "apiVersion, kind, metadata, spec")]
#[case(
    "/spec/hostname",
    "spec.hostname",
    "hostnames, ingressClassName, rules"
)]
#[case(
    "/spec/rules/0/timeouts/idel",
    "spec.rules[0].timeouts.idel",
    "connect, handshake, idle"
)]
#[case(
    "/spec/rules/0/upgrade/allowedOrigins",
    "spec.rules[0].upgrade.allowedOrigins",
    "unknown field"
)]
fn unknown_fields(#[case] pointer: &str, #[case] field: &str, #[case] words: &str) {
    assert_refused(with(route(), pointer, json!("1s")), field, words);
}

#[test]
fn list_keys_are_unique() {
    let rule = route().pointer(RULE).expect("a rule").clone();
    assert_refused(
        with(route(), "/spec/rules", json!([rule, rule])),
        "spec.rules[1]",
        "\"socket\" is there twice",
    );
    let twice = json!([{"name": "x-a", "value": "1"}, {"name": "x-a", "value": "2"}]);
    for (pointer, field) in [
        ("/matches/0/headers", "spec.rules[0].matches[0].headers[1]"),
        (
            "/matches/0/queryParams",
            "spec.rules[0].matches[0].queryParams[1]",
        ),
        (
            "/headers/request/set",
            "spec.rules[0].headers.request.set[1]",
        ),
        (
            "/headers/response/add",
            "spec.rules[0].headers.response.add[1]",
        ),
    ] {
        let manifest = with(route(), &format!("{RULE}{pointer}"), twice.clone());
        assert_refused(manifest, field, "there twice");
    }
    assert_refused(
        with(
            route(),
            "/spec/rules/0/headers/request/remove",
            json!(["a", "b", "a"]),
        ),
        "spec.rules[0].headers.request.remove[2]",
        "\"a\" is there twice",
    );
}

#[rstest]
fn protected_headers_are_refused_everywhere(
    #[values(
        "Content-Length",
        "transfer-encoding",
        "TE",
        "trailer",
        "connection",
        "Keep-Alive",
        "proxy-connection",
        "upgrade",
        "Sec-WebSocket-Protocol",
        "sec-websocket-key",
        "host",
        "Forwarded",
        "x-forwarded-for",
        "X-Forwarded-Proto",
        "x-request-id"
    )]
    name: &str,
) {
    for direction in ["request", "response"] {
        for list in ["set", "add"] {
            assert_refused(
                with(
                    route(),
                    &format!("{RULE}/headers/{direction}/{list}/0/name"),
                    json!(name),
                ),
                &format!("spec.rules[0].headers.{direction}.{list}[0].name"),
                "belongs to the proxy",
            );
        }
        assert_refused(
            with(
                route(),
                &format!("{RULE}/headers/{direction}/remove/0"),
                json!(name),
            ),
            &format!("spec.rules[0].headers.{direction}.remove[0]"),
            "belongs to the proxy",
        );
    }
}

#[rstest]
fn other_headers_may_be_edited(
    #[values(
        "X-Forwarded-Prefix",
        "x-real-ip",
        "authorization",
        "server",
        "x-forwarded",
        "sec-websocket"
    )]
    name: &str,
) {
    for pointer in ["/headers/request/set/0/name", "/headers/response/remove/0"] {
        assert_eq!(
            problems(with(route(), &format!("{RULE}{pointer}"), json!(name))),
            Vec::<String>::new()
        );
    }
}

#[test]
fn a_prefix_is_not_rewritten_below_a_regex() {
    let regex = json!([{"path": {"value": "/a"}}, {"path": {"type": "Regex", "value": "/[a-z]+"}}]);
    let manifest = with(route(), "/spec/rules/0/matches", regex);
    assert_refused(
        manifest.clone(),
        "spec.rules[0].rewrite.prefix",
        "Regex path does not tell",
    );
    assert_eq!(
        problems(with(manifest, "/spec/rules/0/rewrite/prefix", Value::Null)),
        Vec::<String>::new()
    );
}

#[test]
fn a_regex_may_have_what_a_path_may_not() {
    let path = json!([{"path": {"type": "Regex", "value": "(/a/../|//)[^/]{1,9}\\w?%2f"}}]);
    let manifest = with(route(), "/spec/rules/0/matches", path);
    let manifest = with(manifest, "/spec/rules/0/rewrite/prefix", Value::Null);
    assert_eq!(problems(manifest), Vec::<String>::new());
}

#[test]
fn the_status_of_a_manifest_is_not_read() {
    let manifest = with(route(), "/status", json!({"anything": ["goes"]}));
    assert_eq!(problems(manifest), Vec::<String>::new());
}

#[test]
fn null_means_absent() {
    let manifest = with(route(), "/spec/rules/0/upgrade", Value::Null);
    let manifest = with(manifest, "/spec/hostnames", Value::Null);
    let Review::Accepted(_, Object::WebSocketRoute(route)) = review(manifest) else {
        panic!("refused");
    };
    assert_eq!(route.spec.hostnames, Vec::<String>::new());
    assert_eq!(route.spec.rules[0].upgrade, crate::api::Upgrade::default());
}

#[test]
fn a_default_of_the_schema_is_the_default_of_the_type() {
    let manifest = with(
        route(),
        "/spec/rules/0/matches/0/path",
        json!({"value": "/ws"}),
    );
    let Review::Accepted(_, Object::WebSocketRoute(route)) = review(manifest) else {
        panic!("refused");
    };
    let path = route.spec.rules[0].matches[0]
        .path
        .as_ref()
        .expect("a path");
    assert_eq!(path.type_, crate::api::PathMatchType::Prefix);
}

#[test]
fn an_accepted_route_is_written_back_as_it_was_read() {
    let Review::Accepted(_, Object::WebSocketRoute(read)) = review(route()) else {
        panic!("refused");
    };
    assert_eq!(serde_json::to_value(read).expect("JSON"), {
        let mut expected = route();
        // The canonical form of a duration.
        expected["spec"]["rules"][0]["timeouts"]["response"] = json!("1m");
        expected
    });
}
