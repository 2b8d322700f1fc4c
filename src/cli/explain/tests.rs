use serde_json::json;

use super::*;
use crate::{
    api::Object,
    ir::Config,
    translate::{Options, SourceKind},
};

fn config() -> Config {
    let route = json!({
        "apiVersion": "hawser.dev/v1alpha1",
        "kind": "WebSocketRoute",
        "metadata": {"namespace": "shop", "name": "chat"},
        "spec": {
            "hostnames": ["chat.example.com"],
            "rules": [{
                "name": "socket",
                "matches": [{"path": {"value": "/ws"}}],
                "backendRefs": [{"name": "chat", "port": 80}],
                "upgrade": {"mode": "Require"},
                "timeouts": {"idle": "2h"},
                "keepalive": {"interval": "30s"},
                "limits": {"connectionsStatus": 429},
                "drain": {"window": "0s", "onBackendRemoved": "Keep"},
            }],
        },
    });
    let ingress = json!({
        "metadata": {
            "namespace": "shop",
            "name": "web",
            "annotations": {"hawser.dev/connect-timeout": "1s", "hawser.dev/connections": "5"},
        },
        "spec": {"rules": [{"host": "chat.example.com", "http": {"paths": [{
            "path": "/ws",
            "pathType": "Prefix",
            "backend": {"service": {"name": "web", "port": {"number": 80}}},
        }]}}]},
    });
    let objects = [
        Object::WebSocketRoute(serde_json::from_value(route).unwrap()),
        Object::Ingress(serde_json::from_value(ingress).unwrap()),
    ];
    let prepared: Vec<_> = objects.iter().map(prepare).collect();
    let options = Options {
        controller_name: "hawser.dev/ingress-controller".into(),
        ingress_class: "hawser".into(),
        watch_ingress_without_class: false,
        origin: SourceKind::Directory,
        own_addresses: Vec::new(),
        peer_service: None,
        drain_window: None,
    };
    translate(&prepared, &options).config
}

fn told(url: &str) -> String {
    let asked = Asked::parse(url, &[]).unwrap();
    text(&asked, find(&config(), &asked).as_ref())
}

#[test]
fn values_are_told_with_their_origin() {
    let told = told("ws://chat.example.com/ws/room");
    let expected = "\
WebSocket handshake for chat.example.com/ws/room
  object    WebSocketRoute shop/chat
  rule      socket
  path      Prefix /ws
  backend   500: there is no Service shop/chat (weight 1)
  upgrade.mode                 Require  field spec.rules[socket].upgrade.mode
  upgrade.subprotocols         any      default
  upgrade.extensions           Allow    default
  upgrade.maxMessageBytes      off      default
  upgrade.maxFrameBytes        off      default
  upgrade.strict               false    default
  timeouts.connect             5s       default
  timeouts.handshake           10s      default
  timeouts.response            5m       default
  timeouts.idle                2h       field spec.rules[socket].timeouts.idle
  timeouts.maxLifetime         off      default
  keepalive.interval           30s      field spec.rules[socket].keepalive.interval
  keepalive.timeout            20s      default
  keepalive.target             Both     default
  limits.connections           off      default
  limits.connectionsPerClient  off      default
  limits.connectionsStatus     429      field spec.rules[socket].limits.connectionsStatus
  limits.messagesPerSecond     off      default
  limits.bytesPerSecond        off      default
  limits.writeStall            1m       default
  drain.window                 0s       field spec.rules[socket].drain.window
  drain.backendGrace           20s      default
  drain.code                   1012     default
  drain.onBackendTerminating   Drain    default
  drain.onBackendRemoved       Keep     field spec.rules[socket].drain.onBackendRemoved
  drain.onRouteRemoved         Drain    default
";
    assert_eq!(told, expected);
}

#[test]
fn a_plain_request_to_a_shared_path_is_the_ingresss() {
    let told = told("http://chat.example.com/ws/room");
    assert!(told.contains("object    Ingress shop/web\n"), "{told}");
    assert!(
        told.contains("  1s     annotation hawser.dev/connect-timeout\n"),
        "{told}"
    );
    assert!(
        told.contains("limits.connections           5      annotation hawser.dev/connections\n"),
        "{told}"
    );
}

#[test]
fn no_rule_is_404() {
    assert_eq!(
        told("ws://other.example.com/ws"),
        "WebSocket handshake for other.example.com/ws: no rule takes this request, the answer is 404\n"
    );
    assert_eq!(json(None), "null\n");
}
