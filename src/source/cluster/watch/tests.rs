use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

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

#[tokio::test]
async fn pages_come_as_fast_as_they_are_taken() {
    let (client, asked) = endless().await;
    let metrics = Metrics::new();
    let (signals, mut received) = mpsc::channel(100);
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
