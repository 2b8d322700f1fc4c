//! The keys of the API server, fetched.

use rstest::rstest;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::source::peers::{MAX_KEYS, keys};

/// Answers with this status and so many bytes, then nothing.
async fn fetched(status: &'static str, bytes: usize) -> Result<String, String> {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut head = [0; 4096];
        let _ = stream.read(&mut head).await;
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {bytes}\r\n\r\n");
        let _ = stream.write_all(head.as_bytes()).await;
        let _ = stream.write_all(&vec![b'x'; bytes]).await;
    });
    let url = format!("http://{address}").parse().expect("a URL");
    let mut config = kube::Config::new(url);
    config.default_retry = false;
    keys(kube::Client::try_from(config).expect("a client")).await
}

#[rstest]
#[case::fits("200 OK", MAX_KEYS, Ok(MAX_KEYS))]
#[case::too_long("200 OK", MAX_KEYS + 1, Err("length limit exceeded"))]
#[case::refused("403 Forbidden", 10_000, Err("403 Forbidden: xxx"))]
#[tokio::test]
async fn keys_are_bounded(
    #[case] status: &'static str,
    #[case] bytes: usize,
    #[case] expected: Result<usize, &str>,
) {
    match (fetched(status, bytes).await, expected) {
        (Ok(text), Ok(length)) => assert_eq!(text.len(), length),
        (Err(error), Err(words)) => {
            assert!(error.contains(words) && error.len() < 400, "{error}");
        }
        (got, expected) => panic!("{got:?} is not {expected:?}"),
    }
}
