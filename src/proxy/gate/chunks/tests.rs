use proptest::prelude::*;
use rstest::rstest;

use super::*;

fn read(bytes: &[u8]) -> (usize, Status) {
    Chunks::new().advance(bytes)
}

#[rstest]
#[case(b"0\r\n\r\n")]
#[case(b"3\r\nabc\r\n0\r\n\r\n")]
#[case(b"3\r\nabc\r\nA\r\n0123456789\r\n00\r\n\r\n")]
#[case(b"3;foo=bar\r\nabc\r\n0;x=\"y;z\"\r\n\r\n")]
#[case(b"3 \t\r\nabc\r\n0\r\n\r\n")]
#[case(b"3 ;a\r\nabc\r\n0\r\n\r\n")]
#[case(b"2\r\n\r\n\r\n0\r\n\r\n")]
#[case(b"0\r\nDigest: x\r\nempty:\r\n\r\n")]
#[case(b"0000000000000003\r\nabc\r\n0\r\n\r\n")]
fn whole(#[case] bytes: &[u8]) {
    assert_eq!(read(bytes), (bytes.len(), Status::Done));
    let more = [bytes, b"GET"].concat();
    assert_eq!(read(&more), (bytes.len(), Status::Done));
}

#[rstest]
#[case(b"\r\n", 0, Refusal::ChunkSize)]
#[case(b"0x3\r\n", 1, Refusal::ChunkSize)]
#[case(b"-1\r\n", 0, Refusal::ChunkSize)]
#[case(b" 3\r\n", 0, Refusal::ChunkSize)]
#[case(b";a\r\n", 0, Refusal::ChunkSize)]
#[case(b"3\nabc", 1, Refusal::ChunkSize)]
#[case(b"3\r\r\n", 2, Refusal::ChunkSize)]
#[case(b"3 3\r\n", 2, Refusal::ChunkSize)]
#[case(b"3_0\r\n", 1, Refusal::ChunkSize)]
#[case(b"00000000000000003\r\n", 16, Refusal::ChunkSize)]
#[case(b"10000000000000000\r\n", 16, Refusal::ChunkSize)]
#[case(b"3;\nabc\r\n", 2, Refusal::ChunkExtension)]
#[case(b"3;a\nb\r\nabc\r\n", 3, Refusal::ChunkExtension)]
#[case(b"3;a\0\r\n", 3, Refusal::ChunkExtension)]
#[case(b"3;a\rb\r\n", 4, Refusal::ChunkSize)]
#[case(b"3\r\nabcd\r\n", 6, Refusal::ChunkEnd)]
#[case(b"3\r\nabc\n", 6, Refusal::ChunkEnd)]
#[case(b"3\r\nabc\rx", 7, Refusal::ChunkEnd)]
#[case(b"0\r\n\n", 3, Refusal::Trailer)]
#[case(b"0\r\n x: y\r\n", 3, Refusal::Trailer)]
#[case(b"0\r\n: y\r\n", 3, Refusal::Trailer)]
#[case(b"0\r\nx : y\r\n", 4, Refusal::Trailer)]
#[case(b"0\r\nx_y: z\r\n", 4, Refusal::Trailer)]
#[case(b"0\r\nxy\r\n", 5, Refusal::Trailer)]
#[case(b"0\r\nx: y\n", 7, Refusal::Trailer)]
#[case(b"0\r\nx: y\0\r\n", 7, Refusal::Trailer)]
#[case(b"0\r\nx: y\r\n z\r\n", 9, Refusal::Trailer)]
fn broken(#[case] bytes: &[u8], #[case] passed: usize, #[case] refusal: Refusal) {
    assert_eq!(read(bytes), (passed, Status::Broken(refusal)));
}

#[test]
fn many_extensions() {
    let chunk = [b"1;".as_slice(), &[b'x'; 1000], b"\r\na\r\n"].concat();
    let (_, status) = read(&chunk.repeat(20));
    assert_eq!(status, Status::Broken(Refusal::ChunkExtension));
    let (_, status) = read(&chunk.repeat(15));
    assert_eq!(status, Status::More);
}

#[test]
fn many_trailers() {
    let fields = |count: usize| [b"0\r\n".as_slice(), &b"a: b\r\n".repeat(count), b"\r\n"].concat();
    assert_eq!(read(&fields(TRAILER_FIELDS)).1, Status::Done);
    let broken = Status::Broken(Refusal::Trailer);
    assert_eq!(read(&fields(TRAILER_FIELDS + 1)).1, broken);
    let wide = [b"0\r\na: ".as_slice(), &[b'b'; TRAILER_BYTES], b"\r\n\r\n"].concat();
    assert_eq!(read(&wide).1, broken);
}

#[test]
fn remaining() {
    let mut chunks = Chunks::new();
    assert_eq!(chunks.remaining(), 0);
    chunks.advance(b"a\r\nabc");
    assert_eq!(chunks.remaining(), 7);
}

proptest! {
    #[test]
    fn any_bytes_in_any_pieces(
        bytes in proptest::collection::vec(prop_oneof![
            Just(b'0'), Just(b'3'), Just(b'\r'), Just(b'\n'), Just(b';'), Just(b':'), any::<u8>(),
        ], 0..40),
        at in 0..40_usize,
    ) {
        let whole = read(&bytes);
        let (first, second) = bytes.split_at(at.min(bytes.len()));
        let mut chunks = Chunks::new();
        let (passed, status) = chunks.advance(first);
        let pieces = if status == Status::More {
            let (more, status) = chunks.advance(second);
            (passed + more, status)
        } else {
            (passed, status)
        };
        prop_assert_eq!(whole, pieces);
    }
}
