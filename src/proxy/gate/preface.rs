//! What a client sends first when it speaks HTTP/2 with prior knowledge (RFC 9113 section 3.4).

/// Chosen by its authors so that no HTTP/1 server takes it for a request.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How a connection begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beginning {
    /// With HTTP/1, or with nothing good.
    Http1,
    /// With less than can tell.
    Open,
    /// With the whole preface.
    Http2,
}

/// Looks at the first bytes of a connection.
pub(super) fn look(bytes: &[u8]) -> Beginning {
    if bytes.starts_with(PREFACE) {
        Beginning::Http2
    } else if PREFACE.starts_with(bytes) {
        Beginning::Open
    } else {
        Beginning::Http1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_prefix_is_open_until_it_is_whole() {
        for length in 0..PREFACE.len() {
            assert_eq!(look(&PREFACE[..length]), Beginning::Open);
        }
        assert_eq!(look(PREFACE), Beginning::Http2);
        assert_eq!(look(&[PREFACE, b"\0\0\0"].concat()), Beginning::Http2);
    }

    #[test]
    fn one_other_byte_is_http1() {
        for place in 0..PREFACE.len() {
            let mut bytes = PREFACE.to_vec();
            bytes[place] ^= 1;
            assert_eq!(look(&bytes), Beginning::Http1);
            assert_eq!(look(&bytes[..=place]), Beginning::Http1);
        }
        assert_eq!(look(b"PUT / HTTP/1.1\r\n"), Beginning::Http1);
    }
}
