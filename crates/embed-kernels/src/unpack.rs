//! Rows in 4-bit blocks.

use half::f16;

use crate::lanes::{LANES, UnfitLength};
use crate::processor::Processor;

/// Values of a block.
pub const PACKED_BLOCK_VALUES: usize = 2 * LANES;

/// Bytes of a block: a scale in half precision, then the values, of which the first half is in the low halves of the
/// bytes.
pub const PACKED_BLOCK_BYTES: usize = 2 + LANES;

/// Subtracted from each nibble.
const MIDDLE: i32 = 8;

/// Bytes of a packed row of this many values, which is a multiple of [`PACKED_BLOCK_VALUES`].
#[must_use]
pub const fn packed_bytes(width: usize) -> usize {
    width / PACKED_BLOCK_VALUES * PACKED_BLOCK_BYTES
}

/// Unpacks rows of `width` values: `(nibble − 8) · scale`.
///
/// # Errors
///
/// If the width isn't that of packed rows, or `rows` isn't as large as all of them.
pub fn unpack(
    processor: Processor,
    packed: &[u8],
    width: usize,
    rows: &mut [f32],
) -> Result<(), UnfitLength> {
    if !width.is_multiple_of(PACKED_BLOCK_VALUES) || width == 0 || !rows.len().is_multiple_of(width) {
        return Err(UnfitLength { what: "the room for unpacked rows", length: rows.len() });
    }
    if packed.len() != rows.len() / width * packed_bytes(width) {
        return Err(UnfitLength { what: "packed rows", length: packed.len() });
    }
    processor.arch.dispatch(
        #[inline(always)]
        || {
            let (blocks, _) = packed.as_chunks::<PACKED_BLOCK_BYTES>();
            for (row, block) in rows.chunks_exact_mut(PACKED_BLOCK_VALUES).zip(blocks) {
                let scale = f16::from_le_bytes([block[0], block[1]]).to_f32();
                let (low, high) = row.split_at_mut(LANES);
                for ((low, high), byte) in low.iter_mut().zip(high).zip(&block[2..]) {
                    *low = (i32::from(byte & 15) - MIDDLE) as f32 * scale;
                    *high = (i32::from(byte >> 4) - MIDDLE) as f32 * scale;
                }
            }
        },
    );
    Ok(())
}
