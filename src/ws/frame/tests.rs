use proptest::{collection::vec, prelude::*};
use tokio_tungstenite::tungstenite::protocol::{
    CloseFrame,
    frame::{
        Frame, FrameHeader,
        coding::{CloseCode, Control, Data, OpCode},
    },
};

use super::*;

/// What can be seen of a walk.
fn view(walk: &Walk) -> (bool, bool, Option<Close>) {
    (walk.at_frame_start(), walk.at_message_start(), walk.close())
}

/// A parser that works on the whole stream: for every offset whether a frame and a message start there,
/// and which Close is complete before it.
fn naive(stream: &[u8]) -> Vec<(bool, bool, Option<Close>)> {
    let mut out = vec![(true, true, None)];
    let mut fragmented = false;
    let mut close = None;
    let mut at = 0_usize;
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
            out.extend(std::iter::repeat_n((false, false, close), rest.len()));
            return out;
        };
        out.extend(std::iter::repeat_n((false, false, close), end - 1));
        if rest[0] & 0x0f < 8 {
            fragmented = rest[0] & 0x80 == 0;
        }
        if rest[0] & 0x0f == 8 && close.is_none() {
            close = Some(Close {
                code: (payload.len() >= 2)
                    .then(|| u16::from_be_bytes([payload[0] ^ mask[0], payload[1] ^ mask[1]])),
            });
        }
        at += end;
        out.push((true, !fragmented, close));
    }
    out
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
    /// At every offset, however the stream was cut before it, the walk sees what the naive parser sees.
    #[test]
    fn agrees_with_a_naive_parser(stream in stream(), cuts in vec(1_usize..40_000, 1..60)) {
        let expected = naive(&stream);
        let mut walk = Walk::default();
        let mut at = 0;
        let mut cuts = cuts.iter().cycle();
        prop_assert_eq!(view(&walk), expected[0]);
        while at < stream.len() {
            let end = stream.len().min(at + cuts.next().unwrap());
            walk.advance(&stream[at..end]);
            at = end;
            prop_assert_eq!(view(&walk), expected[at]);
        }
    }

    #[test]
    fn agrees_byte_by_byte(stream in vec(any::<u8>(), 0..300)) {
        let expected = naive(&stream);
        let mut walk = Walk::default();
        for (at, byte) in stream.iter().enumerate() {
            walk.advance(&[*byte]);
            prop_assert_eq!(view(&walk), expected[at + 1]);
        }
    }

    /// `frame` stops at every boundary, and nowhere else but at the end of the bytes.
    #[test]
    fn frame_stops_at_boundaries(stream in stream()) {
        let expected = naive(&stream);
        let mut walk = Walk::default();
        let mut at = 0;
        while at < stream.len() {
            let taken = walk.frame(&stream[at..]);
            prop_assert!(taken > 0);
            prop_assert!(expected[at + 1..at + taken].iter().all(|(start, ..)| !start));
            at += taken;
            prop_assert!(expected[at].0 || at == stream.len());
        }
    }
}

#[test]
fn every_length_form() {
    for length in [0, 1, 125, 126, 127, 65_535, 65_536, 70_000] {
        for mask in [None, Some([1, 2, 3, 4])] {
            let bytes = frame(OpCode::Data(Data::Binary), true, vec![7; length], mask);
            let mut walk = Walk::default();
            walk.advance(&bytes[..bytes.len() - 1]);
            assert!(!walk.at_frame_start(), "{length} {mask:?}");
            walk.advance(&bytes[bytes.len() - 1..]);
            assert!(walk.at_message_start(), "{length} {mask:?}");
        }
    }
}

#[test]
fn endless_lengths_are_followed() {
    for length in [1_u64 << 63, u64::MAX] {
        let mut walk = Walk::default();
        walk.advance(&[0x82, 127]);
        walk.advance(&length.to_be_bytes());
        walk.advance(&vec![0; 100_000]);
        assert!(!walk.at_frame_start());
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
            let bytes = close(code, reason, mask);
            let mut walk = Walk::default();
            walk.advance(&bytes[..bytes.len() - 1]);
            assert_eq!(walk.close(), None, "not before it is complete");
            walk.advance(&bytes[bytes.len() - 1..]);
            assert_eq!(walk.close(), Some(Close { code: Some(code) }));
            walk.advance(&close(1001, "", None));
            assert_eq!(walk.close(), Some(Close { code: Some(code) }), "the first");
        }
    }
    for body in [&[][..], &[3][..]] {
        let mut walk = Walk::default();
        walk.advance(&[0x88, u8::try_from(body.len()).unwrap()]);
        walk.advance(body);
        assert_eq!(walk.close(), Some(Close { code: None }));
    }
}

#[test]
fn a_control_frame_between_fragments_does_not_end_the_message() {
    let mut walk = Walk::default();
    walk.advance(&[0x01, 1, b'a']);
    assert!(walk.at_frame_start() && !walk.at_message_start());
    walk.advance(&[0x89, 0]);
    assert!(walk.at_frame_start() && !walk.at_message_start());
    walk.advance(&[0x80, 1, b'b']);
    assert!(walk.at_message_start());
}

#[test]
fn tells_a_close_by_its_first_byte() {
    assert!(starts_close(0x88) && starts_close(0x08));
    assert!(!starts_close(0x89) && !starts_close(0x80) && !starts_close(0x82));
}
