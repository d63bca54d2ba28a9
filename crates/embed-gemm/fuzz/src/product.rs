//! What must hold for any rows and weights: every path of this machine has the sums of a naive product.

use embed_gemm::{COLUMNS, Gemm, Instructions, pack, padded};

/// Takes a shape, rows and weights from bytes of a fuzzer; what is missing is repeated from the beginning.
pub(crate) fn holds(bytes: &[u8]) {
    let [height, panels, inputs, values @ ..] = bytes else { return };
    let height = usize::from(*height) % 40 + 1;
    let outputs = (usize::from(*panels) % 4 + 1) * COLUMNS;
    let inputs = usize::from(*inputs) + 1;
    let mut values = values.iter().chain(std::iter::once(&255)).cycle();
    let mut next = |count: usize| -> Vec<u8> { values.by_ref().take(count).copied().collect() };
    let rows: Vec<u8> = next(height * inputs).into_iter().map(|byte| byte & 127).collect();
    let weights: Vec<i8> = next(inputs * outputs).into_iter().map(|byte| (byte as i8).max(-127)).collect();

    let expected: Vec<i32> = rows
        .chunks_exact(inputs)
        .flat_map(|row| (0..outputs).map(move |output| (row, output)))
        .map(|(row, output)| {
            let weights = weights[output..].iter().step_by(outputs);
            row.iter().zip(weights).map(|(&byte, &weight)| i32::from(byte) * i32::from(weight)).sum()
        })
        .collect();

    let (depth, panels) = (padded(inputs), pack(&weights, outputs));
    let fill = vec![127; depth - inputs];
    let rows: Vec<u8> = rows.chunks_exact(inputs).flat_map(|row| [row, &fill].concat()).collect();
    for instructions in Instructions::available() {
        let gemm = Gemm::with(instructions).expect("it is available");
        let mut sums = vec![i32::MIN; height * outputs];
        gemm.sums(&rows, depth, &panels, &mut sums);
        assert_eq!(sums, expected, "{instructions}, {height} rows, {outputs} outputs, {inputs} inputs");
    }
}
