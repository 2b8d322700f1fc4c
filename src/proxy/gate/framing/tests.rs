use proptest::prelude::*;
use rstest::rstest;

use super::*;

/// What a connection made of its input: what passed, how many heads, how it ended.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    passed: Vec<u8>,
    heads: usize,
    step: Step,
}

/// Feeds the pieces as the stream does: what did not pass comes again.
fn feed<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let mut framing = Framing::new(Limits::default());
    let mut pending = Vec::new();
    let mut outcome = Outcome {
        passed: Vec::new(),
        heads: 0,
        step: Step::More,
    };
    for piece in pieces {
        if outcome.step != Step::More {
            break;
        }
        pending.extend_from_slice(piece);
        let progress = framing.advance(&pending);
        outcome.passed.extend(pending.drain(..progress.passed));
        outcome.heads += progress.heads;
        outcome.step = progress.step;
    }
    outcome
}

fn at_once(bytes: &[u8]) -> Outcome {
    feed([bytes])
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const POST: &[u8] = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nGET /";
const CHUNKED: &[u8] = b"PUT /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
    3;x=y\r\nGET\r\n0\r\nT: u\r\n\r\n";
const UPGRADE: &[u8] = b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\n\r\n";
const BAD: &[u8] = b"GET /bad HTTP/1.1\r\nHost : a\r\n\r\n";
const BAD_CHUNK: &[u8] = b"PUT /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
    3\r\nabcd\r\n0\r\n\r\n";

const PART: &[u8] = b"GET / HT";
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const BARE_LF: &[u8] = b"GET / HTTP/1.1\r\nHost: a\nx: y\r\n\r\n";

fn refused(refusal: Refusal) -> Step {
    Step::Refuse {
        refusal,
        head_request: false,
    }
}

#[rstest]
#[case(&[GET, GET], &[], 2, Step::More)]
#[case(&[POST, GET, CHUNKED, b"\r\n", GET], &[], 4, Step::More)]
#[case(&[GET, UPGRADE], &[GET], 2, Step::Hold)]
#[case(&[GET, POST], &[BAD, GET], 2, refused(Refusal::SpaceBeforeColon))]
#[case(&[GET], &[PART], 1, Step::More)]
#[case(&[], &[PREFACE, b"\0"], 0, Step::Http2)]
#[case(&[GET], &[PREFACE], 1, refused(Refusal::Version))]
#[case(&[], &[b"\r\n", PREFACE], 0, refused(Refusal::Version))]
fn requests(
    #[case] passing: &[&[u8]],
    #[case] rest: &[&[u8]],
    #[case] heads: usize,
    #[case] step: Step,
) {
    let passed = passing.concat();
    let outcome = at_once(&[passed.clone(), rest.concat()].concat());
    assert_eq!(
        outcome,
        Outcome {
            passed,
            heads,
            step
        }
    );
}

#[test]
fn a_body_breaks() {
    let outcome = at_once(BAD_CHUNK);
    assert_eq!(outcome.step, Step::Abort(Refusal::ChunkEnd));
    assert!(outcome.passed.ends_with(b"3\r\nabc"));
}

#[test]
fn a_refused_head_request_is_known() {
    let outcome = at_once(b"HEAD /#x HTTP/1.1\r\n\r\n");
    let refusal = Refusal::Fragment;
    let head_request = true;
    assert_eq!(
        outcome.step,
        Step::Refuse {
            refusal,
            head_request
        }
    );
}

#[test]
fn goes_on_behind_a_handshake_with_a_body() {
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
        Content-Length: 3\r\n\r\n";
    let mut framing = Framing::new(Limits::default());
    let progress = framing.advance(&[head.as_slice(), b"abc", GET].concat());
    assert_eq!((progress.passed, progress.step), (head.len(), Step::Hold));
    assert!(framing.in_body());
    assert_eq!(framing.remaining(), 3);
    let progress = framing.advance(&[b"abc", GET].concat());
    assert_eq!(progress.passed, 3 + GET.len());
    assert!(!framing.in_body());
}

#[test]
fn knows_whether_a_head_has_begun() {
    let mut framing = Framing::new(Limits::default());
    assert!(!framing.in_head());
    framing.advance(b"\r\n");
    assert!(!framing.in_head());
    framing.advance(b"\r\nG");
    assert!(framing.in_head());
    let mut framing = Framing::new(Limits::default());
    framing.advance(b"PRI");
    assert!(framing.in_head(), "the clock runs for a preface too");
}

/// The same at every place where the input can be cut, byte by byte included.
#[rstest]
#[case(&[GET, POST, CHUNKED, GET])]
#[case(&[b"\r\n\r\n", GET, b"\r\n", UPGRADE, GET])]
#[case(&[POST, BAD, GET])]
#[case(&[GET, BAD_CHUNK, GET])]
#[case(&[GET, b"\x16\x03\x01\x02\0\x01\0"])]
#[case(&[PREFACE])]
#[case(&[GET, PREFACE])]
#[case(&[&PREFACE[..20], b"x"])]
#[case(&[b"PUT / HTTP/1.1\r\nHost: a\r\n\r\n", GET])]
#[case(&[BARE_LF])]
fn pieces_do_not_matter(#[case] parts: &[&[u8]]) {
    let bytes = parts.concat();
    let whole = at_once(&bytes);
    assert!(bytes.starts_with(&whole.passed));
    for at in 0..=bytes.len() {
        assert_eq!(feed([&bytes[..at], &bytes[at..]]), whole, "cut at {at}");
    }
    assert_eq!(feed(bytes.chunks(1)), whole);
}

fn part() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(GET.to_vec()),
        Just(POST.to_vec()),
        Just(CHUNKED.to_vec()),
        Just(UPGRADE.to_vec()),
        Just(BAD.to_vec()),
        Just(BAD_CHUNK.to_vec()),
        Just(b"\r\n".to_vec()),
        proptest::collection::vec(any::<u8>(), 1..4),
    ]
}

proptest! {
    #[test]
    fn any_requests_in_any_pieces(
        parts in proptest::collection::vec(part(), 0..5),
        change in proptest::option::of((any::<prop::sample::Index>(), any::<u8>())),
        size in 1..40_usize,
    ) {
        let mut bytes = parts.concat();
        if let Some((at, byte)) = change
            && !bytes.is_empty()
        {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let whole = at_once(&bytes);
        prop_assert!(bytes.starts_with(&whole.passed));
        prop_assert_eq!(feed(bytes.chunks(size)), whole);
    }

    #[test]
    fn large_heads_in_any_pieces(
        kind in 0..3_usize,
        length in 8_000..40_000_usize,
        size in 1..9_000_usize,
        bad in proptest::option::of(0..40_000_usize),
    ) {
        let filler = "a".repeat(length);
        let mut bytes = match kind {
            0 => format!("GET /{filler} HTTP/1.1\r\nHost: a\r\n\r\n"),
            1 => format!("GET / HTTP/1.1\r\nHost: a\r\nx: {filler}\r\n\r\n"),
            _ => format!("{filler} / HTTP/1.1\r\nHost: a\r\n\r\n"),
        }.into_bytes();
        if let Some(bad) = bad
            && let Some(byte) = bytes.get_mut(bad)
        {
            *byte = 0;
        }
        prop_assert_eq!(feed(bytes.chunks(size)), at_once(&bytes));
    }
}
