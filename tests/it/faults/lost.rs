//! F10: a peer dies in the middle of what it sends.

use crate::kit::wire::{Ends, Site, expect, frame, reset, rest, send};

const TUNNELS: usize = 60;

/// Numbered frames of all kinds of lengths, and where each ends.
fn frames(masked: bool) -> (Vec<u8>, Vec<usize>) {
    let (mut bytes, mut ends) = (Vec::new(), vec![0]);
    for number in 0..40_usize {
        let length = [0, 5, 125, 126, 3000][number % 5];
        bytes.extend(frame(0x82, masked, &vec![number as u8; length]));
        ends.push(bytes.len());
    }
    (bytes, ends)
}

/// The code of the Close at the end, if there is one.
fn close_code(bytes: &[u8]) -> Option<u16> {
    let [0x88, length, rest @ ..] = bytes else {
        return None;
    };
    let (mask, payload) = if length & 0x80 == 0 {
        ([0; 2], rest)
    } else {
        ([rest[0], rest[1]], &rest[4..])
    };
    assert_eq!(payload.len(), usize::from(length & 0x7f), "nothing follows");
    Some(u16::from_be_bytes([
        payload[0] ^ mask[0],
        payload[1] ^ mask[1],
    ]))
}

/// What the other side gets is what was sent up to some point, and a Close if that is the end of a frame.
async fn dies(site: &Site, number: usize, client: bool) -> Option<u16> {
    let path = format!("/plain/{client}/{number}");
    let Ends {
        client: one,
        backend: other,
    } = site.open(&path).await;
    let (mut dying, mut left) = if client { (one, other) } else { (other, one) };
    let (bytes, ends) = frames(client);
    // A third of them exactly at the end of a frame.
    let sent = if number.is_multiple_of(3) {
        ends[fastrand::usize(1..ends.len())]
    } else {
        fastrand::usize(1..bytes.len())
    };
    send(&mut dying, &bytes[..sent]).await;
    let by_reset = number.is_multiple_of(2);
    if by_reset {
        // The first frames are through, or a reset could overtake them all.
        expect(&mut left, &bytes[..ends[1].min(sent)]).await;
        reset(dying);
    } else {
        drop(dying);
    }
    let got = rest(&mut left).await;
    drop(left);
    let skipped = if by_reset { ends[1].min(sent) } else { 0 };
    let bytes = &bytes[skipped..sent];
    let same = got
        .iter()
        .zip(bytes)
        .take_while(|(got, sent)| got == sent)
        .count();
    let close = close_code(&got[same..]);
    let at_end = ends.contains(&(skipped + same));
    assert!(
        got.len() == same || close.is_some(),
        "{path}: {} bytes are nobody's",
        got.len() - same
    );
    assert_eq!(
        close.is_some(),
        at_end,
        "{path}: {same} of {} bytes",
        bytes.len()
    );
    if !by_reset {
        // All of it, but for the beginning of a header that never became whole.
        let lost = bytes.len() - same;
        assert!(
            lost == 0 || (at_end && lost < 14),
            "{path}: {lost} bytes are missing"
        );
    }
    let (cause, code) = site.cause(&path).await;
    assert_eq!(
        cause,
        if client {
            "client_lost"
        } else {
            "backend_lost"
        }
    );
    assert_eq!(code, close.map(u64::from), "{path}");
    close
}

#[tokio::test]
async fn a_backend_that_dies_is_told_with_1014_between_frames_only() {
    let site = Site::start(&[("plain", "")]).await;
    for number in 0..TUNNELS {
        let code = dies(&site, number, false).await;
        assert!(matches!(code, None | Some(1014)), "{code:?}");
    }
}

#[tokio::test]
async fn a_client_that_dies_is_told_with_1001_between_frames_only() {
    let site = Site::start(&[("plain", "")]).await;
    for number in 0..TUNNELS {
        let code = dies(&site, number, true).await;
        assert!(matches!(code, None | Some(1001)), "{code:?}");
    }
}
