//! A model that isn't built in, as a configuration declares it.

use std::fmt::Debug;
use std::path::PathBuf;

use embed_core::{Error, ErrorKind, Normalisation, Pooling};

use crate::assets::{DataHome, ModelFiles};
use crate::{Precision, Profile};

/// Digits of a commit.
const COMMIT_DIGITS: usize = 40;

/// An encoder of the BERT or XLM-RoBERTa family that isn't built in. What is `None` is read from the model's files when it
/// is pulled; what is declared wins over them.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CustomModel {
    /// Its name in this workspace, and that of its folder: lower-case letters, digits, `.`, `_` and `-`.
    pub name: String,
    /// Where its files come from.
    pub source: CustomSource,
    /// Numbers in a vector.
    pub dimension: Option<usize>,
    /// The most tokens that it reads, including the two special ones and the prompt.
    pub max_tokens: Option<usize>,
    /// How the states of the tokens become one vector.
    pub pooling: Option<Pooling>,
    /// Whether a vector is divided by its norm.
    pub normalisation: Option<Normalisation>,
    /// What stands before a query and before a document. A prompt that isn't empty ends with a space.
    pub prompts: Option<(String, String)>,
    /// The model in the name of its space, if another service has the same model under another name.
    pub space: Option<String>,
    /// Whether it reads other languages than English.
    pub multilingual: Option<bool>,
}

/// Where the files of a [`CustomModel`] come from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CustomSource {
    /// A repository on the Hugging Face hub.
    Hub {
        /// `owner/name`.
        repository: String,
        /// The whole commit, since a branch could change the vectors.
        revision: String,
    },
    /// A folder on this machine, as `transformers` or `sentence-transformers` write it.
    Folder(PathBuf),
}

impl CustomModel {
    /// A model of which only name and source are declared.
    pub fn new(name: impl Into<String>, source: CustomSource) -> Self {
        Self {
            name: name.into(),
            source,
            dimension: None,
            max_tokens: None,
            pooling: None,
            normalisation: None,
            prompts: None,
            space: None,
            multilingual: None,
        }
    }

    /// Declares the dimension.
    #[must_use]
    pub fn with_dimension(mut self, dimension: usize) -> Self {
        self.dimension = Some(dimension);
        self
    }

    /// Declares the most tokens that it reads.
    #[must_use]
    pub fn with_max_tokens(mut self, max_tokens: usize) -> Self {
        self.max_tokens = Some(max_tokens);
        self
    }

    /// Declares the pooling: [`Pooling::Mean`] or [`Pooling::Cls`].
    #[must_use]
    pub fn with_pooling(mut self, pooling: Pooling) -> Self {
        self.pooling = Some(pooling);
        self
    }

    /// Declares whether a vector is divided by its norm.
    #[must_use]
    pub fn with_normalisation(mut self, normalisation: Normalisation) -> Self {
        self.normalisation = Some(normalisation);
        self
    }

    /// Declares what stands before a query and before a document.
    #[must_use]
    pub fn with_prompts(mut self, query: impl Into<String>, document: impl Into<String>) -> Self {
        self.prompts = Some((query.into(), document.into()));
        self
    }

    /// Declares the model in the name of its space.
    #[must_use]
    pub fn with_space(mut self, space: impl Into<String>) -> Self {
        self.space = Some(space.into());
        self
    }

    /// Declares whether it reads other languages than English.
    #[must_use]
    pub fn with_multilingual(mut self, multilingual: bool) -> Self {
        self.multilingual = Some(multilingual);
        self
    }

    /// Checks the declaration as far as that is possible without the model, and gives the built-in model that it declares
    /// again, if it does.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] for a name that no folder can have or that is another model's, a source that isn't one, or
    /// values that no encoder has.
    pub fn check(&self) -> Result<Option<&'static Profile>, Error> {
        let name = &self.name;
        if !DataHome::is_model_name(name) {
            let what =
                format!("{name:?} can't be the name of a model; take lower-case letters, digits and hyphens");
            return Err(Error::new(ErrorKind::Config, what));
        }
        let wrong = |what: &str| Err(Error::new(ErrorKind::Config, format!("{name}: {what}")));
        match &self.source {
            CustomSource::Hub { repository, .. } if !is_repository(repository) => {
                return wrong("a repository is like owner/name");
            }
            CustomSource::Hub { revision, .. }
                if revision.len() != COMMIT_DIGITS
                    || !revision.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) =>
            {
                return wrong("a revision is a whole commit, of 40 lower-case hexadecimal digits");
            }
            CustomSource::Folder(folder) if folder.as_os_str().is_empty() => {
                return wrong("the folder is empty; name one");
            }
            _ => {}
        }
        let prompts = self.prompts.iter().flat_map(|(query, document)| [query, document]);
        if prompts.into_iter().any(|prompt| !prompt.is_empty() && !prompt.ends_with(' ')) {
            return wrong("a prompt must end with a space");
        }
        if self.dimension == Some(0) || self.max_tokens == Some(0) {
            return wrong("the dimension and max_tokens must be more than 0");
        }
        if self.pooling.is_some_and(|pooling| !matches!(pooling, Pooling::Mean | Pooling::Cls)) {
            return wrong("the pooling must be \"mean\" or \"cls\"");
        }
        if self.space.as_ref().is_some_and(String::is_empty) {
            return wrong("the space is empty; name one");
        }
        let Ok(built_in) = Profile::by_name(name) else {
            return Ok(None);
        };
        if built_in.name != name || self.has_other_source(built_in) {
            let what =
                format!("{name:?} is the name of a built-in model with another source; take another name");
            return Err(Error::new(ErrorKind::Config, what));
        }
        self.agrees_with(built_in, "is built in").map(|()| Some(built_in))
    }

    /// The profile that a pull sealed into the data folder. It is interned, so it may be asked for again and again.
    ///
    /// The source is compared with the declared one unless the model was rolled back; whether the files of a
    /// [`CustomSource::Folder`] have changed since isn't looked at, but by the next pull.
    ///
    /// # Errors
    ///
    /// As [`check`](Self::check); [`ErrorKind::ModelNotFound`] if it wasn't pulled, [`ErrorKind::Config`] if it is damaged
    /// or isn't what is declared. They name the fix.
    pub fn profile(&self, home: &DataHome, precision: Precision) -> Result<&'static Profile, Error> {
        if let Some(built_in) = self.check()? {
            return ModelFiles::find(home, built_in, precision).map(|_| built_in);
        }
        let sealed = ModelFiles::named(home, &self.name, precision)?.profile()?;
        let rolled_back = || home.named_slot(&self.name, precision).is_rolled_back().unwrap_or(false);
        let fix = || format!("embed models pull {} --precision {precision}", self.name);
        if self.has_other_source(sealed) && !rolled_back() {
            let declared = match &self.source {
                CustomSource::Hub { repository, revision } => format!("{repository}@{revision}"),
                CustomSource::Folder(folder) => folder.display().to_string(),
            };
            let there = match sealed.repository {
                "" => "a folder".to_owned(),
                repository => format!("{repository}@{}", sealed.revision),
            };
            return Err(self
                .differs("is in the data folder", "source", declared, there)
                .with_context("fix", fix()));
        }
        self.agrees_with(sealed, "is in the data folder")
            .map_err(|error| error.with_context("fix", fix()))
            .map(|()| sealed)
    }

    fn has_other_source(&self, profile: &Profile) -> bool {
        match &self.source {
            CustomSource::Hub { repository, revision } => {
                (profile.repository, profile.revision) != (repository.as_str(), revision.as_str())
            }
            CustomSource::Folder(_) => !profile.repository.is_empty(),
        }
    }

    /// Refuses a profile that isn't what is declared.
    fn agrees_with(&self, profile: &Profile, place: &str) -> Result<(), Error> {
        fn other<T: PartialEq + Debug>(declared: Option<&T>, is: &T) -> Option<(String, String)> {
            let declared = declared.filter(|declared| *declared != is)?;
            Some((format!("{declared:?}"), format!("{is:?}")))
        }
        let pooling = |of| match of {
            Pooling::Mean => "mean",
            Pooling::Cls => "cls",
            _ => "another",
        };
        let normalisation = |of| if of == Normalisation::L2 { "l2" } else { "none" };
        let prompts = (profile.prompts.query.to_owned(), profile.prompts.document.to_owned());
        let parts = [
            ("dimension", other(self.dimension.as_ref(), &profile.dimension)),
            ("max_tokens", other(self.max_tokens.as_ref(), &profile.max_tokens)),
            ("pooling", other(self.pooling.map(pooling).as_ref(), &pooling(profile.pooling))),
            (
                "normalisation",
                other(self.normalisation.map(normalisation).as_ref(), &normalisation(profile.normalisation)),
            ),
            ("prompts", other(self.prompts.as_ref(), &prompts)),
            ("space", other(self.space.as_ref(), &profile.space_model().to_owned())),
            ("multilingual", other(self.multilingual.as_ref(), &profile.multilingual)),
        ];
        match parts.into_iter().find_map(|(part, other)| other.map(|other| (part, other))) {
            None => Ok(()),
            Some((part, (declared, is))) => Err(self.differs(place, part, declared, is)),
        }
    }

    fn differs(&self, place: &str, part: &str, declared: String, there: String) -> Error {
        let what = format!("{} {place} with another {part} than the configuration declares", self.name);
        Error::new(ErrorKind::Config, what).with_context("declared", declared).with_context("there", there)
    }
}

/// Whether it is like `owner/name`, as it stands in addresses and names of folders.
fn is_repository(name: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty()
            && part != "."
            && part != ".."
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    };
    name.split_once('/').is_some_and(|(owner, name)| is_part(owner) && is_part(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    fn hub(repository: &str, revision: &str) -> CustomSource {
        CustomSource::Hub { repository: repository.to_owned(), revision: revision.to_owned() }
    }

    fn refused(model: &CustomModel, part: &str) {
        let error = model.check().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(part), "{error}");
    }

    #[test]
    fn names_are_those_that_a_folder_can_have_everywhere() {
        let source = || hub("a/b", COMMIT);
        for name in ["bge-small-en-v1.5", "a", "my_model", "0"] {
            assert_eq!(CustomModel::new(name, source()).check().unwrap(), None, "{name}");
        }
        for name in ["", ".", "..", ".hidden", "a/b", "a\\b", "A", "nul", "com1.x", "a.", "é", "a b", "a\n"]
        {
            refused(&CustomModel::new(name, source()), "can't be the name of a model");
        }
        refused(&CustomModel::new("a".repeat(256), source()), "can't be the name of a model");
        // Those of built-in models, by any of their names.
        for name in ["multilingual-e5-small", "all-minilm"] {
            refused(&CustomModel::new(name, source()), "is the name of a built-in model");
            refused(
                &CustomModel::new(name, CustomSource::Folder("x".into())),
                "is the name of a built-in model",
            );
        }
    }

    #[test]
    fn a_source_is_a_repository_at_a_whole_commit_or_a_folder() {
        for repository in ["", "a", "a/", "/b", "a/b/c", "a/..", "../b", "a/b?", "https://x/a/b"] {
            refused(&CustomModel::new("x", hub(repository, COMMIT)), "like owner/name");
        }
        for revision in ["", "main", "0123456", &COMMIT.to_uppercase(), &COMMIT.replace('0', "g")] {
            refused(&CustomModel::new("x", hub("a/b", revision)), "whole commit");
        }
        refused(&CustomModel::new("x", CustomSource::Folder(PathBuf::new())), "the folder is empty");
    }

    #[test]
    fn values_that_no_encoder_has_are_refused() {
        let model = || CustomModel::new("x", hub("a/b", COMMIT));
        refused(&model().with_prompts("query:", ""), "end with a space");
        refused(&model().with_prompts("", "passage:"), "end with a space");
        refused(&model().with_dimension(0), "more than 0");
        refused(&model().with_max_tokens(0), "more than 0");
        refused(&model().with_pooling(Pooling::LastToken), "\"mean\" or \"cls\"");
        refused(&model().with_space(""), "the space is empty");
    }
}
