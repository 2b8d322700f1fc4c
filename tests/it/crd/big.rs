//! Objects as large as they can be.

use serde_json::{Value, json};

use super::{plane, post, route, with};

/// Every list as long as it may be, with texts so long that the object has about as many bytes.
fn route_of(bytes: usize) -> Value {
    const RULES: usize = 64;
    const OTHERS: usize = 16;
    // The rest of an object has about 180 KB; four lists have such texts.
    let length = (bytes.saturating_sub(180_000) / RULES / OTHERS / 4).clamp(1, 1000);
    let text = "a".repeat(length);
    let named = |number: usize, value: &str| json!({"name": format!("x-{number}"), "value": value});
    let rule = |number: usize| {
        let matches: Vec<_> = (0..OTHERS)
            .map(|each| json!({"path": {"value": format!("/{number}/{each}/{text}")}, "headers": [named(each, &text)]}))
            .collect();
        let edits: Vec<_> = (0..OTHERS).map(|each| named(each, &text)).collect();
        json!({
            "name": format!("r{number}"),
            "matches": matches,
            "backendRefs": (0..OTHERS).map(|_| json!({"name": "chat", "port": "http"})).collect::<Vec<_>>(),
            "upgrade": {"mode": "Allow", "subprotocols": (0..OTHERS).map(|each| format!("p{each}")).collect::<Vec<_>>()},
            "timeouts": {"connect": "5s", "handshake": "10s", "response": "60s", "idle": "1h", "maxLifetime": "12h"},
            "keepalive": {"interval": "30s", "timeout": "10s", "target": "Client"},
            "limits": {"connections": 5000, "connectionsStatus": 429, "writeStall": "30s"},
            "drain": {"window": "30s", "backendGrace": "10s", "code": 4001, "onRouteRemoved": "Keep"},
            "headers": {"request": {"set": edits, "remove": ["x-y"]}, "response": {"set": edits}},
            "rewrite": {"prefix": "/", "hostname": "internal.example.com"},
        })
    };
    let hosts: Vec<_> = (0..OTHERS)
        .map(|number| format!("h{number}.example.com"))
        .collect();
    let route = with(route(), "/spec/hostnames", json!(hosts));
    with(route, "/spec/rules", (0..RULES).map(rule).collect())
}

#[test]
fn the_largest_route_is_accepted_and_changed_and_a_larger_one_is_refused() {
    let plane = plane();
    plane.run(async || {
        let namespace = plane.namespace("big").await;
        let client = plane.client().await;
        let at_home = |route: Value| with(route, "/metadata/namespace", json!(namespace));

        let large = at_home(route_of(1_000_000));
        let size = large.to_string().len();
        assert!((900_000..1_300_000).contains(&size), "{size}");
        assert_eq!(post(&client, &large, "").await, Ok(()));

        // Every rule of the schema runs again.
        let url = format!("/apis/hawser.dev/v1alpha1/namespaces/{namespace}/websocketroutes/chat");
        let patch = json!([{"op": "replace", "path": "/spec/rules/63/name", "value": "last"}]);
        let request = http::Request::patch(url)
            .header("content-type", "application/json-patch+json")
            .body(patch.to_string().into_bytes())
            .expect("a request");
        let changed: Value = client
            .request(request)
            .await
            .expect("the change is accepted");
        assert_eq!(changed["spec"]["rules"][63]["name"], "last");

        let larger = with(
            at_home(route_of(2_000_000)),
            "/metadata/name",
            json!("larger"),
        );
        let size = larger.to_string().len();
        assert!((1_600_000..2_900_000).contains(&size), "{size}");
        let said = post(&client, &larger, "").await.expect_err("too large");
        assert!(said.contains("too large"), "{said}");
    });
}
