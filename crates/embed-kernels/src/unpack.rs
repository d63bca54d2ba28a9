//! Rows of a table in 4-bit blocks.

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

/// Unpacks the rows of `table` with these `ids`, each with `width` values: `(nibble − 8) · scale`.
///
/// # Errors
///
/// If a row isn't there, or `rows` isn't as large as all of them.
pub fn unpack(
    processor: Processor,
    table: &[u8],
    ids: &[i64],
    width: usize,
    rows: &mut [f32],
) -> Result<(), UnfitLength> {
    let bytes = width / PACKED_BLOCK_VALUES * PACKED_BLOCK_BYTES;
    if rows.len() != ids.len() * width || !width.is_multiple_of(PACKED_BLOCK_VALUES) || width == 0 {
        return Err(UnfitLength { what: "the room for unpacked rows", length: rows.len() });
    }
    processor.arch.dispatch(
        #[inline(always)]
        || {
            for (&id, row) in ids.iter().zip(rows.chunks_exact_mut(width)) {
                let packed = usize::try_from(id).ok().and_then(|id| table.chunks_exact(bytes).nth(id));
                let packed =
                    packed.ok_or(UnfitLength { what: "a table without this row", length: table.len() })?;
                let blocks = packed.as_chunks::<PACKED_BLOCK_BYTES>().0;
                for (row, block) in row.chunks_exact_mut(PACKED_BLOCK_VALUES).zip(blocks) {
                    let scale = f16::from_le_bytes([block[0], block[1]]).to_f32();
                    let (low, high) = row.split_at_mut(LANES);
                    for ((low, high), byte) in low.iter_mut().zip(high).zip(&block[2..]) {
                        *low = (i32::from(byte & 15) - MIDDLE) as f32 * scale;
                        *high = (i32::from(byte >> 4) - MIDDLE) as f32 * scale;
                    }
                }
            }
            Ok(())
        },
    )
}
