//! Structs of a fixed layout, little-endian: each field stands at the offset that is written beside it, which is
//! checked when the crate is compiled.

/// A field of a struct that travels.
pub trait Field: Sized {
    /// Bytes that it takes.
    const BYTES: usize;
    /// What its offset is a multiple of.
    const ALIGN: usize;
    /// Writes it to the start of `into`; the rest.
    fn put<'b>(&self, into: &'b mut [u8]) -> &'b mut [u8];
    /// Reads it from the start of `from`; the rest.
    fn get(from: &[u8]) -> (Self, &[u8]);
}

macro_rules! number {
    ($($type:ty),*) => {$(
        impl Field for $type {
            const BYTES: usize = size_of::<Self>();
            const ALIGN: usize = size_of::<Self>();

            fn put<'b>(&self, into: &'b mut [u8]) -> &'b mut [u8] {
                match into.split_first_chunk_mut() {
                    Some((head, rest)) => {
                        *head = self.to_le_bytes();
                        rest
                    }
                    None => &mut [],
                }
            }

            fn get(from: &[u8]) -> (Self, &[u8]) {
                from.split_first_chunk().map_or((0, &[]), |(head, rest)| (Self::from_le_bytes(*head), rest))
            }
        }
    )*};
}

number!(u8, u32, u64, i64);

impl<T: Field + Copy + Default, const N: usize> Field for [T; N] {
    const BYTES: usize = T::BYTES * N;
    const ALIGN: usize = T::ALIGN;

    fn put<'b>(&self, mut into: &'b mut [u8]) -> &'b mut [u8] {
        for item in self {
            into = item.put(into);
        }
        into
    }

    fn get(mut from: &[u8]) -> (Self, &[u8]) {
        let mut items = [T::default(); N];
        for item in &mut items {
            (*item, from) = T::get(from);
        }
        (items, from)
    }
}

/// Declares a struct with the offset of each field and its size.
macro_rules! wire {
    ($(#[$doc:meta])* $name:ident, $bytes:literal bytes { $($(#[$each:meta])* $offset:literal $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub struct $name {
            $($(#[$each])* pub $field: $type,)*
        }

        const _: () = {
            let mut at = 0;
            $(
                assert!(at == $offset && usize::is_multiple_of($offset, <$type as $crate::wire::Field>::ALIGN));
                at += <$type as $crate::wire::Field>::BYTES;
            )*
            assert!(at == $bytes);
        };

        impl $name {
            /// Its size.
            pub const BYTES: usize = $bytes;
            /// Its fields: name, offset, bytes.
            pub const LAYOUT: &'static [(&'static str, usize, usize)] =
                &[$((stringify!($field), $offset, <$type as $crate::wire::Field>::BYTES),)*];

            /// As it travels.
            pub fn to_bytes(&self) -> [u8; $bytes] {
                let mut bytes = [0; $bytes];
                let mut rest: &mut [u8] = &mut bytes;
                $(rest = $crate::wire::Field::put(&self.$field, rest);)*
                let _ = rest;
                bytes
            }

            /// From what travelled: any bytes are some value, which the reader then checks.
            pub fn from_bytes(bytes: &[u8; $bytes]) -> Self {
                let mut rest: &[u8] = bytes;
                $(let $field; ($field, rest) = $crate::wire::Field::get(rest);)*
                let _ = rest;
                Self { $($field),* }
            }
        }
    };
}
pub(crate) use wire;
