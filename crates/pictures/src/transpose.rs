//! Transposition of squares of bytes.

/// Transposes squares of 8 x 8 bytes; word `i` of each row belongs to square `i`.
///
/// Swaps the two off-diagonal quarters of a square, then of each quarter, then of each quarter of
/// those.
#[allow(clippy::inline_always, reason = "compiled once for each kind of processor")]
#[inline(always)]
pub(crate) fn transpose<const SQUARES: usize>(block: &mut [[u64; SQUARES]; 8]) {
    const LOW_HALVES: [(usize, u64); 3] =
        [(4, 0x0000_0000_ffff_ffff), (2, 0x0000_ffff_0000_ffff), (1, 0x00ff_00ff_00ff_00ff)];
    for (distance, low) in LOW_HALVES {
        for rows in block.chunks_exact_mut(2 * distance) {
            let (upper, lower) = rows.split_at_mut(distance);
            for (upper, lower) in upper.as_flattened_mut().iter_mut().zip(lower.as_flattened_mut())
            {
                let moved = ((*upper >> (distance * 8)) ^ *lower) & low;
                *lower ^= moved;
                *upper ^= moved << (distance * 8);
            }
        }
    }
}
