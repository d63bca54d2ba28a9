//! Sums of every path that this machine has against those of a naive product.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use embed_gemm::{COLUMNS, DEPTH, Gemm, Instructions, Rows, Strips, pack, padded};
use proptest::prelude::{Just, Strategy, any, prop, prop_assert_eq, proptest};

/// The paths of this machine.
fn paths() -> impl Iterator<Item = Gemm> {
    Instructions::available().into_iter().map(|instructions| Gemm::with(instructions).unwrap())
}

/// Bytes of a repeatable sequence.
fn sequence(seed: u64, length: usize) -> impl Iterator<Item = u8> {
    (0..length as u64).map(move |at| {
        let mixed = (at + seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        ((mixed ^ (mixed >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 56) as u8
    })
}

/// What a path writes, between two guards that it must not touch.
fn sums(gemm: Gemm, rows: &[u8], depth: usize, panels: &[i8]) -> Vec<i32> {
    const GUARD: [i32; 64] = [0x5a5a_5a5a; 64];
    let length = rows.len() / depth * (panels.len() / depth);
    let mut sums = [GUARD.as_slice(), &vec![i32::MIN; length], &GUARD].concat();
    gemm.sums(rows, depth, panels, &mut sums[GUARD.len()..][..length]);
    assert!(sums.starts_with(&GUARD) && sums.ends_with(&GUARD), "{gemm:?} writes beyond its sums");
    sums[GUARD.len()..][..length].to_vec()
}

/// The product of rows with the weights `[inputs, outputs]`, as it is defined.
fn naive(rows: &[u8], inputs: usize, weights: &[i8], outputs: usize) -> Vec<i32> {
    let product = |row: &[u8], output: usize| -> i32 {
        let weights = weights[output..].iter().step_by(outputs);
        row.iter().zip(weights).map(|(&byte, &weight)| i32::from(byte) * i32::from(weight)).sum()
    };
    rows.chunks_exact(inputs).flat_map(|row| (0..outputs).map(|output| product(row, output))).collect()
}

/// Rows padded with bytes that must not count, since the weights are padded with zeros.
fn pad(rows: &[u8], inputs: usize) -> Vec<u8> {
    let fill = vec![127; padded(inputs) - inputs];
    rows.chunks_exact(inputs).flat_map(|row| [row, &fill].concat()).collect()
}

#[test]
fn every_path_has_the_sums_of_portable_over_all_shapes() {
    let portable = Gemm::with(Instructions::Portable).unwrap();
    for depth in [64, 128, 192, 384, 1536] {
        let rows: Vec<u8> = sequence(1, 40 * depth).map(|byte| byte & 127).collect();
        let weights = sequence(2, 5 * COLUMNS * depth).map(|byte| (byte as i8).max(-127));
        let panels: Vec<i8> = weights.collect();
        let wide = sums(portable, &rows, depth, &panels);
        for gemm in paths() {
            for (height, width) in
                (1..=40).flat_map(|height| (1..=5).map(move |panels| (height, panels * COLUMNS)))
            {
                let found = sums(gemm, &rows[..height * depth], depth, &panels[..width * depth]);
                let expected = wide.chunks(5 * COLUMNS).take(height).flat_map(|row| &row[..width]);
                assert!(found.iter().eq(expected), "{gemm:?}, {height} rows, {width} outputs, depth {depth}");
            }
        }
    }
}

#[test]
fn words_have_the_sums_of_a_naive_product() {
    let words = |seed, count: usize| -> Vec<[i16; 2]> {
        let bytes: Vec<u8> = sequence(seed, 4 * count).collect();
        // 14 bits with a sign: the longest product below fits.
        let word = |low: u8, high: u8| i16::from_le_bytes([low, high]) >> 2;
        bytes.chunks_exact(4).map(|four| [word(four[0], four[1]), word(four[2], four[3])]).collect()
    };
    for (depth, count) in [(1, 1), (4, 3), (16, 2), (7, 4)] {
        let (values, weights) = (words(1, 40 * (depth + 3)), words(2, count * depth * COLUMNS));
        let packed = Strips { values: &weights, stride: COLUMNS, distance: depth * COLUMNS, count };
        let side_by_side = Strips { stride: count * COLUMNS, distance: COLUMNS, ..packed };
        for (strips, height) in
            [packed, side_by_side].into_iter().flat_map(|strips| (1..=40).map(move |height| (strips, height)))
        {
            let rows = Rows { values: &values, stride: depth + 3, count: height, depth };
            let stride = count * COLUMNS + 5;
            let naive = |row: usize, column: usize| -> i32 {
                let weights = strips.values[column / COLUMNS * strips.distance + column % COLUMNS..]
                    .iter()
                    .step_by(strips.stride);
                let products = values[row * rows.stride..][..depth].iter().zip(weights);
                products.flat_map(|(a, b)| [0, 1].map(|half| i32::from(a[half]) * i32::from(b[half]))).sum()
            };
            for gemm in paths() {
                let mut sums = vec![i32::MIN; height * stride];
                gemm.words(rows, strips, &mut sums, stride);
                for (row, sums) in sums.chunks_exact(stride).enumerate() {
                    let (sums, beyond) = sums.split_at(count * COLUMNS);
                    assert!(beyond.iter().all(|&untouched| untouched == i32::MIN));
                    let wanted = (0..sums.len()).map(|column| naive(row, column));
                    assert!(sums.iter().copied().eq(wanted), "{gemm:?}, {height} rows, depth {depth}");
                }
            }
        }
    }
}

#[test]
fn extreme_values_do_not_overflow() {
    let (inputs, outputs, height) = (4096, 2 * COLUMNS, 7);
    for weight in [-127_i8, 127] {
        let rows = vec![127; height * inputs];
        let panels = pack(&vec![weight; inputs * outputs], outputs);
        let expected = 127 * i32::from(weight) * 4096;
        for gemm in paths() {
            assert!(
                sums(gemm, &rows, inputs, &panels).iter().all(|&sum| sum == expected),
                "{gemm:?}, {weight}"
            );
        }
    }
}

#[test]
fn nothing_times_something_is_nothing() {
    for gemm in paths() {
        gemm.sums(&[], DEPTH, &pack(&[1; DEPTH * COLUMNS], COLUMNS), &mut []);
        gemm.sums(&[1; DEPTH], DEPTH, &[], &mut []);
    }
}

#[test]
fn lengths_that_do_not_fit_are_refused_before_anything_is_read() {
    let refused = |rows: usize, depth: usize, panels: usize, sums: usize| {
        let (rows, panels) = (vec![1; rows], vec![1; panels]);
        let call = || Gemm::detect().sums(&rows, depth, &panels, &mut vec![0; sums]);
        std::panic::catch_unwind(call).is_err()
    };
    assert!(!refused(64, 64, 1024, 16));
    assert!(refused(64, 0, 1024, 16));
    assert!(refused(63, 63, 1008, 16));
    assert!(refused(96, 64, 1024, 16));
    assert!(refused(64, 64, 1008, 16));
    assert!(refused(64, 64, 1024, 15));
    assert!(refused(64, 64, 1024, 32));
}

#[test]
fn names_are_those_of_settings() {
    let names = ["portable", "avx2", "avxvnni", "avx512", "amx", "neon"];
    for name in names {
        assert_eq!(name.parse::<Instructions>().unwrap().to_string(), name);
    }
    let unknown = "AVX9".parse::<Instructions>().unwrap_err();
    assert_eq!(
        unknown.to_string(),
        "no instructions have this name; choose one of amx, avx512, avxvnni, avx2, neon, portable"
    );
}

#[test]
fn the_fastest_are_chosen_and_what_is_not_there_is_refused() {
    let available = Instructions::available();
    assert_eq!(Gemm::detect().instructions(), available[0]);
    assert_eq!(available.last(), Some(&Instructions::Portable));
    for name in ["avx2", "avxvnni", "avx512", "amx", "neon"] {
        let instructions: Instructions = name.parse().unwrap();
        match Gemm::with(instructions) {
            Ok(gemm) => assert!(available.contains(&gemm.instructions())),
            Err(error) => {
                assert!(!available.contains(&instructions));
                let error = error.to_string();
                assert!(error.starts_with(&format!("no products by {name} here: ")), "{error}");
                assert!(error.ends_with("portable"), "{error}");
            }
        }
    }
}

/// Rows and weights of any small shape, the inputs not padded.
fn products() -> impl Strategy<Value = (usize, usize, Vec<u8>, Vec<i8>)> {
    (1..200_usize, 1..4_usize, 1..20_usize).prop_flat_map(|(inputs, panels, height)| {
        let outputs = panels * COLUMNS;
        let rows = proptest::collection::vec(0..=127_u8, height * inputs);
        let weights = proptest::collection::vec(-127..=127_i8, inputs * outputs);
        (Just(inputs), Just(outputs), rows, weights)
    })
}

proptest! {
    #[test]
    fn packed_weights_have_the_product_of_the_unpacked(
        (inputs, outputs, rows, weights) in products(),
        turn in any::<prop::sample::Index>(),
    ) {
        let expected = naive(&rows, inputs, &weights, outputs);
        let (rows, panels) = (pad(&rows, inputs), pack(&weights, outputs));
        for gemm in paths() {
            prop_assert_eq!(&sums(gemm, &rows, padded(inputs), &panels), &expected, "{:?}", gemm);
        }
        // A row has the same sums by itself.
        let depth = padded(inputs);
        let row = turn.index(rows.len() / depth);
        let alone = sums(Gemm::detect(), &rows[row * depth..][..depth], depth, &panels);
        prop_assert_eq!(alone.as_slice(), &expected[row * outputs..][..outputs]);
    }
}
