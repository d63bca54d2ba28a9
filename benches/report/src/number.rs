//! Numbers as a person reads them: three digits, and a unit that fits.

use crate::figure::Unit;

impl Unit {
    /// A value with its unit, such as `17.1k tokens/s` or `0.45 µs`.
    #[must_use]
    pub fn show(self, value: f64) -> String {
        match self {
            Self::Tokens => format!("{} tokens/s", short(value)),
            Self::Texts => format!("{} texts/s", short(value)),
            Self::Requests => format!("{} requests/s", short(value)),
            Self::Seconds => time(value),
            Self::Milliseconds => time(value / 1e3),
            Self::Microseconds => time(value / 1e6),
            Self::Nanoseconds => time(value / 1e9),
            Self::Megabytes if value >= 1000.0 => format!("{} GB", digits(value / 1000.0)),
            Self::Megabytes => format!("{} MB", digits(value)),
            Self::Cosine => format!("{value:.5}"),
            Self::Percent => format!("{} %", digits(value)),
            Self::Ratio => digits(value),
        }
    }

    /// Whether a ratio of two values says anything.
    #[must_use]
    pub fn divides(self) -> bool {
        !matches!(self, Self::Cosine | Self::Percent | Self::Ratio)
    }

    /// What the axis of a plot says.
    #[must_use]
    pub fn axis(self) -> &'static str {
        match self {
            Self::Tokens => "tokens a second",
            Self::Texts => "texts a second",
            Self::Requests => "requests a second",
            Self::Seconds | Self::Milliseconds | Self::Microseconds | Self::Nanoseconds => "time",
            Self::Megabytes => "memory",
            Self::Cosine => "cosine",
            Self::Percent => "percent",
            Self::Ratio => "ratio",
        }
    }
}

/// The unit of a further number by the end of its name: `p95_ms` counts milliseconds.
#[must_use]
pub fn unit_of_extra(name: &str) -> Unit {
    let ends = |end: &str| name.ends_with(end);
    if name.contains("cosine") {
        Unit::Cosine
    } else if ends("tokens_per_s") {
        Unit::Tokens
    } else if ends("texts_per_s") {
        Unit::Texts
    } else if ends("requests_per_s") {
        Unit::Requests
    } else if ends("_ms") {
        Unit::Milliseconds
    } else if ends("_us") {
        Unit::Microseconds
    } else if ends("_ns") {
        Unit::Nanoseconds
    } else if ends("_s") {
        Unit::Seconds
    } else if ends("_mb") || ends("_MB") {
        Unit::Megabytes
    } else if ends("_percent") {
        Unit::Percent
    } else {
        Unit::Ratio
    }
}

/// A further number's name as a heading: `p95_ms` is `p95`, `cosine_min` is `cosine min`.
#[must_use]
pub fn name_of_extra(name: &str) -> String {
    let ends = ["_tokens_per_s", "_texts_per_s", "_requests_per_s", "_ms", "_us", "_ns", "_s", "_mb", "_MB"];
    let base = ends.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
    base.replace('_', " ")
}

/// How many times: `×17.1`.
#[must_use]
pub fn times(ratio: f64) -> String {
    format!("×{}", if ratio >= 10_000.0 { short(ratio) } else { digits(ratio) })
}

fn time(seconds: f64) -> String {
    // A value that rounds up to the next unit is shown in the next unit.
    let (value, unit) = match seconds {
        s if s >= 0.9995 => (s, "s"),
        s if s >= 0.9995e-3 => (s * 1e3, "ms"),
        s if s >= 0.9995e-6 => (s * 1e6, "µs"),
        s => (s * 1e9, "ns"),
    };
    format!("{} {unit}", digits(value))
}

fn short(value: f64) -> String {
    match value {
        v if v >= 0.9995e9 => format!("{}G", digits(v / 1e9)),
        v if v >= 0.9995e6 => format!("{}M", digits(v / 1e6)),
        v if v >= 999.5 => format!("{}k", digits(v / 1e3)),
        v => digits(v),
    }
}

/// Three digits, and never fewer than those before the point.
fn digits(value: f64) -> String {
    let size = value.abs();
    let places = match size {
        s if s >= 99.95 => 0,
        s if s >= 9.995 => 1,
        s if s >= 0.0995 || s == 0.0 => 2,
        s if s >= 0.00995 => 3,
        _ => 4,
    };
    format!("{value:.places$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_and_a_unit_that_fits() {
        for (unit, value, shown) in [
            (Unit::Tokens, 17_120.4, "17.1k tokens/s"),
            (Unit::Tokens, 999.6, "1.00k tokens/s"),
            (Unit::Requests, 812.3, "812 requests/s"),
            (Unit::Texts, 6.04, "6.04 texts/s"),
            (Unit::Nanoseconds, 159.2, "159 ns"),
            (Unit::Nanoseconds, 999_900.0, "1.00 ms"),
            (Unit::Milliseconds, 1.62, "1.62 ms"),
            (Unit::Microseconds, 0.127, "127 ns"),
            (Unit::Seconds, 0.16, "160 ms"),
            (Unit::Seconds, 75.0, "75.0 s"),
            (Unit::Megabytes, 114.4, "114 MB"),
            (Unit::Megabytes, 1140.0, "1.14 GB"),
            (Unit::Cosine, 0.9995, "0.99950"),
            (Unit::Percent, 97.3, "97.3 %"),
        ] {
            assert_eq!(unit.show(value), shown);
        }
        assert_eq!(times(17.12), "×17.1");
        assert_eq!(times(0.066), "×0.066");
        assert_eq!(times(2_361_000.0), "×2.36M");
    }

    #[test]
    fn a_further_number_says_its_unit_by_its_name() {
        assert_eq!(unit_of_extra("p95_ms"), Unit::Milliseconds);
        assert_eq!(unit_of_extra("cosine_min"), Unit::Cosine);
        assert_eq!(unit_of_extra("hit_rate"), Unit::Ratio);
        assert_eq!(unit_of_extra("peak_mb"), Unit::Megabytes);
        assert_eq!(unit_of_extra("text_tokens_per_s"), Unit::Tokens);
        assert_eq!(name_of_extra("p95_ms"), "p95");
        assert_eq!(name_of_extra("cosine_min"), "cosine min");
    }
}
