use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
use proptest::prelude::*;
use rstest::rstest;

use super::*;

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

fn map(lines: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in lines {
        map.append(
            name.parse::<HeaderName>().unwrap(),
            HeaderValue::from_bytes(value.as_bytes()).unwrap(),
        );
    }
    map
}

/// A good request with one field replaced by these lines.
fn request(name: &str, values: &[&str]) -> HeaderMap {
    let mut headers = map(&[
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", KEY),
    ]);
    let name = name.parse::<HeaderName>().unwrap();
    headers.remove(&name);
    for value in values {
        headers.append(
            name.clone(),
            HeaderValue::from_bytes(value.as_bytes()).unwrap(),
        );
    }
    headers
}

fn sent(subprotocols: &[&str], extensions: &[&str]) -> Handshake {
    Handshake {
        key: KEY.to_owned(),
        subprotocols: subprotocols.iter().map(ToString::to_string).collect(),
        extensions: extensions.iter().map(ToString::to_string).collect(),
    }
}

#[rstest]
#[case(&["Upgrade"], &["websocket"], Kind::Attempt)]
#[case(&["keep-alive, UPGRADE"], &["WebSocket"], Kind::Attempt)]
#[case(&["close", "upgrade"], &["h2c", "websocket"], Kind::Attempt)]
#[case(&["upgrade"], &["h2c, websocket"], Kind::Attempt)]
#[case(&["upgrade"], &[" ,\twebsocket ,"], Kind::Attempt)]
#[case(&["upgrade"], &["websocket/13"], Kind::Plain)]
#[case(&["upgrade"], &["h2c"], Kind::Plain)]
#[case(&["upgrade"], &["TLS/1.0"], Kind::Plain)]
#[case(&["upgrade"], &["websockets"], Kind::Plain)]
#[case(&["upgrade"], &["\"websocket\""], Kind::Plain)]
#[case(&["upgrade"], &[], Kind::Plain)]
#[case(&[], &["websocket"], Kind::Plain)]
#[case(&["keep-alive"], &["websocket"], Kind::Plain)]
#[case(&["upgraded"], &["websocket"], Kind::Plain)]
fn classifies_by_connection_and_upgrade(
    #[case] connection: &[&str],
    #[case] upgrade: &[&str],
    #[case] kind: Kind,
) {
    let mut headers = HeaderMap::new();
    for value in connection {
        headers.append(CONNECTION, HeaderValue::from_str(value).unwrap());
    }
    for value in upgrade {
        headers.append(UPGRADE, HeaderValue::from_str(value).unwrap());
    }
    assert_eq!(classify(Version::HTTP_11, &headers), kind);
    assert_eq!(classify(Version::HTTP_10, &headers), Kind::Plain);
    assert_eq!(classify(Version::HTTP_2, &headers), Kind::Plain);
}

#[test]
fn accepts_what_browsers_send() {
    let mut headers = request("sec-websocket-protocol", &["chat.v2, chat.v1", "x"]);
    headers.append(
        SEC_WEBSOCKET_EXTENSIONS,
        HeaderValue::from_static("permessage-deflate; client_max_window_bits"),
    );
    assert_eq!(
        check(&Method::GET, &headers),
        Ok(sent(&["chat.v2", "chat.v1", "x"], &["permessage-deflate"]))
    );
}

#[rstest]
#[case("upgrade", &["h2c, websocket"], Invalid::Upgrade)]
#[case("upgrade", &["websocket", "h2c"], Invalid::Upgrade)]
#[case("upgrade", &["websocket, websocket"], Invalid::Upgrade)]
#[case("upgrade", &["websocket, websocket/13"], Invalid::Upgrade)]
#[case("sec-websocket-version", &[], Invalid::Version)]
#[case("sec-websocket-version", &["13", "13"], Invalid::Version)]
#[case("sec-websocket-version", &["13, 8"], Invalid::Version)]
#[case("sec-websocket-version", &["0"], Invalid::Version)]
#[case("sec-websocket-version", &["12"], Invalid::Version)]
#[case("sec-websocket-version", &["777"], Invalid::Version)]
#[case("sec-websocket-version", &["013"], Invalid::Version)]
#[case("sec-websocket-version", &[""], Invalid::Version)]
#[case("sec-websocket-key", &[], Invalid::Key)]
#[case("sec-websocket-key", &[""], Invalid::Key)]
#[case("sec-websocket-key", &[KEY, KEY], Invalid::Key)]
#[case("sec-websocket-key", &["dGhlIHNhbXBsZSBub25jZQ"], Invalid::Key)] // no padding
#[case("sec-websocket-key", &["dGhlIHNhbXBsZSBub25jZR=="], Invalid::Key)] // stray bits
#[case("sec-websocket-key", &["dGhlIHNhbXBsZSBub25j"], Invalid::Key)] // 15 bytes
#[case("sec-websocket-key", &["dGhlIHNhbXBsZSBub25jZWU="], Invalid::Key)] // 17 bytes
#[case("sec-websocket-key", &["dGhlIHNhbXBsZSBub25jZQ==="], Invalid::Key)]
#[case("sec-websocket-key", &["dGhlIHNhbXBsZ_Bub25jZQ=="], Invalid::Key)] // URL alphabet
#[case("content-length", &["5"], Invalid::Body)]
#[case("content-length", &["0", "5"], Invalid::Body)]
#[case("content-length", &["x"], Invalid::Body)]
#[case("transfer-encoding", &["chunked"], Invalid::Body)]
#[case("transfer-encoding", &["identity"], Invalid::Body)]
#[case("sec-websocket-protocol", &["a b"], Invalid::Subprotocols)]
#[case("sec-websocket-protocol", &["a, a"], Invalid::Subprotocols)]
#[case("sec-websocket-protocol", &["a", "b, a"], Invalid::Subprotocols)]
#[case("sec-websocket-protocol", &["chat/1"], Invalid::Subprotocols)]
#[case("sec-websocket-protocol", &["chät"], Invalid::Subprotocols)]
#[case("sec-websocket-extensions", &["a;"], Invalid::Extensions)]
#[case("sec-websocket-extensions", &["a; b=\"c,d\""], Invalid::Extensions)]
#[case("sec-websocket-extensions", &["a; b=\"\""], Invalid::Extensions)]
#[case("sec-websocket-extensions", &["a; b=\"c"], Invalid::Extensions)]
#[case("sec-websocket-extensions", &["a; b=\""], Invalid::Extensions)]
#[case("sec-websocket-extensions", &["a; =c"], Invalid::Extensions)]
#[case("sec-websocket-extensions", &["; b"], Invalid::Extensions)]
#[case("sec-websocket-extensions", &["a; b=c=d"], Invalid::Extensions)]
#[case("sec-websocket-extensions", &["a b"], Invalid::Extensions)]
fn refuses(#[case] name: &str, #[case] values: &[&str], #[case] invalid: Invalid) {
    assert_eq!(check(&Method::GET, &request(name, values)), Err(invalid));
}

#[rstest]
#[case("content-length", &["0"])]
#[case("sec-websocket-protocol", &[""])]
#[case("sec-websocket-extensions", &["a; b=\"c\\d\"; e = f , b;g"])]
#[case("sec-websocket-key", &["AAAAAAAAAAAAAAAAAAAAAA=="])]
fn accepts(#[case] name: &str, #[case] values: &[&str]) {
    assert!(check(&Method::GET, &request(name, values)).is_ok());
}

#[test]
fn only_get_is_a_handshake() {
    for method in [Method::POST, Method::HEAD, Method::PUT, Method::CONNECT] {
        assert_eq!(
            check(&method, &request("x-none", &[])),
            Err(Invalid::Method)
        );
    }
}

#[test]
fn offers_are_at_most_a_kibibyte() {
    let token = |n: usize| "a".repeat(n);
    let name = "sec-websocket-protocol";
    assert!(check(&Method::GET, &request(name, &[&token(1024)])).is_ok());
    let over = check(&Method::GET, &request(name, &[&token(1025)]));
    assert_eq!(over, Err(Invalid::Subprotocols));
    // Two lines count with the comma that would join them.
    let (left, right) = (token(512), "b".repeat(512));
    let over = check(&Method::GET, &request(name, &[&left, &right]));
    assert_eq!(over, Err(Invalid::Subprotocols));
    let name = "sec-websocket-extensions";
    assert!(check(&Method::GET, &request(name, &[&token(1024)])).is_ok());
    let over = check(&Method::GET, &request(name, &[&token(1025)]));
    assert_eq!(over, Err(Invalid::Extensions));
}

#[test]
fn offers_are_filtered_in_the_clients_order() {
    let offered = sent(&["c", "a", "b"], &[]).subprotocols;
    let allowed = ["b".to_owned(), "c".to_owned(), "z".to_owned()];
    assert_eq!(filter_subprotocols(&offered, None), offered);
    assert_eq!(filter_subprotocols(&offered, Some(&allowed)), ["c", "b"]);
    assert!(filter_subprotocols(&offered, Some(&[])).is_empty());
}

#[test]
fn accept_key_of_the_rfc() {
    assert_eq!(accept_key(KEY), ACCEPT);
}

/// A good answer with one field replaced by these lines.
fn answer(name: &str, values: &[&str]) -> HeaderMap {
    let mut headers = map(&[
        ("connection", "Upgrade"),
        ("upgrade", "WebSocket"),
        ("sec-websocket-accept", ACCEPT),
    ]);
    let name = name.parse::<HeaderName>().unwrap();
    headers.remove(&name);
    for value in values {
        headers.append(name.clone(), HeaderValue::from_str(value).unwrap());
    }
    headers
}

#[rstest]
#[case("x-none", &[], Ok(()))]
#[case("upgrade", &[], Err(BadAnswer::Upgrade))]
#[case("upgrade", &["h2c"], Err(BadAnswer::Upgrade))]
#[case("upgrade", &["websocket, h2c"], Err(BadAnswer::Upgrade))]
#[case("connection", &[], Err(BadAnswer::Connection))]
#[case("connection", &["close"], Err(BadAnswer::Connection))]
#[case("sec-websocket-accept", &[], Err(BadAnswer::Accept))]
#[case("sec-websocket-accept", &[ACCEPT, ACCEPT], Err(BadAnswer::Accept))]
#[case("sec-websocket-accept", &["S3pPLMBiTxaQ9kYGzzhZRbK+xOo="], Err(BadAnswer::Accept))]
#[case("sec-websocket-protocol", &["chat"], Ok(()))]
#[case("sec-websocket-protocol", &["Chat"], Err(BadAnswer::Subprotocol))]
#[case("sec-websocket-protocol", &["other"], Err(BadAnswer::Subprotocol))]
#[case("sec-websocket-protocol", &[""], Err(BadAnswer::Subprotocol))]
#[case("sec-websocket-protocol", &["chat, x"], Err(BadAnswer::Subprotocol))]
#[case("sec-websocket-protocol", &["chat", "x"], Err(BadAnswer::Subprotocol))]
#[case("sec-websocket-extensions", &["Permessage-Deflate; a=1"], Ok(()))]
#[case("sec-websocket-extensions", &["permessage-deflate, b"], Err(BadAnswer::Extension))]
#[case("sec-websocket-extensions", &["permessage-deflate;;"], Err(BadAnswer::Extension))]
fn verifies_the_answer(
    #[case] name: &str,
    #[case] values: &[&str],
    #[case] result: Result<(), BadAnswer>,
) {
    let sent = sent(&["chat", "x"], &["permessage-deflate"]);
    let headers = answer(name, values);
    assert_eq!(
        verify(&sent, StatusCode::SWITCHING_PROTOCOLS, &headers),
        result
    );
    assert_eq!(
        verify(&sent, StatusCode::OK, &headers),
        Err(BadAnswer::Status)
    );
}

#[test]
fn what_was_filtered_away_may_not_come_back() {
    let none = sent(&[], &[]);
    let status = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer("sec-websocket-protocol", &["chat"]);
    assert_eq!(verify(&none, status, &headers), Err(BadAnswer::Subprotocol));
    let headers = answer("sec-websocket-extensions", &["permessage-deflate"]);
    assert_eq!(verify(&none, status, &headers), Err(BadAnswer::Extension));
}

proptest! {
    #[test]
    fn never_panics(lines in proptest::collection::vec((0_usize..8, proptest::collection::vec(any::<u8>(), 0..40)), 0..12)) {
        let names = [CONNECTION, UPGRADE, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION,
            SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_ACCEPT, CONTENT_LENGTH];
        let mut headers = request("x-none", &[]);
        for (name, value) in lines {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                headers.append(names[name].clone(), value);
            }
        }
        let _ = classify(Version::HTTP_11, &headers);
        let _ = check(&Method::GET, &headers);
        let _ = verify(&sent(&[], &[]), StatusCode::SWITCHING_PROTOCOLS, &headers);
    }

    #[test]
    fn every_key_of_16_bytes_is_accepted(bytes in any::<[u8; 16]>()) {
        let key = BASE64.encode(bytes);
        let headers = request("sec-websocket-key", &[&key]);
        prop_assert_eq!(check(&Method::GET, &headers).map(|h| h.key), Ok(key));
    }
}

#[test]
fn a_connect_needs_no_key_and_gets_ours() {
    let mut headers = request("sec-websocket-protocol", &["chat.v1"]);
    for name in ["connection", "upgrade", "sec-websocket-key"] {
        headers.remove(name);
    }
    let nonce = *b"the sample nonce";
    let expected = Handshake {
        key: KEY.into(),
        subprotocols: vec!["chat.v1".into()],
        extensions: Vec::new(),
    };
    assert_eq!(check_connect(&headers, nonce), Ok(expected.clone()));
    // What a client says about a key is no matter.
    headers.insert("sec-websocket-key", HeaderValue::from_static("x"));
    assert_eq!(check_connect(&headers, nonce), Ok(expected));

    headers.insert("content-length", HeaderValue::from_static("1"));
    assert_eq!(check_connect(&headers, nonce), Err(Invalid::Body));
    headers.remove("content-length");
    headers.insert("sec-websocket-version", HeaderValue::from_static("8"));
    assert_eq!(check_connect(&headers, nonce), Err(Invalid::Version));
}

#[rstest]
#[case(&[], Extensions::None)]
#[case(&[""], Extensions::None)]
#[case(&["Permessage-Deflate; server_max_window_bits=10"], Extensions::Deflate)]
#[case(&["permessage-deflate", "x"], Extensions::Other)]
#[case(&["bbf-usp-protocol"], Extensions::Other)]
fn what_was_negotiated(#[case] values: &[&str], #[case] expected: Extensions) {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append(SEC_WEBSOCKET_EXTENSIONS, value.parse().unwrap());
    }
    assert_eq!(negotiated(&headers), expected);
}
