//! Which repository a model is made of.

use embed_encoder::Profile;

/// A repository at a commit, which a model is made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Repository<'a> {
    /// The model's name on this machine.
    pub(crate) model: &'a str,
    /// `owner/name`.
    pub(crate) name: &'a str,
    /// The commit.
    pub(crate) revision: &'a str,
}

impl Repository<'static> {
    /// That of a model, at its pinned revision.
    pub(crate) fn of(profile: &'static Profile) -> Self {
        Self { model: profile.name, name: profile.repository, revision: profile.revision }
    }
}
