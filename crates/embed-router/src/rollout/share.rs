//! Which partitions move: a stable hash, the same in every process, machine and version.

use twox_hash::XxHash3_64;

/// The place of a partition in a rollout, from 0 to 99: it moves if the percentage is above its place.
///
/// It is `XXH3-64(salt, 0x00, partition) * 100 / 2^64`, with seed 0 and the strings in UTF-8. So a partition included at
/// 10 % stays included at 50 % and 100 %.
///
/// ```
/// assert_eq!(embed_router::rollout_place("", "tenant-1"), 54);
/// ```
#[must_use]
pub fn rollout_place(salt: &str, partition: &str) -> u8 {
    let hash = XxHash3_64::oneshot(&[salt.as_bytes(), b"\0", partition.as_bytes()].concat());
    // The high bits decide, so all places have the same share up to one part in 2^57.
    let place = (u128::from(hash) * 100) >> 64;
    place as u8
}
