//! The functions of the network, without branches.

use pulp::Simd;

/// GELU with the error function, `x · Φ(x)`. A loop over it becomes vector instructions.
#[inline(always)]
pub(crate) fn gelu(x: f32) -> f32 {
    let half = 0.5 * x;
    half.mul_add(erf(x * std::f32::consts::FRAC_1_SQRT_2), half)
}

/// The error function by the rational minimax approximation of Eigen and XLA (`generic_fast_erf_float`):
/// it differs from the exact one by less than 4e-7 everywhere, and is ±1 to the last bit or two beyond ±4.
#[inline(always)]
fn erf(x: f32) -> f32 {
    const ALPHA: [f32; 7] = [
        -2.726_142_3e-10,
        2.770_681_4e-8,
        -2.101_024e-6,
        -5.692_506_4e-5,
        -7.349_906_3e-4,
        -2.954_6e-3,
        -1.609_603_3e-2,
    ];
    const BETA: [f32; 5] = [-1.456_607_2e-5, -2.133_740_6e-4, -1.682_827e-3, -7.373_329e-3, -1.426_473_9e-2];
    // In this form the bounds are one instruction each. NaN becomes a number here, and NaN again in the caller.
    let x = if x > -4.0 { x } else { -4.0 };
    let x = if x < 4.0 { x } else { 4.0 };
    let square = x * x;
    let mut over = ALPHA[0];
    for coefficient in &ALPHA[1..] {
        over = over.mul_add(square, *coefficient);
    }
    let mut under = BETA[0];
    for coefficient in &BETA[1..] {
        under = under.mul_add(square, *coefficient);
    }
    x * over / under
}

/// Two to the power of a number that isn't above 0, with a relative error of 3e-7: by the Taylor series of the fractional
/// part, which is between −½ and ½. Below −126 the result is the smallest normal number.
#[inline(always)]
pub(crate) fn exp2<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    /// (ln 2)ⁿ / n!, from n = 6 on down.
    const TAYLOR: [f32; 7] =
        [1.540_353e-4, 1.333_355_8e-3, 9.618_129e-3, 5.550_411e-2, 0.240_226_5, std::f32::consts::LN_2, 1.0];
    const EXPONENT_BITS: u32 = 23;
    let splat = |value| simd.splat_f32s(value);
    let x = simd.max_f32s(x, splat(-126.0));
    let rounded = simd.add_f32s(x, splat(ROUND));
    let rest = simd.sub_f32s(x, simd.sub_f32s(rounded, splat(ROUND)));
    let mut sum = splat(TAYLOR[0]);
    for coefficient in &TAYLOR[1..] {
        sum = simd.mul_add_f32s(sum, rest, splat(*coefficient));
    }
    // The low bits of `rounded` are the power, which is added to the exponent; the higher bits are shifted out.
    let shift = simd.splat_u32s(EXPONENT_BITS);
    let power = simd.wrapping_dyn_shl_u32s(simd.transmute_u32s_f32s(rounded), shift);
    simd.transmute_f32s_u32s(simd.add_u32s(simd.transmute_u32s_f32s(sum), power))
}

/// When it is added to a number below 2²², the low bits are the nearest whole number.
pub(crate) const ROUND: f32 = 12_582_912.0;

#[cfg(test)]
mod tests {
    use super::*;

    /// The error function in double precision, by its series and its continued fraction.
    fn exact(x: f64) -> f64 {
        if x.abs() < 2.5 {
            let (mut term, mut sum) = (x, x);
            for n in 1..80 {
                term *= -x * x / f64::from(n);
                sum += term / f64::from(2 * n + 1);
            }
            return sum * std::f64::consts::FRAC_2_SQRT_PI;
        }
        let a = x.abs();
        let fraction = (1..=60).rev().fold(0.0, |below, k| f64::from(k) / 2.0 / (a + below));
        let complement = (-a * a).exp() / ((a + fraction) * std::f64::consts::PI.sqrt());
        (1.0 - complement).copysign(x)
    }

    #[test]
    fn gelu_is_exact_to_single_precision() {
        for step in -12_000_i16..=12_000 {
            let x = f32::from(step) / 1000.0;
            let want = 0.5 * f64::from(x) * (1.0 + exact(f64::from(x) / std::f64::consts::SQRT_2));
            let got = f64::from(gelu(x));
            assert!((got - want).abs() < 5e-7 * f64::from(x.abs()).max(1.0), "{x}: {got} is not {want}");
        }
    }

    #[test]
    fn what_is_no_number_stays_none() {
        assert!(gelu(f32::NAN).is_nan());
        assert!(gelu(f32::NEG_INFINITY).is_nan());
    }
}
