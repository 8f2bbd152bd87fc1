//! Cutting a request into pieces that the device takes in one chain.
//!
//! Called by `virtio_blk`; pure, so that a piece in flight need not be remembered: it is cut again when it ends.

use super::limits::Limits;
use ports::{Sector, Span};
use specs::Pa;

/// Runs in one piece.
pub(super) const PIECE_SPANS: usize = 62;

/// A part of a request's data, whole sectors long.
pub(super) struct Piece {
    pub(super) spans: heapless::Vec<Span, PIECE_SPANS>,
    pub(super) bytes: u64,
}

impl Piece {
    /// The longest piece from byte `from` of `spans` on. Runs that adjoin become one. Empty at the end, or where so many
    /// descriptors can't hold a sector.
    pub(super) fn next(spans: &[Span], from: u64, limits: Limits) -> Self {
        let mut piece = Self { spans: heapless::Vec::new(), bytes: 0 };
        let mut skip = from;
        for span in spans {
            let bytes = u64::from(span.bytes);
            if skip >= bytes {
                skip -= bytes;
                continue;
            }
            let mut at = skip;
            skip = 0;
            while at < bytes {
                let take =
                    u32::try_from(bytes.saturating_sub(at)).unwrap_or(u32::MAX).min(limits.segment_bytes);
                let start = Pa(span.start.0.saturating_add(at));
                if !piece.append(Span { start, bytes: take }, limits) {
                    piece.trim();
                    return piece;
                }
                at = at.saturating_add(take.into());
            }
        }
        piece
    }

    fn append(&mut self, span: Span, limits: Limits) -> bool {
        if let Some(last) = self.spans.last_mut()
            && last.start.checked_add(last.bytes.into()) == Some(span.start)
            && let Some(joined) =
                last.bytes.checked_add(span.bytes).filter(|bytes| *bytes <= limits.segment_bytes)
        {
            last.bytes = joined;
        } else if self.spans.len() >= limits.segments || self.spans.push(span).is_err() {
            return false;
        }
        self.bytes = self.bytes.saturating_add(span.bytes.into());
        true
    }

    /// Cuts off what is no whole sector.
    fn trim(&mut self) {
        let mut excess = self.bytes % Sector::BYTES;
        self.bytes = self.bytes.saturating_sub(excess);
        while excess > 0 {
            let Some(last) = self.spans.last_mut() else { return };
            let bytes = u64::from(last.bytes);
            if bytes > excess {
                last.bytes = u32::try_from(bytes.saturating_sub(excess)).unwrap_or(0);
                return;
            }
            excess = excess.saturating_sub(bytes);
            self.spans.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    fn limits(segments: usize, segment_bytes: u32) -> Limits {
        Limits {
            segments,
            segment_bytes,
            block_bytes: 512,
            discard_sectors: 0,
            zero_sectors: 0,
            zeroes_may_unmap: false,
        }
    }

    fn bytes_of(spans: &[Span]) -> Vec<u64> {
        spans.iter().flat_map(|span| span.start.0..span.start.0 + u64::from(span.bytes)).collect()
    }

    #[test]
    fn adjoining_runs_become_one() {
        let spans = [Span { start: Pa(0x1000), bytes: 0x1000 }, Span { start: Pa(0x2000), bytes: 0x1000 }];
        let piece = Piece::next(&spans, 0, limits(8, u32::MAX));
        assert_eq!(piece.spans[..], [Span { start: Pa(0x1000), bytes: 0x2000 }]);
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: if cfg!(miri) { 4 } else { 256 },
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        /// The pieces together are the request, byte for byte, each whole sectors and within the limits.
        #[test]
        fn pieces_make_the_whole(
            lengths in prop::collection::vec(1_u32..3000, 1..40),
            segments in 1_usize..12,
            segment_bytes in 512_u32..4096,
        ) {
            let limits = limits(segments, segment_bytes);
            let mut spans: Vec<Span> = Vec::new();
            let mut at = 0x1_0000;
            for bytes in lengths {
                spans.push(Span { start: Pa(at), bytes });
                at += u64::from(bytes) + u64::from(bytes % 3 == 0) * 64;
            }
            let total: u32 = spans.iter().map(|span| span.bytes).sum();
            let fill = total.next_multiple_of(512) - total;
            if fill > 0 {
                spans.push(Span { start: Pa(0x100_0000), bytes: fill });
            }
            let mut seen = Vec::new();
            loop {
                let piece = Piece::next(&spans, seen.len() as u64, limits);
                if piece.bytes == 0 {
                    break;
                }
                prop_assert!(piece.bytes.is_multiple_of(512) && piece.spans.len() <= segments);
                prop_assert!(piece.spans.iter().all(|span| span.bytes != 0 && span.bytes <= segment_bytes));
                seen.extend(bytes_of(&piece.spans));
            }
            let all = bytes_of(&spans);
            prop_assert_eq!(&all[..seen.len()], &seen[..]);
            // With few descriptors and tiny runs a sector may not fit; else all is there.
            prop_assert!(seen.len() == all.len() || segments < 12);
        }
    }
}
