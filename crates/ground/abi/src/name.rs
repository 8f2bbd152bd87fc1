//! Names as they travel: text, then zeros to the end of their field.

/// A name as its field of `N` bytes; what does not fit is cut.
pub fn field<const N: usize>(name: &str) -> [u8; N] {
    let mut field = [0; N];
    field.iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from);
    field
}

/// The text of a field, and what stands behind it from the first zero on.
pub fn split(field: &[u8]) -> (&[u8], &[u8]) {
    field.split_at(field.iter().position(|byte| *byte == 0).unwrap_or(field.len()))
}

#[cfg(test)]
mod tests {
    use super::{field, split};

    #[test]
    fn a_name_comes_back_from_its_field() {
        assert_eq!(field::<4>("ab"), *b"ab\0\0");
        assert_eq!(field::<4>("abcdef"), *b"abcd");
        assert_eq!(split(b"ab\0\0"), (&b"ab"[..], &b"\0\0"[..]));
        assert_eq!(split(b"abcd"), (&b"abcd"[..], &b""[..]));
        assert_eq!(
            split(b"a\0b"),
            (&b"a"[..], &b"\0b"[..]),
            "what is behind a zero is the reader's to judge"
        );
        assert_eq!(split(b""), (&b""[..], &b""[..]));
    }
}
