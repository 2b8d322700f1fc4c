//! Which requests a browser may have sent for a foreign web page.
//!
//! A page can make a browser send a POST to 127.0.0.1 without reading the answer (CSRF). Every browser then says where
//! the request comes from: `Origin` stands in each POST (Fetch standard, "append a request `Origin` header"), and
//! `Sec-Fetch-Site` in each request. curl and other tools send neither.

use http::{Request, header};

const SEC_FETCH_SITE: &str = "sec-fetch-site";

/// Whether the request comes from no web page, or from one of this very address.
pub(super) fn is_own<B>(request: &Request<B>) -> bool {
    let values = |name: &str| {
        let values = request.headers().get_all(name).iter();
        values.map(|value| value.to_str().unwrap_or("?").to_ascii_lowercase())
    };
    let own: Vec<_> = values(header::HOST.as_str())
        .map(|host| format!("http://{host}"))
        .collect();
    values(SEC_FETCH_SITE).all(|site| matches!(&*site, "same-origin" | "none"))
        && values(header::ORIGIN.as_str()).all(|origin| own == [origin])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_allowed(fields: &[(&str, &str)]) -> bool {
        let mut request = Request::post("/").header(header::HOST, "127.0.0.1:9100");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        is_own(&request.body(()).expect("a request"))
    }

    #[test]
    fn tools_and_pages_of_this_address_may() {
        for fields in [
            &[][..],
            &[("user-agent", "curl/8.5.0")],
            &[("sec-fetch-site", "none")],
            &[
                ("origin", "http://127.0.0.1:9100"),
                ("sec-fetch-site", "same-origin"),
            ],
            &[("origin", "HTTP://127.0.0.1:9100")],
        ] {
            assert!(is_allowed(fields), "{fields:?}");
        }
    }

    #[test]
    fn pages_of_others_may_not() {
        for fields in [
            &[("origin", "https://evil.example")][..],
            // What a sandboxed frame, a data: URL and `no-referrer` give.
            &[("origin", "null")],
            &[("origin", "")],
            &[("origin", "https://127.0.0.1:9100")],
            &[("origin", "http://127.0.0.1:8080")],
            &[("origin", "http://127.0.0.1")],
            &[("origin", "http://localhost:9100")],
            &[
                ("origin", "http://127.0.0.1:9100"),
                ("origin", "https://evil.example"),
            ],
            // Another port of this host is same-site.
            &[("sec-fetch-site", "same-site")],
            &[("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "something-new")],
            &[("sec-fetch-site", "none"), ("sec-fetch-site", "cross-site")],
        ] {
            assert!(!is_allowed(fields), "{fields:?}");
        }
    }

    #[test]
    fn without_a_host_no_page_is_own() {
        let request = Request::post("/").header(header::ORIGIN, "http://127.0.0.1:9100");
        assert!(!is_own(&request.body(()).expect("a request")));
    }
}
