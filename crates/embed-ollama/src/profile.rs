//! How the versions differ, as data: ten profiles, and the facts that change inside of them.

use std::fmt;

use embed_remote::Counting;

use crate::version::Version;

/// A stretch of versions that behave alike where an embedding client looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Profile {
    /// Before `/api/embed`: only the legacy route.
    Legacy,
    /// Arrays go to the runner in one call, whose results may come shuffled.
    A,
    /// One runner call for each input; failures say nothing.
    B,
    /// As B, and an empty input loads the model.
    C,
    /// Names in any case; a missing model is a 404.
    D,
    /// The text of a failure is shown, with status 500.
    E,
    /// `dimensions`.
    F,
    /// New texts for what is too long; special tokens are counted when cutting.
    G,
    /// Embeds first, cuts after; a crash is a 400.
    H,
    /// Names are checked first; models of the cloud.
    I,
    /// Another runner, `llama-server`; chat models are refused.
    J,
}

/// A profile and where it begins.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) profile: Profile,
    pub(crate) since: Version,
}

const fn entry(profile: Profile, since: Version) -> Entry {
    Entry { profile, since }
}

/// Oldest first. 0.2.6 to 0.2.8 have the route of A and are treated as A.
pub(crate) const PROFILES: [Entry; 11] = [
    entry(Profile::Legacy, Version::new(0, 0, 0)),
    entry(Profile::A, Version::new(0, 2, 6)),
    entry(Profile::B, Version::new(0, 3, 5)),
    entry(Profile::C, Version::new(0, 3, 6)),
    entry(Profile::D, Version::new(0, 5, 2)),
    entry(Profile::E, Version::new(0, 6, 1)),
    entry(Profile::F, Version::new(0, 11, 11)),
    entry(Profile::G, Version::new(0, 12, 0)),
    entry(Profile::H, Version::new(0, 13, 3)),
    entry(Profile::I, Version::new(0, 18, 0)),
    entry(Profile::J, Version::new(0, 30, 0)),
];

/// The newest version whose source was read. What is newer is treated as this one, and counted.
pub(crate) const NEWEST_KNOWN: Version = Version::new(0, 33, 0);

/// What a client does and expects at one version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Traits {
    pub(crate) version: Version,
    pub(crate) profile: Profile,
    /// Whether several inputs may be in one request, and several requests in flight for a model.
    pub(crate) batches: bool,
    pub(crate) counting: Counting,
    /// Whether `truncate: false` refuses every text that is too long. Where it doesn't, the special tokens
    /// are forgotten, and a text that is longer by one or two is cut in silence.
    pub(crate) exact_length_check: bool,
    /// The context that the server gives a model if nobody says otherwise.
    pub(crate) default_context: usize,
    /// Whether a context beyond the one that the model was trained for is set as it is asked; a text that
    /// reaches beyond crashes the runner.
    pub(crate) overshoots: bool,
    /// The longest input that is embedded correctly unless `num_batch` is raised, if that is less than the
    /// context.
    pub(crate) default_batch: Option<usize>,
    /// Newer than anything known here.
    pub(crate) unknown: bool,
}

impl Traits {
    pub(crate) fn of(version: Version) -> Self {
        let since = |major, minor, patch| version >= Version::new(major, minor, patch);
        let unknown = version > NEWEST_KNOWN || version.is_unnamed();
        if version.is_unnamed() {
            return Self { version, unknown, ..Self::of(NEWEST_KNOWN) };
        }
        let counting = if since(0, 13, 3) || (since(0, 3, 1) && !since(0, 3, 5)) {
            Counting::WithSpecials
        } else if since(0, 3, 5) {
            // For 0.3.5 and 0.3.6 the sources disagree. This reading refuses a text that is shorter than the
            // limit by one or two tokens; the other one would let it be cut.
            Counting::TextOnly
        } else {
            Counting::Unknown
        };
        Self {
            version,
            profile: Profile::of(version),
            // #8713: before, the buffer of a result was used again by the next one.
            batches: since(0, 5, 8),
            counting,
            exact_length_check: since(0, 12, 0),
            default_context: if since(0, 6, 7) { 4096 } else { 2048 },
            overshoots: !since(0, 9, 3),
            default_batch: match () {
                () if since(0, 30, 0) => Some(2048),
                () if since(0, 13, 3) => None,
                () => Some(512),
            },
            unknown,
        }
    }
}

impl Profile {
    /// The profile of a version; that of a version newer than all known ones is the newest.
    #[must_use]
    pub fn of(version: Version) -> Self {
        if version.is_unnamed() {
            return Self::J;
        }
        PROFILES.iter().rev().find(|entry| version >= entry.since).map_or(Self::Legacy, |entry| entry.profile)
    }

    /// The letter, or `legacy`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::A => "A",
            Self::B => "B",
            Self::C => "C",
            Self::D => "D",
            Self::E => "E",
            Self::F => "F",
            Self::G => "G",
            Self::H => "H",
            Self::I => "I",
            Self::J => "J",
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_find_their_profiles() {
        for (version, expected) in [
            ("0.1.32", Profile::Legacy),
            ("0.2.6", Profile::A),
            ("0.3.4", Profile::A),
            ("0.3.5", Profile::B),
            ("0.5.1", Profile::C),
            ("0.5.4", Profile::D),
            ("0.6.0", Profile::D),
            ("0.9.3", Profile::E),
            ("0.11.11", Profile::F),
            ("0.13.2", Profile::G),
            ("0.13.3-rc0", Profile::H),
            ("0.24.0", Profile::I),
            ("0.32.15", Profile::J),
            ("7.0.0", Profile::J),
            ("0.0.0", Profile::J),
        ] {
            assert_eq!(Profile::of(Version::parse(version).unwrap()), expected, "{version}");
        }
    }

    #[test]
    fn facts_change_inside_of_profiles() {
        let traits = |text| Traits::of(Version::parse(text).unwrap());
        assert!(!traits("0.5.7").batches && traits("0.5.8").batches);
        assert_eq!(traits("0.3.4").counting, Counting::WithSpecials);
        assert_eq!(traits("0.3.0").counting, Counting::Unknown);
        assert_eq!(traits("0.3.6").counting, Counting::TextOnly);
        assert_eq!(traits("0.13.2").counting, Counting::TextOnly);
        assert_eq!(traits("0.13.3").counting, Counting::WithSpecials);
        assert!(!traits("0.11.11").exact_length_check && traits("0.12.0").exact_length_check);
        assert!(traits("0.40.0").unknown && traits("0.0.0").unknown && !traits("0.33.0").unknown);
        assert!(traits("0.0.0").batches);
    }
}
