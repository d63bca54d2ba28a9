//! What a server says of its rate limits, in the headers of its answers.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::header::HeaderMap;

/// One of the limits, as a server says it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Said {
    /// How much is left.
    pub(crate) remaining: f64,
    /// How much there is at most.
    pub(crate) limit: Option<f64>,
    /// How long until all of it is there again.
    pub(crate) reset: Option<Duration>,
}

/// The limit of requests or of tokens.
pub(crate) fn said(headers: &HeaderMap, of: &str) -> Option<Said> {
    let text = |what: &str| headers.get(format!("x-ratelimit-{what}-{of}"))?.to_str().ok().map(str::trim);
    // Some servers say less than none is left.
    let number = |what: &str| text(what)?.parse::<f64>().ok().filter(|number| number.is_finite());
    let reset = text("reset").and_then(|text| duration(text, SystemTime::now()));
    Some(Said {
        remaining: number("remaining")?.max(0.0),
        limit: number("limit").filter(|limit| *limit > 0.0),
        reset,
    })
}

/// A duration as OpenAI writes it, `6m0s`, `20ms`, `1h2m3.5s`; a number alone is seconds, or the second of an end.
pub(crate) fn duration(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    if let Ok(number) = text.parse::<f64>() {
        let seconds = Duration::try_from_secs_f64(number).ok()?;
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        // No limit takes thirty years to reset.
        return Some(if number >= 1e9 { seconds.saturating_sub(since) } else { seconds });
    }
    let (mut rest, mut total) = (text, Duration::ZERO);
    while !rest.is_empty() {
        let digits = rest.find(|char: char| !char.is_ascii_digit() && char != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let end = rest.find(|char: char| char.is_ascii_digit()).unwrap_or(rest.len());
        let seconds = match &rest[..end] {
            "d" => 86_400.0,
            "h" => 3_600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        total = total.checked_add(Duration::try_from_secs_f64(number * seconds).ok()?)?;
        rest = &rest[end..];
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_servers_write_them() {
        let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        for (text, millis) in [
            ("6m0s", 360_000),
            ("20ms", 20),
            ("1s", 1_000),
            ("1h2m3.5s", 3_723_500),
            ("7.66s", 7_660),
            ("12", 12_000),
            ("1800000060", 60_000),
            ("1700000000", 0),
            ("0s", 0),
        ] {
            assert_eq!(duration(text, now), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "soon", "1w", "s", "-1", "1e999", "99999999999999999999h", "1h-2m"] {
            assert_eq!(duration(text, now), None, "{text}");
        }
    }

    #[test]
    fn limits_are_read_from_headers() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-ratelimit-limit-tokens", "1000"),
            ("x-ratelimit-remaining-tokens", "400"),
            ("x-ratelimit-reset-tokens", "36s"),
            ("x-ratelimit-remaining-requests", "-3"),
        ] {
            headers.insert(name, value.parse().unwrap());
        }
        let tokens = Said { remaining: 400.0, limit: Some(1000.0), reset: Some(Duration::from_secs(36)) };
        assert_eq!(said(&headers, "tokens"), Some(tokens));
        assert_eq!(said(&headers, "requests"), Some(Said { remaining: 0.0, limit: None, reset: None }));
        assert_eq!(said(&HeaderMap::new(), "tokens"), None);
    }
}
