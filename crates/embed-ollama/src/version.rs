//! The version of a server, read leniently.

use std::fmt;

/// The version of a server, as far as behaviour depends on it: three numbers.
///
/// Candidates (`0.13.3-rc0`) and builds (`0.5.4+abc`) behave as the release that they lead to. A build
/// from source calls itself `0.0.0`; it is taken for the newest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// The first number.
    pub major: u16,
    /// The second number.
    pub minor: u16,
    /// The third number.
    pub patch: u16,
}

impl Version {
    /// A version of three numbers.
    #[must_use]
    pub const fn new(major: u16, minor: u16, patch: u16) -> Self {
        Self { major, minor, patch }
    }

    /// Reads `0.5.4`, `v0.5.4`, `0.13.3-rc0`, `0.6`; `None` if it doesn't begin with a number.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let text = text.strip_prefix(['v', 'V']).unwrap_or(text);
        let numbers = text.split(['-', '+', ' ']).next()?;
        let mut parts = numbers.split('.').map(str::parse::<u16>);
        let major = parts.next()?.ok()?;
        let mut next = || parts.next().and_then(Result::ok).unwrap_or(0);
        Some(Self::new(major, next(), next()))
    }

    /// Whether it was built from source and doesn't know its version.
    #[must_use]
    pub fn is_unnamed(self) -> bool {
        self == Self::new(0, 0, 0)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_leniently() {
        for (text, expected) in [
            ("0.12.11", Version::new(0, 12, 11)),
            ("v0.13.3-rc0", Version::new(0, 13, 3)),
            (" 0.5.4+dirty\n", Version::new(0, 5, 4)),
            ("0.6", Version::new(0, 6, 0)),
            ("1", Version::new(1, 0, 0)),
        ] {
            assert_eq!(Version::parse(text), Some(expected), "{text:?}");
        }
        assert_eq!(Version::parse("latest"), None);
        assert_eq!(Version::parse(""), None);
        assert!(Version::new(0, 5, 10) > Version::new(0, 5, 8));
    }
}
