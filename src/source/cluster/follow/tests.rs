use std::sync::Arc;

use k8s_openapi::api::core::v1::Service;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;

/// An API server that gives these answers, one for each request, and then hangs up. What it was asked.
async fn answering(answers: Vec<(u16, String)>) -> (kube::Client, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let asked = Arc::<Mutex<Vec<String>>>::default();
    let log = Arc::clone(&asked);
    tokio::spawn(async move {
        for (status, body) in answers {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut head = vec![0; 4096];
            let length = stream.read(&mut head).await.expect("a request");
            let head = String::from_utf8_lossy(&head[..length]).into_owned();
            let target = head.split(' ').nth(1).unwrap_or_default();
            log.lock().push(target.to_owned());
            let answer = format!(
                "HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            stream
                .write_all(answer.as_bytes())
                .await
                .expect("it is sent");
        }
    });
    let url = format!("http://{address}").parse().expect("a URL");
    let client = kube::Client::try_from(kube::Config::new(url));
    (client.expect("a client"), asked)
}

fn list(version: u32, names: &[&str]) -> (u16, String) {
    let items = names
        .iter()
        .map(|name| serde_json::json!({"metadata": {"name": name}}));
    let list = serde_json::json!({
        "metadata": {"resourceVersion": version.to_string()},
        "items": items.collect::<Vec<_>>(),
    });
    (200, list.to_string())
}

fn event(kind: &str, name: &str) -> (u16, String) {
    let object = serde_json::json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "resourceVersion": "900"},
    });
    let event = serde_json::json!({"type": kind, "object": object});
    (200, format!("{event}\n"))
}

/// `word name...` of what happened.
fn told(event: Result<Event<Service>, Failure>) -> String {
    let name = |service: Service| service.metadata.name.unwrap_or_default();
    match event {
        Ok(Event::Listed(all)) => {
            let names: Vec<_> = all.into_iter().map(name).collect();
            format!("listed {}", names.join(" "))
        }
        Ok(Event::Set(it)) => format!("set {}", name(it)),
        Ok(Event::Deleted(it)) => format!("deleted {}", name(it)),
        Err(failure) => failure.reason().to_owned(),
    }
}

#[tokio::test]
async fn after_a_watch_that_ended_everything_is_listed_anew() {
    let (client, asked) = answering(vec![
        list(900, &["a"]),
        event("ADDED", "b"),
        // A restored etcd: its versions are lower.
        list(5, &["a"]),
        event("DELETED", "a"),
        (
            403,
            r#"{"kind": "Status", "code": 403, "message": "no"}"#.to_owned(),
        ),
        list(6, &[]),
    ])
    .await;
    let which = ListParams::default().fields("metadata.name=a");
    let mut follow = Follow::<Service>::new(Api::namespaced(client, "edge"), which);
    for expected in [
        "listed a",
        "set b",
        "listed a",
        "deleted a",
        "forbidden",
        "listed ",
    ] {
        assert_eq!(told(follow.next().await), expected);
    }
    let asked = asked.lock().clone();
    let watches: Vec<_> = asked
        .iter()
        .filter(|path| path.contains("watch="))
        .collect();
    assert_eq!(watches.len(), 2, "{asked:#?}");
    assert!(watches[1].contains("resourceVersion=5"), "{asked:#?}");
    for path in &asked {
        assert!(path.contains("fieldSelector=metadata.name"), "{path}");
    }
}
