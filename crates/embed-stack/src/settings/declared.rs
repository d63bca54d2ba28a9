//! What a file declares: its `[[model]]` tables and `[routes]`, with their places.

use super::origin::Origin;
use super::tables::{BackendTable, CommonTable};

/// What a file declares, with the places where it does.
#[derive(Debug, Clone, Default)]
pub(super) struct Declared {
    pub(super) models: Vec<(Origin, CommonTable, BackendTable)>,
    pub(super) routes: Vec<(Origin, String, String)>,
}

impl Declared {
    /// Whether the file declares no model.
    pub(super) fn is_empty(&self) -> bool {
        self.models.is_empty() && self.routes.is_empty()
    }

    /// The names of the models.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> + Clone {
        self.models.iter().map(|(_, common, _)| &*common.name)
    }

    /// Where it begins.
    pub(super) fn origin(&self) -> Option<&Origin> {
        let models = self.models.iter().map(|(at, ..)| at);
        models.chain(self.routes.iter().map(|(at, ..)| at)).next()
    }

    /// Where a model is declared.
    pub(super) fn origin_of(&self, name: &str) -> Option<&Origin> {
        self.models.iter().find(|(_, common, _)| common.name == name).map(|(at, ..)| at)
    }

    /// Where the route of a language is declared.
    pub(super) fn origin_of_route(&self, language: &str) -> Option<&Origin> {
        self.routes.iter().find(|(_, of, _)| of == language).map(|(at, ..)| at)
    }
}
