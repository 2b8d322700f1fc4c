use super::*;
use crate::telemetry::fields::is_unsafe;

fn json(fields: impl FnOnce(&mut Fields<'_>)) -> serde_json::Value {
    let mut text = String::new();
    json_line(&mut text, fields);
    assert_eq!(text.find('\n'), Some(text.len() - 1), "{text}");
    serde_json::from_str(&text).expect("one JSON object")
}

/// In both formats, a line each.
fn written(fields: impl Fn(&mut Fields<'_>)) -> [String; 2] {
    let mut line = String::new();
    json_line(&mut line, &fields);
    [line, format!("{}\n", text(fields))]
}

fn route() -> ir::RouteId {
    ir::RouteId {
        object: ir::ObjectId {
            namespace: "shop".into(),
            name: "chat".into(),
            kind: ir::RouteKind::Ingress,
        },
        rule: "chat.example.com/ws".into(),
    }
}

fn tunnel(route: &ir::RouteId) -> Tunnel<'_> {
    Tunnel {
        id: 7,
        request_id: RequestId::default(),
        client: "192.0.2.1:5000".parse().expect("an address"),
        host: "chat.example.com",
        path: "/ws",
        route,
        endpoint: "[::1]:80".parse().expect("an address"),
    }
}

#[test]
fn a_request_has_all_that_is_known() {
    let route = route();
    let line = json(|fields| {
        Request {
            request_id: RequestId::default(),
            client: "192.0.2.1:5000".parse().ok(),
            method: "GET",
            host: "chat.example.com",
            path: "/a b",
            user_agent: "curl/8 \"x\"",
            route: Some(&route),
            endpoint: "10.0.0.1:80".parse().ok(),
            status: 502,
            reason: Some("connection_refused"),
            detail: Some("10.0.0.1:80: connection refused"),
            request_bytes: 1,
            response_bytes: 2,
            duration: Duration::from_millis(1500),
        }
        .fields(fields);
    });
    for (field, value) in [
        ("target", serde_json::json!("hawser::access")),
        ("event", "request".into()),
        ("request_id", "0".repeat(32).into()),
        ("client", "192.0.2.1:5000".into()),
        ("method", "GET".into()),
        ("host", "chat.example.com".into()),
        ("path", "/a b".into()),
        ("user_agent", "curl/8 \"x\"".into()),
        ("kind", "Ingress".into()),
        ("namespace", "shop".into()),
        ("route", "chat".into()),
        ("rule", "chat.example.com/ws".into()),
        ("endpoint", "10.0.0.1:80".into()),
        ("status", 502.into()),
        ("reason", "connection_refused".into()),
        ("detail", "10.0.0.1:80: connection refused".into()),
        ("request_bytes", 1.into()),
        ("response_bytes", 2.into()),
        ("duration_seconds", 1.5.into()),
    ] {
        assert_eq!(line[field], value, "{field} in {line}");
    }
}

#[test]
fn what_is_not_known_is_absent() {
    let line = json(|fields| Request::default().fields(fields));
    for field in ["client", "kind", "route", "endpoint", "reason", "detail"] {
        assert!(line.get(field).is_none(), "{field} in {line}");
    }
}

#[test]
fn a_tunnel_has_a_line_at_both_ends() {
    let route = route();
    let open = json(|fields| tunnel(&route).fields(fields, "tunnel_open"));
    assert_eq!(open["event"], "tunnel_open");
    assert_eq!(open["endpoint"], "[::1]:80");
    let end = End {
        initiator: "backend",
        cause: "backend_closed",
        loss: Some("fin"),
        code: Some(4001),
        client_got_close: true,
        backend_got_close: false,
        messages_from_client: 7,
        messages_from_backend: 8,
        bytes_from_client: 10,
        bytes_from_backend: 20,
        duration: Duration::from_secs(3),
    };
    let close = json(|fields| {
        tunnel(&route).fields(fields, "tunnel_close");
        end.fields(fields);
    });
    for field in ["tunnel", "request_id", "client", "host", "path", "route"] {
        assert_eq!(open[field], close[field], "{field}");
        assert!(open.get(field).is_some(), "{field}");
    }
    assert_eq!(close["event"], "tunnel_close");
    assert_eq!(close["initiator"], "backend");
    assert_eq!(close["cause"], "backend_closed");
    assert_eq!(close["loss"], "fin");
    assert_eq!(close["code"], 4001);
    assert_eq!(close["bytes_from_client"], 10);
    assert_eq!(close["bytes_from_backend"], 20);
    assert_eq!(close["duration_seconds"], 3.0);
}

const EVIL: &str = "a\n\r\t\u{1b}[2J\u{7f}\u{9b}2J\u{2028}b\u{2029}\u{202e}\u{0}\" status=200 z";

#[test]
fn nothing_that_a_client_sends_breaks_a_line() {
    let mut route = route();
    route.rule = EVIL.into();
    let of_request = written(|fields| {
        Request {
            method: EVIL,
            host: EVIL,
            path: EVIL,
            user_agent: EVIL,
            route: Some(&route),
            reason: Some(EVIL),
            detail: Some(EVIL),
            ..Request::default()
        }
        .fields(fields);
    });
    let of_tunnel = written(|fields| {
        let mut tunnel = tunnel(&route);
        tunnel.host = EVIL;
        tunnel.path = EVIL;
        tunnel.fields(fields, "tunnel_close");
        End {
            initiator: EVIL,
            cause: EVIL,
            loss: Some(EVIL),
            code: None,
            client_got_close: true,
            backend_got_close: false,
            messages_from_client: 7,
            messages_from_backend: 8,
            bytes_from_client: 0,
            bytes_from_backend: 0,
            duration: Duration::ZERO,
        }
        .fields(fields);
    });
    for json in [&of_request[0], &of_tunnel[0]] {
        let line: serde_json::Value = serde_json::from_str(json).expect(json);
        assert!(line["path"].is_string(), "{json}");
        assert_eq!(line["path"], line["rule"], "{json}");
    }
    for text in of_request.into_iter().chain(of_tunnel) {
        assert_eq!(text.lines().count(), 1, "{text}");
        let bad = text.chars().find(|c| *c != '\n' && is_unsafe(*c));
        assert_eq!(bad, None, "{text}");
        // The quote that would end the field is escaped, so what follows it is no field of its own.
        assert!(!text.contains("\u{0}\" status"), "{text}");
        assert!(text.contains(r#"\" status=200 z""#), "{text}");
    }
}

#[test]
fn a_query_never_appears() {
    let route = route();
    let of_request = written(|fields| {
        Request {
            path: "/a?token=secret",
            ..Request::default()
        }
        .fields(fields);
    });
    let of_tunnel = written(|fields| {
        let mut tunnel = tunnel(&route);
        tunnel.path = "/a?token=secret#secret";
        tunnel.fields(fields, "tunnel_open");
    });
    for text in of_request.into_iter().chain(of_tunnel) {
        assert!(text.contains("\"/a\""), "{text}");
        assert!(!text.contains("secret"), "{text}");
    }
}

#[test]
fn people_read_pairs() {
    let line = text(|fields| {
        fields
            .string(name!("event"), "request")
            .number(name!("status"), 200_u16)
            .some_string(name!("reason"), None)
            .flag(name!("yes"), true);
    });
    assert_eq!(line, r#"event="request" status=200 yes=true"#);
}
