use serde_json::json;

use super::*;

fn routes() -> Routes {
    let setting = |value: Value, origin: &str| json!({"value": value, "origin": origin});
    let policy = json!({
        "upgrade": {
            "mode": setting(json!("Allow"), "Default"),
            "subprotocols": setting(Value::Null, "Default"),
            "extensions": setting(json!("Allow"), "Default"),
        },
        "timeouts": {"idle": setting(json!("0s"), "Field"), "connect": setting(json!("5s"), "Default")},
        "drain": {"code": setting(json!(4001), "Field"), "window": setting(json!("0s"), "Field")},
        "limits": {
            "connections": setting(json!(0), "Default"),
            "connectionsStatus": setting(json!(503), "Default"),
        },
        "later": {"field": setting(json!(true), "Default")},
        "headers": {
            "request": {"set": [{"name": "x-a", "value": "1"}], "add": [], "remove": ["cookie"]},
            "response": {"set": [], "add": [], "remove": []},
        },
        "rewrite": {"prefix": "/", "hostname": null},
    });
    let entry = |host: Value, path: Value, name: &str, traffic: &str| {
        json!({
            "host": host,
            "path": path,
            "traffic": traffic,
            "object": {"kind": "WebSocketRoute", "namespace": "shop", "name": name},
            "rule": "socket",
            "backends": [
                {"namespace": "shop", "service": "chat", "port": 80, "weight": 2},
                {"missing": "there is no Service shop/gone", "weight": 1},
            ],
            "policy": policy,
        })
    };
    let prefix = json!({"type": "Prefix", "value": "/ws"});
    let mut with_header = entry(json!("*.example.com"), prefix.clone(), "header", "Any");
    with_header["headers"] = json!([{"name": "x-tenant", "value": "a"}]);
    let answer = json!({
        "generation": 7,
        "routes": [
            entry(json!("chat.example.com"), prefix.clone(), "handshake", "Handshakes"),
            entry(json!("chat.example.com"), prefix.clone(), "plain", "Any"),
            entry(json!("chat.example.com"), Value::Null, "host-default", "Any"),
            with_header,
            entry(json!("*.example.com"), prefix, "wild", "Any"),
            entry(json!("*"), json!({"type": "Regex", "value": "/r[0-9]+"}), "any", "Any"),
            entry(Value::Null, Value::Null, "fallback", "Any"),
        ],
        "verdicts": [],
    });
    serde_json::from_value(answer).unwrap()
}

#[track_caller]
fn taken_by(url: &str, headers: &[&str], name: &str) -> Explanation {
    let headers: Vec<String> = headers.iter().map(ToString::to_string).collect();
    let asked = Asked::parse(url, &headers).unwrap();
    let explanation = explain(&routes(), &asked).unwrap();
    assert_eq!(explanation.name, name);
    explanation
}

#[test]
fn the_list_is_matched_as_the_process_does_it() {
    taken_by("ws://chat.example.com/ws/a", &[], "handshake");
    taken_by("http://chat.example.com/ws/a", &[], "plain");
    taken_by("http://chat.example.com/other", &[], "host-default");
    taken_by("http://x.example.com/ws", &["x-tenant: a"], "header");
    taken_by("http://x.example.com/ws", &[], "wild");
    taken_by("http://elsewhere/r12", &[], "any");
    taken_by("http://elsewhere/", &[], "fallback");
    let asked = Asked::parse("http://x.example.com/", &[]).unwrap();
    assert!(explain(&routes(), &asked).is_none());
}

#[test]
fn values_are_told_with_their_origin() {
    let explanation = taken_by("ws://chat.example.com/ws", &[], "handshake");
    assert_eq!(explanation.path.as_deref(), Some("Prefix /ws"));
    assert_eq!(
        explanation.backends,
        [
            "shop/chat:80 (weight 2)",
            "500: there is no Service shop/gone (weight 1)"
        ]
    );
    let lines: Vec<String> = explanation
        .policy
        .iter()
        .map(|line| format!("{} = {} | {}", line.name, line.value, line.origin))
        .collect();
    let expected = [
        "upgrade.mode = Allow | default",
        "upgrade.subprotocols = any | default",
        "upgrade.extensions = Allow | default",
        "timeouts.connect = 5s | default",
        "timeouts.idle = off | field spec.rules[socket].timeouts.idle",
        "limits.connections = off | default",
        "limits.connectionsStatus = 503 | default",
        "drain.window = 0s | field spec.rules[socket].drain.window",
        "drain.code = 4001 | field spec.rules[socket].drain.code",
        "headers.request.set = x-a: 1 | field spec.rules[socket].headers.request.set",
        "headers.request.remove = cookie | field spec.rules[socket].headers.request.remove",
        "rewrite.prefix = / | field spec.rules[socket].rewrite.prefix",
        "later.field = true | default",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn answers_are_read() {
    let answer = b"HTTP/1.0 200 OK\r\ncontent-type: application/json\r\n\r\n{\"routes\": []}";
    assert!(parse(answer).unwrap().routes.is_empty());
}

#[test]
fn other_answers_are_refused() {
    for answer in [
        &b"HTTP/1.1 404 Not Found\r\n\r\n"[..],
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"",
        b"HTTP/1.0 200 OK\r\n\r\n<html>",
    ] {
        assert!(parse(answer).is_err());
    }
}

#[test]
fn an_empty_host_is_not_given_to_a_less_specific_one() {
    let mut routes = routes();
    let asked = Asked::parse("http://x.example.com/ws", &[]).unwrap();
    assert!(explain(&routes, &asked).is_some());
    routes.empty_hosts.push("x.example.com".to_owned());
    assert!(explain(&routes, &asked).is_none());
}
