use proptest::{collection::vec, prelude::*};
use rstest::rstest;
use tokio_tungstenite::tungstenite::protocol::{
    CloseFrame,
    frame::{
        Frame, FrameHeader,
        coding::{CloseCode, Control, Data, OpCode},
    },
};

use super::*;

/// What a walk along a stream saw.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    /// Offsets at which a frame starts, and whether a message does.
    starts: Vec<(usize, bool)>,
    /// Offsets at which messages and control frames end.
    ends: Vec<(usize, Option<Kind>)>,
    /// Codes of the Close frames.
    closes: Vec<Option<u16>>,
}

/// A parser that works on the whole stream and knows nothing of cuts.
fn naive(stream: &[u8]) -> Seen {
    let mut seen = Seen::default();
    let (mut fragmented, mut text) = (false, false);
    let mut at = 0_usize;
    seen.starts.push((0, true));
    while at < stream.len() {
        let rest = &stream[at..];
        let whole = (|| {
            let short = usize::from(*rest.get(1)? & 0x7f);
            let (mut head, length) = match short {
                126 => (
                    4,
                    u64::from(u16::from_be_bytes(rest.get(2..4)?.try_into().unwrap())),
                ),
                127 => (10, u64::from_be_bytes(rest.get(2..10)?.try_into().unwrap())),
                n => (2, n as u64),
            };
            let mut mask = [0; 4];
            if rest[1] & 0x80 != 0 {
                mask = rest.get(head..head + 4)?.try_into().unwrap();
                head += 4;
            }
            let end = head.checked_add(usize::try_from(length).ok()?)?;
            Some((mask, rest.get(head..end)?, end))
        })();
        let Some((mask, payload, end)) = whole else {
            return seen;
        };
        at += end;
        let (opcode, last) = (rest[0] & 0x0f, rest[0] & 0x80 != 0);
        match opcode {
            0..8 => {
                if opcode != 0 {
                    text = opcode == 1;
                }
                fragmented = !last;
                if last {
                    let kind = if text { Kind::Text } else { Kind::Binary };
                    seen.ends.push((at, Some(kind)));
                }
            }
            _ if payload.len() > 125 => {}
            8 => {
                seen.ends.push((at, Some(Kind::Close)));
                seen.closes.push(
                    (payload.len() >= 2)
                        .then(|| u16::from_be_bytes([payload[0] ^ mask[0], payload[1] ^ mask[1]])),
                );
            }
            9 => seen.ends.push((at, Some(Kind::Ping))),
            10 => seen.ends.push((at, Some(Kind::Pong))),
            _ => seen.ends.push((at, None)),
        }
        seen.starts.push((at, !fragmented));
    }
    seen
}

/// Walks along a stream that comes in pieces, holding what must be held. Also returns how much was taken.
fn walk(stream: &[u8], cuts: &[usize]) -> (Seen, usize) {
    let mut tracker = Tracker::default();
    let mut seen = Seen::default();
    let (mut at, mut end) = (0, 0);
    let mut cuts = cuts.iter().cycle();
    seen.starts.push((0, true));
    while end < stream.len() {
        end = stream.len().min(end + cuts.next().unwrap());
        loop {
            let next = &stream[at..end];
            match tracker.next(next, &Rules::NONE) {
                Step::More => {
                    assert!(next.len() < LONGEST_HELD, "{} bytes held", next.len());
                    break;
                }
                Step::Data { bytes, ended } => {
                    assert!(bytes > 0 && bytes <= next.len());
                    at += bytes;
                    if ended.is_some() {
                        seen.ends.push((at, ended));
                    }
                }
                Step::Control(control) => {
                    at += control.bytes;
                    if control.kind == Some(Kind::Close) {
                        seen.closes.push(control.close_code());
                    }
                    seen.ends.push((at, control.kind));
                }
                Step::Broken(violation) => panic!("{violation:?} without rules"),
            }
            if tracker.at_frame_start() {
                seen.starts.push((at, tracker.at_message_start()));
            }
        }
    }
    (seen, at)
}

/// A frame made by tungstenite.
fn frame(opcode: OpCode, fin: bool, payload: Vec<u8>, mask: Option<[u8; 4]>) -> Vec<u8> {
    let header = FrameHeader {
        is_final: fin,
        opcode,
        mask,
        ..FrameHeader::default()
    };
    let mut out = Vec::new();
    Frame::from_payload(header, payload.into())
        .format(&mut out)
        .unwrap();
    out
}

fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let opcode = prop_oneof![
        Just(OpCode::Data(Data::Text)),
        Just(OpCode::Data(Data::Binary)),
        Just(OpCode::Data(Data::Continue)),
        Just(OpCode::Control(Control::Ping)),
        Just(OpCode::Control(Control::Pong)),
        Just(OpCode::Control(Control::Close)),
    ];
    let length = prop_oneof![4 => 0_usize..130, 1 => Just(65_535_usize), 1 => 65_530_usize..66_000];
    (
        opcode,
        any::<bool>(),
        length,
        any::<Option<[u8; 4]>>(),
        any::<u8>(),
    )
        .prop_map(|(opcode, fin, length, mask, fill)| frame(opcode, fin, vec![fill; length], mask))
}

fn stream() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(any_frame(), 0..8).prop_map(|frames| frames.concat()),
        vec(any::<u8>(), 0..200),
    ]
}

proptest! {
    /// However the stream is cut, the tracker sees what the naive parser sees.
    #[test]
    fn agrees_with_a_naive_parser(stream in stream(), cuts in vec(1_usize..40_000, 1..60)) {
        prop_assert_eq!(walk(&stream, &cuts).0, naive(&stream));
    }

    #[test]
    fn agrees_byte_by_byte(stream in vec(any::<u8>(), 0..300)) {
        prop_assert_eq!(walk(&stream, &[1]).0, naive(&stream));
    }

    /// What is held back is the beginning of a header or control frame, never payload of a data frame.
    #[test]
    fn payload_is_never_held(stream in stream(), cuts in vec(1_usize..40_000, 1..60)) {
        let (seen, taken) = walk(&stream, &cuts);
        let at_start = seen.starts.iter().any(|(start, _)| *start == taken);
        prop_assert!(taken == stream.len() || at_start);
    }

    /// Rules never panic, and a frame that breaks one is the last that is taken.
    #[test]
    fn rules_are_total(
        stream in stream(),
        most in (0_u64..70_000, 0_u64..70_000),
        strict in proptest::option::of((any::<bool>(), extensions())),
    ) {
        let rules = Rules {
            frame: most.0,
            message: most.1,
            strict: strict.map(|(masked, extensions)| Strict { masked, extensions }),
        };
        let mut tracker = Tracker::default();
        let mut at = 0;
        loop {
            match tracker.next(&stream[at..], &rules) {
                Step::More => break,
                Step::Data { bytes, .. } => at += bytes,
                Step::Control(control) => at += control.bytes,
                Step::Broken(violation) => {
                    prop_assert!(tracker.at_frame_start());
                    prop_assert_eq!(tracker.next(&stream[at..], &rules), Step::Broken(violation));
                    break;
                }
            }
        }
    }
}

#[test]
fn every_split_of_every_header_form() {
    for length in [0, 1, 125, 126, 127, 65_535, 65_536, 70_000] {
        for mask in [None, Some([1, 2, 3, 4])] {
            let bytes = frame(OpCode::Data(Data::Binary), true, vec![7; length], mask);
            let expected = naive(&bytes);
            for first in 1..bytes.len().min(20) {
                for second in 1..20 {
                    let cuts = [first, second, bytes.len()];
                    let (seen, taken) = walk(&bytes, &cuts);
                    assert_eq!(seen, expected, "{length} {mask:?} {cuts:?}");
                    assert_eq!(taken, bytes.len());
                }
            }
        }
    }
}

#[test]
fn every_split_of_a_control_frame() {
    for length in [0, 1, 2, 50, 125] {
        for mask in [None, Some([9, 8, 7, 6])] {
            let bytes = frame(OpCode::Control(Control::Close), true, vec![3; length], mask);
            for cut in 1..bytes.len() {
                let mut tracker = Tracker::default();
                let cut = &bytes[..cut];
                assert_eq!(tracker.next(cut, &Rules::NONE), Step::More);
                assert!(tracker.at_message_start(), "nothing was taken");
            }
            assert_eq!(walk(&bytes, &[1]).0, naive(&bytes));
        }
    }
}

#[test]
fn endless_lengths_are_followed() {
    for length in [1_u64 << 63, u64::MAX] {
        let mut bytes = vec![0x82, 127];
        bytes.extend(length.to_be_bytes());
        bytes.resize(100_000, 0);
        let mut tracker = Tracker::default();
        let whole = Step::Data {
            bytes: bytes.len(),
            ended: None,
        };
        assert_eq!(tracker.next(&bytes, &Rules::NONE), whole);
        assert_eq!(tracker.left(), length - (100_000 - 10));
        assert!(!tracker.at_frame_start());
    }
}

#[test]
fn close_codes() {
    let close = |code: u16, reason: &'static str, mask| {
        let close = CloseFrame {
            code: CloseCode::from(code),
            reason: reason.into(),
        };
        let mut frame = Frame::close(Some(close));
        frame.header_mut().mask = mask;
        let mut out = Vec::new();
        frame.format(&mut out).unwrap();
        out
    };
    for (code, reason) in [(1000, ""), (1012, "restart"), (4999, "x")] {
        for mask in [None, Some([0xde, 0xad, 0xbe, 0xef])] {
            let seen = walk(&close(code, reason, mask), &[1]).0;
            assert_eq!(seen.closes, [Some(code)]);
        }
    }
    for body in [&[][..], &[3][..]] {
        let mut bytes = vec![0x88, u8::try_from(body.len()).unwrap()];
        bytes.extend(body);
        assert_eq!(walk(&bytes, &[1]).0.closes, [None]);
    }
}

#[test]
fn a_control_frame_between_fragments_does_not_end_the_message() {
    let mut tracker = Tracker::default();
    let mut next = |bytes: &[u8]| match tracker.next(bytes, &Rules::NONE) {
        Step::Data { ended, .. } => (ended, tracker.at_message_start()),
        Step::Control(control) => (control.kind, tracker.at_message_start()),
        other => panic!("{other:?}"),
    };
    assert_eq!(next(&[0x01, 1, b'a']), (None, false));
    assert_eq!(next(&[0x89, 0]), (Some(Kind::Ping), false));
    assert_eq!(next(&[0x80, 1, b'b']), (Some(Kind::Text), true));
}

#[test]
fn a_payload_is_compared_without_its_mask() {
    let bytes = frame(
        OpCode::Control(Control::Pong),
        true,
        b"12345678".to_vec(),
        Some([1, 2, 3, 4]),
    );
    match Tracker::default().next(&bytes, &Rules::NONE) {
        Step::Control(pong) => {
            assert!(pong.says(b"12345678"));
            assert!(!pong.says(b"1234567") && !pong.says(b"12345679"));
        }
        other => panic!("{other:?}"),
    }
}

#[rstest]
#[case::frame(&[(0x82, 11)], Some(Violation::FrameTooBig))]
#[case::whole_message(&[(0x82, 10)], None)]
#[case::fragments(&[(0x02, 10), (0x00, 5), (0x80, 6)], Some(Violation::MessageTooBig))]
#[case::fragments_that_fit(&[(0x02, 10), (0x00, 5), (0x80, 5), (0x81, 10)], None)]
#[case::control_frames_do_not_count(&[(0x02, 10), (0x89, 100), (0x80, 10)], None)]
#[case::the_next_message_counts_anew(&[(0x02, 10), (0x80, 10), (0x02, 10), (0x80, 10)], None)]
fn limits(#[case] frames: &[(u8, u8)], #[case] expected: Option<Violation>) {
    let rules = Rules {
        frame: 10,
        message: 20,
        strict: None,
    };
    assert_eq!(first_violation(frames, &rules, None), expected);
}

/// The first violation of these frames, each a first byte and a payload length.
fn first_violation(frames: &[(u8, u8)], rules: &Rules, mask: Option<[u8; 4]>) -> Option<Violation> {
    let mut tracker = Tracker::default();
    for (first, length) in frames {
        let mut bytes = vec![*first, *length];
        if let Some(mask) = mask {
            bytes[1] |= 0x80;
            bytes.extend(mask);
        }
        bytes.resize(bytes.len() + usize::from(*length), 0);
        match tracker.next(&bytes, rules) {
            Step::Broken(violation) => return Some(violation),
            Step::More => panic!("a whole frame"),
            Step::Data { .. } | Step::Control(_) => {}
        }
    }
    None
}

/// What is too long to be a control frame passes where nothing forbids it, but not beyond a limit.
#[rstest]
#[case::frame(Rules { frame: 1000, ..Rules::NONE }, Some(Violation::FrameTooBig))]
#[case::message(Rules { message: 1000, ..Rules::NONE }, Some(Violation::MessageTooBig))]
#[case::fits(Rules { frame: 1 << 40, message: 1 << 40, strict: None }, None)]
fn limits_hold_for_any_opcode(#[case] rules: Rules, #[case] expected: Option<Violation>) {
    for first in [0x88, 0x89, 0x8a, 0x8b, 0x8f] {
        let mut bytes = vec![first, 127];
        bytes.extend((1_u64 << 40).to_be_bytes());
        let violation = match Tracker::default().next(&bytes, &rules) {
            Step::Broken(violation) => Some(violation),
            _ => None,
        };
        assert_eq!(violation, expected, "{first:#x}");
    }
}

#[test]
fn a_length_over_the_limit_is_refused_by_its_header_alone() {
    let rules = Rules {
        message: 1 << 20,
        ..Rules::NONE
    };
    let mut bytes = vec![0x82, 127];
    bytes.extend((1_u64 << 63).to_be_bytes());
    for cut in 0..bytes.len() {
        assert_eq!(Tracker::default().next(&bytes[..cut], &rules), Step::More);
    }
    assert_eq!(
        Tracker::default().next(&bytes, &rules),
        Step::Broken(Violation::MessageTooBig)
    );
}

#[rstest]
#[case::fine(&[(0x81, 5), (0x02, 5), (0x89, 125), (0x80, 0), (0x8a, 0), (0x88, 0)], None)]
#[case::reserved_bit(&[(0xc1, 5)], Some(Violation::ReservedBits))]
#[case::reserved_data(&[(0x83, 5)], Some(Violation::ReservedOpcode))]
#[case::reserved_control(&[(0x8b, 5)], Some(Violation::ReservedOpcode))]
#[case::fragmented_control(&[(0x09, 5)], Some(Violation::Control))]
#[case::nothing_to_continue(&[(0x80, 5)], Some(Violation::Fragmentation))]
#[case::a_message_in_a_message(&[(0x01, 5), (0x81, 5)], Some(Violation::Fragmentation))]
#[case::close_of_one_byte(&[(0x88, 1)], Some(Violation::CloseCode))]
#[case::close_code_zero(&[(0x88, 2)], Some(Violation::CloseCode))]
fn strictness(#[case] frames: &[(u8, u8)], #[case] expected: Option<Violation>) {
    let strict = |masked| Rules {
        strict: Some(Strict {
            masked,
            extensions: Extensions::None,
        }),
        ..Rules::NONE
    };
    assert_eq!(first_violation(frames, &strict(false), None), expected);
    let mask = Some([0; 4]);
    assert_eq!(first_violation(frames, &strict(true), mask), expected);
    // Not asked for, anything goes.
    assert_eq!(first_violation(frames, &Rules::NONE, None), None);
    // The wrong way round.
    let wrong = Some(Violation::Mask);
    assert_eq!(first_violation(&[(0x81, 5)], &strict(true), None), wrong);
    assert_eq!(first_violation(&[(0x81, 5)], &strict(false), mask), wrong);
}

fn extensions() -> impl Strategy<Value = Extensions> {
    prop_oneof![
        Just(Extensions::None),
        Just(Extensions::Deflate),
        Just(Extensions::Other)
    ]
}

#[test]
fn an_extension_gives_reserved_bits_a_meaning() {
    let rules = |extensions| Rules {
        strict: Some(Strict {
            masked: false,
            extensions,
        }),
        ..Rules::NONE
    };
    let [deflate, other] = [Extensions::Deflate, Extensions::Other].map(rules);
    for first_frames in [&[(0xc1, 5)][..], &[(0x42, 5), (0x89, 0), (0x80, 5)]] {
        assert_eq!(first_violation(first_frames, &deflate, None), None);
    }
    // RFC 7692 section 6: not of control frames, not of continuations, and no other bit.
    for frames in [
        &[(0xa1, 5)][..],
        &[(0x91, 5)],
        &[(0xc9, 0)],
        &[(0x41, 5), (0xc0, 5)],
    ] {
        let expected = Some(Violation::ReservedBits);
        assert_eq!(first_violation(frames, &deflate, None), expected);
        assert_eq!(first_violation(frames, &other, None), None);
    }
}

/// What a stream begins with.
fn first<'b>(bytes: &'b [u8], rules: &Rules) -> Step<'b> {
    Tracker::default().next(bytes, rules)
}

#[test]
fn strict_lengths() {
    let rules = Rules {
        strict: Some(Strict {
            masked: false,
            extensions: Extensions::None,
        }),
        ..Rules::NONE
    };
    let length = Step::Broken(Violation::Length);
    assert_eq!(first(&[0x82, 126, 0, 125], &rules), length);
    assert_eq!(
        first(&[0x82, 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff], &rules),
        length
    );
    assert_eq!(
        first(&[0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0], &rules),
        length
    );
    let control = Step::Broken(Violation::Control);
    assert_eq!(first(&[0x89, 126, 0, 126], &rules), control);
    for code in [999_u16, 1004, 1005, 1006, 1015, 1016, 2999, 5000] {
        let [high, low] = code.to_be_bytes();
        let close = Step::Broken(Violation::CloseCode);
        assert_eq!(first(&[0x88, 2, high, low], &rules), close, "{code}");
    }
    for code in [1000_u16, 1003, 1007, 1014, 3000, 4999] {
        let [high, low] = code.to_be_bytes();
        assert!(
            matches!(first(&[0x88, 2, high, low], &rules), Step::Control(_)),
            "{code}"
        );
    }
}
