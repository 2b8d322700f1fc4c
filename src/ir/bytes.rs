//! Sets of bytes, to be asked without a branch for each kind.

/// Whether each byte is an ASCII letter, a digit or one of `marks`.
pub(crate) const fn alphanumeric_or(marks: &[u8]) -> [bool; 256] {
    let mut set = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        set[byte as usize] = byte.is_ascii_alphanumeric();
        byte += 1;
    }
    let mut i = 0;
    while i < marks.len() {
        set[marks[i] as usize] = true;
        i += 1;
    }
    set
}
