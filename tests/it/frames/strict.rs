//! What breaks RFC 6455: code 1002 on a strict route, passed on as it is elsewhere.

use tokio::io::AsyncWriteExt;

use crate::kit::wire::{
    Ends, Site, close, expect, expect_close, expect_end, frame, header, rest, send,
};

/// Bytes that break a rule, and what Hawser says about them; frames of a client unless it is told otherwise.
struct Bad {
    bytes: Vec<u8>,
    /// Legal frames before them.
    before: Vec<u8>,
    reason: &'static str,
    of_backend: bool,
}

fn bad(bytes: Vec<u8>, reason: &'static str) -> Bad {
    Bad {
        bytes,
        before: frame(0x82, true, b"good"),
        reason,
        of_backend: false,
    }
}

fn bad_of_backend(bytes: Vec<u8>, reason: &'static str) -> Bad {
    Bad {
        before: frame(0x82, false, b"good"),
        of_backend: true,
        ..bad(bytes, reason)
    }
}

/// A length in a form that is longer than needed.
fn long_form(form: u8, length: u64) -> Vec<u8> {
    let bytes = length.to_be_bytes();
    let digits = if form == 126 { &bytes[6..] } else { &bytes[..] };
    let mut frame = [&[0x82, 0x80 | form], digits, &[0; 4]].concat();
    frame.resize(frame.len() + length as usize, b'x');
    frame
}

fn all() -> Vec<Bad> {
    let mask = "protocol_error: wrong masking";
    let reserved_bit = "protocol_error: reserved bit";
    let reserved_opcode = "protocol_error: reserved opcode";
    let control = "protocol_error: bad control frame";
    let fragmentation = "protocol_error: bad fragmentation";
    let length = "protocol_error: bad payload length";
    let close_code = "protocol_error: bad close code";
    let mut all = vec![
        bad(frame(0x81, false, b"unmasked"), mask),
        bad(frame(0x89, false, b"unmasked"), mask),
        bad(frame(0x09, true, b"half a ping"), control),
        bad(frame(0x0a, true, b"half a pong"), control),
        bad(frame(0x08, true, &[3, 0xe8]), control),
        bad(frame(0x89, true, &[b'x'; 126]), control),
        bad(frame(0x88, true, &[3; 200]), control),
        bad(frame(0x80, true, b"the rest of nothing"), fragmentation),
        Bad {
            before: frame(0x01, true, b"a part"),
            ..bad(frame(0x81, true, b"another message"), fragmentation)
        },
        bad(long_form(126, 0), length),
        bad(long_form(126, 125), length),
        bad(long_form(127, 126), length),
        bad(long_form(127, 0xffff), length),
        bad(header(0x82, true, 1 << 63), length),
        bad(header(0x82, true, u64::MAX), length),
        bad(frame(0x88, true, &[3]), close_code),
        bad_of_backend(frame(0x82, true, b"masked"), mask),
        bad_of_backend(frame(0xc2, false, b"rsv1"), reserved_bit),
        bad_of_backend(frame(0x83, false, b"opcode 3"), reserved_opcode),
        bad_of_backend(frame(0x09, false, b"half a ping"), control),
        bad_of_backend(frame(0x80, false, b"the rest"), fragmentation),
        bad_of_backend(close(false, 1006), close_code),
    ];
    all.extend([0xc0, 0xa0, 0x90].map(|bit| bad(frame(bit | 2, true, b"x"), reserved_bit)));
    let opcodes = [3, 4, 5, 6, 7, 11, 12, 13, 14, 15];
    all.extend(opcodes.map(|opcode| bad(frame(0x80 | opcode, true, b"x"), reserved_opcode)));
    let codes = [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535];
    all.extend(codes.map(|code| bad(close(true, code), close_code)));
    all
}

/// Offender and victim.
fn sides(ends: Ends, of_backend: bool) -> (tokio::net::TcpStream, tokio::net::TcpStream) {
    if of_backend {
        (ends.backend, ends.client)
    } else {
        (ends.client, ends.backend)
    }
}

#[tokio::test]
async fn a_strict_route_ends_with_1002() {
    let site = Site::start(&[("strict", "upgrade: {strict: true}")]).await;
    for (number, bad) in all().into_iter().enumerate() {
        let path = format!("/strict/{number}");
        let (mut offender, mut victim) = sides(site.open(&path).await, bad.of_backend);
        let more = frame(0x82, !bad.of_backend, b"never passed on");
        send(&mut offender, &[&*bad.before, &bad.bytes, &more].concat()).await;
        expect(&mut victim, &bad.before).await;
        // Both are told, the victim at once behind what was good.
        let wanted = (1002, bad.reason.to_owned());
        assert_eq!(
            expect_close(&mut victim).await,
            wanted,
            "{number}: {:02x?}",
            bad.bytes
        );
        assert_eq!(
            expect_close(&mut offender).await,
            wanted,
            "{number}: {:02x?}",
            bad.bytes
        );
        for (side, masked) in [
            (&mut victim, bad.of_backend),
            (&mut offender, !bad.of_backend),
        ] {
            // Whoever broke the rules may be gone already.
            let _gone = side.write_all(&close(masked, 1002)).await;
            let _gone = side.shutdown().await;
        }
        expect_end(&mut victim).await;
        expect_end(&mut offender).await;
        assert_eq!(
            site.cause(&path).await,
            ("protocol_error".to_owned(), Some(1002))
        );
    }
}

#[tokio::test]
async fn elsewhere_it_passes_as_it_is() {
    let site = Site::start(&[("lax", "")]).await;
    for (number, bad) in all().into_iter().enumerate() {
        let path = format!("/lax/{number}");
        let (mut offender, mut victim) = sides(site.open(&path).await, bad.of_backend);
        send(&mut offender, &[&*bad.before, &bad.bytes].concat()).await;
        expect(&mut victim, &bad.before).await;
        let code = bad.bytes.ends_with(&[3, 0xed]) || bad.bytes.ends_with(&[3, 0xee]);
        if bad.bytes[0] == 0x88 && (code || bad.bytes.ends_with(&[3, 0xf7])) {
            // A code that must never be on the wire: the Close goes on without a body.
            expect(&mut victim, &[0x88, if bad.of_backend { 0 } else { 0x80 }]).await;
        } else {
            expect(&mut victim, &bad.bytes).await;
        }
    }
}

/// permessage-deflate gives the first reserved bit a meaning, and nobody looks at what it holds.
#[tokio::test]
async fn an_extension_may_use_reserved_bits() {
    let site = Site::start(&[("strict", "upgrade: {strict: true}")]).await;
    let mut ends = site.open_deflate("/strict").await;
    let no_deflate_at_all = frame(0xc1, true, &[0xff; 1000]);
    send(&mut ends.client, &no_deflate_at_all).await;
    expect(&mut ends.backend, &no_deflate_at_all).await;
    send(&mut ends.backend, &frame(0xc2, false, &[0; 1000])).await;
    expect(&mut ends.client, &frame(0xc2, false, &[0; 1000])).await;
    // RFC 7692 section 6: a control frame is never compressed.
    send(&mut ends.backend, &frame(0xc9, false, b"")).await;
    assert_eq!(expect_close(&mut ends.client).await.0, 1002);
}

/// Text is not checked, on a strict route neither: that would be looking into messages.
#[tokio::test]
async fn text_that_is_no_utf_8_is_the_business_of_the_ends() {
    let site = Site::start(&[("strict", "upgrade: {strict: true}"), ("lax", "")]).await;
    for path in ["/strict", "/lax"] {
        let mut ends = site.open(path).await;
        let junk = frame(0x81, true, b"\xff\xfe\xc0\x80");
        send(&mut ends.client, &junk).await;
        expect(&mut ends.backend, &junk).await;
        send(&mut ends.client, &close(true, 1007)).await;
        expect(&mut ends.backend, &close(true, 1007)).await;
        send(&mut ends.backend, &close(false, 1007)).await;
        assert_eq!(rest(&mut ends.client).await, close(false, 1007));
        assert_eq!(
            site.cause(path).await,
            ("client_closed".to_owned(), Some(1007))
        );
    }
}
