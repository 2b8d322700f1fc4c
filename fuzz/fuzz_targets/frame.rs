//! `ws::frame::Tracker` under any rules: however a stream is cut, what it sees is the same. Whether that is right is asked by
//! `agrees_with_a_naive_parser` in `src/ws/frame/tests.rs`.
#![no_main]

use libfuzzer_sys::fuzz_target;

// The file itself, so that the build needs nothing of the rest.
#[allow(dead_code, reason = "not all of it is fuzzed")]
#[path = "../../src/ws/frame.rs"]
mod frame;

use frame::{Extensions, Kind, LONGEST_HELD, Rules, Step, Strict, Tracker};

/// What can be told apart in a stream: where something ends, and what.
#[derive(Debug, PartialEq)]
enum Seen {
    Message(usize, Kind),
    Control(usize, Option<Kind>, Option<u16>),
    Broken(usize, frame::Violation),
}

fn walk(stream: &[u8], cuts: &[u8], rules: &Rules) -> (Vec<Seen>, usize) {
    let mut tracker = Tracker::default();
    let mut seen = Vec::new();
    let (mut at, mut end) = (0, 0);
    let mut cuts = cuts.iter().cycle();
    loop {
        let step = cuts
            .next()
            .map_or(stream.len(), |cut| usize::from(*cut) + 1);
        end = stream.len().min(end + step);
        loop {
            let next = &stream[at..end];
            match tracker.next(next, rules) {
                Step::More => {
                    assert!(next.len() < LONGEST_HELD);
                    break;
                }
                Step::Data { bytes, ended } => {
                    assert!(bytes > 0 && bytes <= next.len());
                    at += bytes;
                    seen.extend(ended.map(|kind| Seen::Message(at, kind)));
                }
                Step::Control(control) => {
                    assert!(control.bytes <= next.len());
                    at += control.bytes;
                    seen.push(Seen::Control(at, control.kind, control.close_code()));
                }
                Step::Broken(violation) => {
                    assert!(tracker.at_frame_start());
                    seen.push(Seen::Broken(at, violation));
                    return (seen, at);
                }
            }
        }
        if end == stream.len() {
            return (seen, at);
        }
    }
}

/// A stream, where to cut it, the longest frame and message, and whether to be strict: about masks, and with which extensions.
type Input = (
    Vec<u8>,
    Vec<u8>,
    Option<u16>,
    Option<u16>,
    Option<(bool, Option<bool>)>,
);

fuzz_target!(|input: Input| {
    let (stream, cuts, most_frame, most_message, strict) = input;
    let rules = Rules {
        frame: most_frame.map_or(u64::MAX, u64::from),
        message: most_message.map_or(u64::MAX, u64::from),
        strict: strict.map(|(masked, extensions)| Strict {
            masked,
            extensions: match extensions {
                None => Extensions::None,
                Some(false) => Extensions::Deflate,
                Some(true) => Extensions::Other,
            },
        }),
    };
    let whole = walk(&stream, &[], &rules);
    assert_eq!(walk(&stream, &cuts, &rules), whole);
    assert_eq!(walk(&stream, &[0], &rules), whole);
});
