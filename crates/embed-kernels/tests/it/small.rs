//! What isn't a layer.

use embed_kernels::{
    AddNorm, LANES, Linear, Outliers, Processor, mean, pack_integer, pack_single, pack_words, packed_bytes,
    unpack,
};

use crate::exact;

#[test]
fn a_norm_is_the_formula() {
    const WIDTH: usize = 6 * LANES;
    let [scale, bias] = [1, 2].map(|seed| exact::noise(seed, WIDTH));
    let [rows, residual] = [3, 4].map(|seed| exact::noise(seed, 5 * WIDTH));
    let norm = AddNorm::new(&scale, &bias, 1e-6).unwrap();
    let mut state = rows.clone();
    norm.run(Processor::detect(), &residual, &mut state).unwrap();
    let [rows, residual] =
        [rows, residual].map(|values| values.into_iter().map(f64::from).collect::<Vec<_>>());
    exact::assert_near(&state, &exact::norm(&rows, &residual, &scale, &bias, 1e-6), 1e-4);
}

#[test]
fn a_mean_is_that_of_its_own_text() {
    let states: Vec<f32> = (0..6).flat_map(|row| [row as f32; LANES]).collect();
    let mut means = [0.0; 3 * LANES];
    mean(Processor::detect(), &states, &[1, 3, 2], LANES, &mut means);
    assert_eq!(means, [[0.0; LANES], [2.0; LANES], [4.5; LANES]].concat()[..]);
}

#[test]
fn blocks_of_four_bits_are_unpacked_low_halves_first() {
    let one_half = [0x00, 0x38];
    let row = |low: u8, high: u8| [&one_half[..], &[low | high << 4; LANES]].concat();
    let packed = [row(9, 15), row(8, 8)].concat();
    assert_eq!(packed.len(), 2 * packed_bytes(2 * LANES));
    let mut rows = [0.0; 4 * LANES];
    unpack(Processor::detect(), &packed, 2 * LANES, &mut rows).unwrap();
    assert_eq!(rows, [[0.5; LANES], [3.5; LANES], [0.0; LANES], [0.0; LANES]].concat()[..]);
    for (packed, width) in
        [(&packed[1..], 2 * LANES), (&packed[..packed_bytes(2 * LANES)], 2 * LANES), (&packed, LANES)]
    {
        assert!(unpack(Processor::detect(), packed, width, &mut rows).is_err());
    }
}

#[test]
fn sizes_that_do_not_fit_are_errors() {
    assert!(Linear::single(&[0.0; LANES + 1]).is_err());
    assert!(Linear::single(&[]).is_err());
    assert!(Linear::integer(&[0.0; LANES], &[0.0; LANES], &[0.0; 2 * LANES]).is_err());
    assert!(AddNorm::new(&[0.0; LANES], &[0.0; 2 * LANES], 0.0).is_err());
    let norm = AddNorm::new(&[0.0; LANES], &[0.0; LANES], 0.0).unwrap();
    assert!(norm.run(Processor::detect(), &[0.0; LANES], &mut [0.0; 2 * LANES]).is_err());
    assert!(norm.run(Processor::detect(), &[0.0; LANES + 1], &mut [0.0; LANES + 1]).is_err());
    assert!(Outliers::new(&[0.0; LANES], &[0.0; LANES], &[0.0; LANES]).is_err());
    assert!(pack_single(&[0.0; 3 * LANES], 2 * LANES).is_err());
    assert!(pack_words(&[0.0; 3 * LANES], LANES).is_err());
    assert!(pack_integer(&[0; LANES], LANES - 1).is_err());
    let message = Linear::single(&[0.0; 5]).unwrap_err().to_string();
    assert!(message.contains("5 values"), "{message}");
}
