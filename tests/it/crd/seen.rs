//! What kubectl shows of a route that has a status.

use serde_json::json;

use super::{golden, plane, report::report, route, with};

/// Without what differs from run to run.
fn normalised(text: &str, namespace: &str) -> String {
    let lines = text.lines().map(|line| {
        let line = line.trim_end().replace(namespace, "NAMESPACE");
        let name = line.split_whitespace().next().unwrap_or_default();
        match name {
            "UID:" | "Resource" | "Creation" => {
                let end = line.find(": ").map_or(line.len(), |at| at + 1);
                format!("{} ...", line.get(..end).unwrap_or_default())
            }
            "chat" | "websocketroute.hawser.dev/chat" => {
                let cut = line.rfind(' ').unwrap_or_default();
                format!("{} AGE", line.get(..cut).unwrap_or_default().trim_end())
            }
            _ => line,
        }
    });
    lines.collect::<Vec<_>>().join("\n") + "\n"
}

#[test]
fn a_person_sees_what_is_going_on() {
    let plane = plane();
    let namespace = plane.run(async || plane.namespace("seen").await);
    let route = with(route(), "/metadata/namespace", json!(namespace));
    plane
        .kubectl(&["apply", "-f", "-"], &route.to_string())
        .text();
    let get = |args: &[&str]| {
        let args: Vec<_> = args.iter().copied().chain(["-n", &*namespace]).collect();
        plane.kubectl(&args, "").text()
    };

    let mut page = String::new();
    let mut show = |args: &[&str]| {
        page += &format!(
            "$ kubectl {}\n{}\n",
            args.join(" "),
            normalised(&get(args), &namespace)
        );
    };
    show(&["get", "wsr"]);
    report(&plane, &namespace, true);
    show(&["get", "wsr"]);
    show(&["get", "wsr", "-o", "wide"]);
    show(&["get", "hawser"]);
    show(&["describe", "wsr", "chat", "--show-events=false"]);
    show(&["explain", "websocketroute.spec.rules.upgrade.mode"]);
    show(&["explain", "websocketroute.spec.rules.keepalive"]);
    show(&["explain", "websocketroute.spec.rules.limits"]);
    show(&["explain", "websocketroute.spec.rules.drain"]);
    golden("seen.txt", &page);
}

#[test]
fn wait_ends_when_the_route_is_programmed() {
    let plane = plane();
    let namespace = plane.run(async || plane.namespace("wait").await);
    let route = with(route(), "/metadata/namespace", json!(namespace));
    plane
        .kubectl(&["apply", "-f", "-"], &route.to_string())
        .text();
    report(&plane, &namespace, false);
    let wait = |timeout: &str| {
        let timeout = format!("--timeout={timeout}");
        let args = [
            "wait",
            "--for=condition=Programmed",
            "wsr/chat",
            "-n",
            &namespace,
            &timeout,
        ];
        plane.kubectl(&args, "")
    };
    let said = wait("1s").failure();
    assert!(
        said.contains("timed out waiting for the condition"),
        "{said}"
    );
    report(&plane, &namespace, true);
    assert_eq!(
        wait("60s").text().trim_end(),
        "websocketroute.hawser.dev/chat condition met"
    );
}
