//! Versions, as the specification writes them.

/// Three numbers; what follows a dash is ignored.
pub(super) fn number(version: &str) -> (u32, u32, u32) {
    let mut parts =
        version.split('-').next().unwrap_or_default().split('.').map(|part| part.parse().unwrap_or(0));
    let mut next = || parts.next().unwrap_or(0);
    (next(), next(), next())
}

/// A version that can be compared.
#[derive(Debug, Clone, Copy)]
pub(super) struct Since((u32, u32, u32));

impl Since {
    pub(super) fn of(version: &str) -> Self {
        Self(number(version))
    }

    /// Whether it is this version or a later one.
    pub(super) fn since(self, version: &str) -> bool {
        self.0 >= number(version)
    }

    /// Whether it is before this version.
    pub(super) fn before(self, version: &str) -> bool {
        !self.since(version)
    }
}
