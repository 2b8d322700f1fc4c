use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, StreamBody};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;

/// An API server whose list never ends: every page says that there is another one. Counts them.
async fn endless() -> (kube::Client, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let asked = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::Relaxed);
            let mut head = [0; 4096];
            let _ = stream.read(&mut head).await;
            let page = r#"{"metadata": {"resourceVersion": "1", "continue": "more"}, "items": [{"metadata": {"name": "x"}}]}"#;
            let answer = format!(
                "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{page}",
                page.len()
            );
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    let url = format!("http://{address}").parse().expect("a URL");
    let client = kube::Client::try_from(kube::Config::new(url));
    (client.expect("a client"), asked)
}

fn watch(client: kube::Client) -> (Watch, mpsc::Receiver<Signal>) {
    let metrics = Metrics::new();
    let (signals, received) = mpsc::channel(100);
    let watch = Watch {
        number: 0,
        target: Target {
            kind: Kind::Service,
            namespace: None,
            labels: None,
        },
        client,
        signals,
        places: Arc::new(Semaphore::new(PAGES)),
        relist: Arc::default(),
        health: Arc::new(Health::new(
            [Kind::Service].into_iter(),
            Arc::clone(&metrics),
        )),
        rights: Arc::new(Rights::new(std::iter::empty())),
        metrics,
    };
    (watch, received)
}

#[tokio::test]
async fn pages_come_as_fast_as_they_are_taken() {
    let (client, asked) = endless().await;
    let (watch, mut received) = watch(client);
    let stop = CancellationToken::new();
    let running = tokio::spawn(watch.run(stop.clone()));
    let begin = received.recv().await.expect("the list begins");
    assert!(matches!(begin.what, What::Begin));
    for taken in 0..20 {
        // Those that have a place, and one that waits for it.
        let most = taken + PAGES + 1;
        while asked.load(Ordering::Relaxed) < most {
            sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(asked.load(Ordering::Relaxed), most);
        let page = received.recv().await.expect("a page");
        assert!(matches!(page.what, What::Page(_)));
    }
    stop.cancel();
    running.await.expect("it ends");
}

/// An API server whose lists are empty and whose watches are reset after `open`. Counts them.
fn resetting(open: Duration) -> (kube::Client, Arc<AtomicUsize>) {
    let watches = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&watches);
    let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
        let watch = request
            .uri()
            .query()
            .is_some_and(|query| query.contains("watch=true"));
        if watch {
            count.fetch_add(1, Ordering::Relaxed);
        }
        async move {
            let body = if watch {
                let reset = futures_util::stream::once(async move {
                    sleep(open).await;
                    Err::<http_body::Frame<Bytes>, _>(std::io::Error::other("reset"))
                });
                StreamBody::new(reset).boxed_unsync()
            } else {
                let page = r#"{"metadata": {"resourceVersion": "1"}, "items": []}"#;
                Full::from(page)
                    .map_err(|never| match never {})
                    .boxed_unsync()
            };
            Ok::<_, kube::Error>(http::Response::new(body))
        }
    });
    (kube::Client::new(service, "default"), watches)
}

/// What was said about these watches, and whether the source counted as connected at every look.
async fn said(open: Duration, watches: usize) -> (Vec<String>, String) {
    let (client, asked) = resetting(open);
    let (watch, mut received) = watch(client);
    let (health, metrics) = (Arc::clone(&watch.health), Arc::clone(&watch.metrics));
    let stop = CancellationToken::new();
    let running = tokio::spawn(watch.run(stop.clone()));
    while asked.load(Ordering::Relaxed) < watches {
        received.recv().await.expect("a signal");
    }
    stop.cancel();
    running.await.expect("it ends");
    (health.words(), metrics.encode())
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_reset_is_no_outage() {
    let (words, metrics) = said(Duration::from_secs(30), 20).await;
    assert_eq!(words, Vec::<String>::new());
    let restarts = r#"hawser_source_restarts_total{kind="Service",reason="unreachable"} "#;
    assert!(metrics.contains(restarts), "{metrics}");
}

#[tokio::test(start_paused = true)]
async fn watches_that_end_at_once_are_told() {
    let (words, _) = said(Duration::from_secs(1), usize::try_from(MANY).expect("few")).await;
    assert_eq!(words, Vec::<String>::new());
    let (words, _) = said(Duration::from_secs(1), 20).await;
    assert!(
        words.len() == 1 && words[0].contains("ends at once"),
        "{words:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_fails_begins_anew() {
    let asked = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&asked);
    let service = tower::service_fn(move |_: http::Request<kube::client::Body>| {
        let asked = count.fetch_add(1, Ordering::Relaxed);
        async move {
            assert!(asked > 0, "injected");
            std::future::pending::<Result<http::Response<kube::client::Body>, kube::Error>>().await
        }
    });
    let (watch, mut received) = watch(kube::Client::new(service, "default"));
    let stop = CancellationToken::new();
    let running = tokio::spawn(watch.run(stop.clone()));
    for _ in 0..2 {
        let begin = received.recv().await.expect("the list begins");
        assert!(matches!(begin.what, What::Begin));
    }
    while asked.load(Ordering::Relaxed) < 2 {
        tokio::task::yield_now().await;
    }
    stop.cancel();
    running.await.expect("it ends");
}
