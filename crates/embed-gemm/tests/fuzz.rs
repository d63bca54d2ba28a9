//! The seeds of the fuzz target `product`, and what the fuzzer has found: each, and each beginning of it, has exact sums.

use std::fs;
use std::path::Path;

#[path = "../fuzz/src/product.rs"]
mod product;

#[test]
fn the_seeds_of_the_fuzzer_hold() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/product");
    let mut count = 0;
    for seed in fs::read_dir(seeds).unwrap() {
        let bytes = fs::read(seed.unwrap().path()).unwrap();
        for end in 0..=bytes.len() {
            product::holds(&bytes[..end]);
        }
        count += 1;
    }
    assert!(count > 0, "no seeds were found");
}
