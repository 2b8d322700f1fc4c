//! Who may give orders, and what is said to those who may not.

use super::*;

/// Reads whole seconds.
fn seconds(text: &str) -> Option<Duration> {
    Some(Duration::from_secs(text.strip_suffix('s')?.parse().ok()?))
}

async fn with_orders(surface: Surface) -> Server {
    let orders = Orders { duration: seconds };
    server_with(surface, |state| state.orders = Some(orders)).await
}

const DRAIN: &str = "/api/v1/drain?route=shop/chat";
const CLOSE: &str = "/api/v1/connections/7/close";

impl Server {
    async fn order(&self, path: &str, fields: &str) -> Answer {
        let host = self.address;
        let request =
            format!("POST {path} HTTP/1.0\r\nHost: {host}\r\nContent-Length: 0\r\n{fields}\r\n");
        self.send(&request).await
    }
}

#[tokio::test]
async fn without_the_flag_the_answer_names_it() {
    let server = server(Surface::Admin).await;
    for path in [DRAIN, CLOSE, "/api/v1/drain"] {
        let answer = server.order(path, "").await;
        assert_eq!(answer.status(), "403", "{path}");
        assert!(answer.body.contains("--admin-write"), "{}", answer.body);
    }
}

#[tokio::test]
async fn the_status_address_takes_none() {
    let server = with_orders(Surface::Status).await;
    for path in [DRAIN, CLOSE] {
        let answer = server.order(path, "").await;
        assert_eq!(answer.status(), "404", "{path}");
        assert!(!answer.body.contains("/api/"), "{}", answer.body);
    }
}

#[tokio::test]
async fn only_post_gives_one() {
    let server = with_orders(Surface::Admin).await;
    for method in ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"] {
        for path in [DRAIN, CLOSE] {
            let answer = server
                .send(&format!("{method} {path} HTTP/1.0\r\n\r\n"))
                .await;
            assert_eq!(answer.status(), "405", "{method} {path}");
            assert!(answer.head.contains("allow: post"), "{}", answer.head);
        }
    }
}

/// What a browser sends for a form or a script of a foreign page, and for one that resolves to this address.
#[tokio::test]
async fn no_web_page_gives_one() {
    let server = with_orders(Surface::Admin).await;
    for fields in [
        "Origin: https://evil.example\r\nSec-Fetch-Site: cross-site\r\n",
        "Origin: https://evil.example\r\n",
        "Origin: null\r\nContent-Type: text/plain\r\n",
        "Sec-Fetch-Site: cross-site\r\n",
        "Origin: http://127.0.0.1:1\r\nSec-Fetch-Site: same-site\r\n",
    ] {
        for path in [DRAIN, CLOSE] {
            let answer = server.order(path, fields).await;
            assert_eq!(answer.status(), "403", "{fields} {path}");
            assert!(answer.body.contains("web page"), "{}", answer.body);
        }
    }
    let rebound = format!("POST {DRAIN} HTTP/1.0\r\nHost: evil.example\r\n\r\n");
    assert_eq!(server.send(&rebound).await.status(), "421");
    let preflight = format!("OPTIONS {DRAIN} HTTP/1.0\r\nOrigin: https://evil.example\r\n\r\n");
    let answer = server.send(&preflight).await;
    assert_eq!(answer.status(), "405");
    assert!(!answer.head.contains("access-control"), "{}", answer.head);
    // A page of the admin address itself may, and so may curl.
    let own = format!(
        "Origin: http://{}\r\nSec-Fetch-Site: same-origin\r\n",
        server.address
    );
    for fields in [&*own, "User-Agent: curl/8.5.0\r\n"] {
        assert_eq!(
            server.order(DRAIN, fields).await.status(),
            "200",
            "{fields}"
        );
    }
}

#[tokio::test]
async fn a_bad_value_says_what_to_write() {
    let server = with_orders(Surface::Admin).await;
    for (path, status, words) in [
        (CLOSE, "404", "7"),
        ("/api/v1/connections/x/close", "400", "/api/v1/connections"),
        ("/api/v1/connections/-1/close", "400", "/api/v1/connections"),
        ("/api/v1/connections//close", "400", "/api/v1/connections"),
        ("/api/v1/connections/1/2/close", "404", "/api/v1/drain"),
        ("/api/v1/drain", "400", "route=namespace/name"),
        ("/api/v1/drain?route=chat", "400", "namespace/name"),
        ("/api/v1/drain?endpoint=chat:80", "400", "ADDRESS:PORT"),
        ("/api/v1/drain?route=a/b&window=1", "400", "window=60s"),
        ("/api/v1/drain?route=a/b&rout=a/c", "400", "rout"),
    ] {
        let answer = server.order(path, "").await;
        assert_eq!(answer.status(), status, "{path}");
        assert!(answer.body.contains(words), "{path}: {}", answer.body);
    }
    let done = server.order(DRAIN, "").await.json();
    assert_eq!(done, json!({"tunnels": 0, "window_seconds": 0.0}));
}
