//! What a model is, read from the files that `transformers` and `sentence-transformers` write beside its weights.

use std::collections::HashMap;
use std::path::PathBuf;

use embed_core::{Error, ErrorKind, Normalisation, Pooling};
use embed_encoder::assets::ProfileFile;
use embed_encoder::operators::{HEAD_STEP, ROW_STEP};
use embed_encoder::{CustomModel, Profile, Shape};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;

use crate::folder::{MODULES, POOLING, PROMPTS, SENTENCE, TOKENIZER, read};
use crate::weights::{EncoderShape, safetensors};

/// Where the small files of a model are; `None` for one that it doesn't have.
#[derive(Debug)]
pub(crate) struct SpecFiles {
    pub(crate) config: PathBuf,
    pub(crate) tokenizer: PathBuf,
    pub(crate) modules: Option<PathBuf>,
    pub(crate) pooling: Option<PathBuf>,
    pub(crate) sentence: Option<PathBuf>,
    pub(crate) prompts: Option<PathBuf>,
}

/// Where it came from, as a profile says it.
#[derive(Debug)]
pub(crate) struct Origin {
    /// Empty for a folder.
    pub(crate) repository: String,
    pub(crate) revision: String,
}

/// `modules.json`: the steps of a model, in order.
#[derive(Debug, Deserialize)]
struct Module {
    path: String,
    #[serde(rename = "type")]
    kind: String,
}

/// `1_Pooling/config.json`, of which each release writes other fields.
type PoolingFile = HashMap<String, Value>;

/// `sentence_bert_config.json`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct SentenceFile {
    max_seq_length: Option<usize>,
    do_lower_case: bool,
}

/// `config_sentence_transformers.json`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PromptsFile {
    prompts: HashMap<String, String>,
    default_prompt_name: Option<String>,
}

/// The parts of `tokenizer.json` that say what it is.
#[derive(Debug, Deserialize)]
struct TokenizerFile {
    model: TokenizerModel,
    normalizer: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct TokenizerModel {
    /// Early releases wrote none; then the other fields show the kind.
    #[serde(rename = "type")]
    kind: Option<String>,
    merges: Option<IgnoredAny>,
    continuing_subword_prefix: Option<IgnoredAny>,
}

/// Reads the profile of a declared model. What is declared wins over the files. Blocks.
///
/// # Errors
///
/// [`ErrorKind::Config`] if something has to be declared, [`ErrorKind::Protocol`] if it is no network that this program runs.
pub(crate) fn profile_of(
    model: &CustomModel,
    origin: Origin,
    files: &SpecFiles,
) -> Result<&'static Profile, Error> {
    let named = |error: Error| error.with_context("model", &model.name);
    let config = safetensors::Config::parse(&read(&files.config)?)?;
    let shape = config.shape().map_err(named)?;
    fits_operators(&shape).map_err(named)?;
    let positions = shape.positions - shape.first_position;
    let modules: Option<Vec<Module>> = parsed(files.modules.as_ref(), MODULES)?;
    let modules = modules.map(|modules| steps(&modules)).transpose().map_err(named)?;
    let sentence: SentenceFile = parsed(files.sentence.as_ref(), SENTENCE)?.unwrap_or_default();
    let tokenizer: TokenizerFile = required(&read(&files.tokenizer)?, TOKENIZER)?;
    let is_unigram = tokenizer.check(sentence.do_lower_case).map_err(named)?;

    let mut file = ProfileFile::of(&Profile::custom("", shape.hidden, Shape::new(0, 0, 0)));
    file.shape = Shape::new(shape.layers, shape.heads, shape.feed_forward)
        .with_vocabulary(shape.vocabulary)
        .with_positions(positions);
    file.name.clone_from(&model.name);
    file.space_name = model.space.clone().filter(|space| *space != model.name).unwrap_or_default();
    (file.repository, file.revision) = (origin.repository, origin.revision);
    if model.dimension.is_some_and(|dimension| dimension != shape.hidden) {
        let what = format!("{} has {} numbers in a vector; declare that dimension", model.name, shape.hidden);
        return Err(
            Error::new(ErrorKind::Config, what).with_context("declared", model.dimension.unwrap_or(0))
        );
    }
    file.max_tokens = match (model.max_tokens, sentence.max_seq_length) {
        (Some(declared), _) if declared > positions => {
            let what =
                format!("{} has {positions} positions; declare at most that as max_tokens", model.name);
            return Err(Error::new(ErrorKind::Config, what).with_context("declared", declared));
        }
        (Some(declared), _) => declared,
        // Some repositories count the positions of padding, too.
        (None, Some(limit)) => limit.min(positions),
        (None, None) => positions,
    };
    file.pooling = match model.pooling {
        Some(declared) => declared,
        None => parsed(files.pooling.as_ref(), POOLING)?
            .ok_or_else(|| undeclared("no file says how the states of the tokens become one vector"))
            .and_then(|file| pooling(&file))
            .map_err(named)?,
    };
    file.normalisation = match (model.normalisation, modules) {
        (Some(declared), _) => declared,
        (None, Some(Steps { normalises: false })) => Normalisation::None,
        // A bare network says nothing. Norm 1 changes no cosine.
        (None, _) => Normalisation::L2,
    };
    (file.query_prompt, file.document_prompt) = match &model.prompts {
        Some(declared) => declared.clone(),
        None => parsed::<PromptsFile>(files.prompts.as_ref(), PROMPTS)?.unwrap_or_default().by_role(),
    };
    // A vocabulary of BERT for many languages is more than three times the English one.
    file.multilingual = model.multilingual.unwrap_or(is_unigram || shape.vocabulary > 100_000);
    file.parameters = parameters(&shape);
    file.profile().map_err(|error| {
        error.with_context("fix", "declare what the model's files say otherwise, or take another model")
    })
}

/// Refuses widths that the operators of the graphs don't take.
fn fits_operators(shape: &EncoderShape) -> Result<(), Error> {
    let parts =
        [("head", shape.head_width(), HEAD_STEP), ("feed-forward part", shape.feed_forward, ROW_STEP)];
    match parts.into_iter().find(|(_, width, step)| !width.is_multiple_of(*step)) {
        None => Ok(()),
        Some((part, width, step)) => {
            let what =
                format!("the model's {part} has {width} channels; this program runs multiples of {step}");
            Err(unsupported(&what))
        }
    }
}

/// What the modules do after the network.
#[derive(Debug)]
struct Steps {
    normalises: bool,
}

/// Checks that the modules are the network, a pooling and perhaps a normalisation.
fn steps(modules: &[Module]) -> Result<Steps, Error> {
    let kinds: Vec<&str> =
        modules.iter().map(|module| module.kind.rsplit('.').next().unwrap_or_default()).collect();
    let normalises = match kinds[..] {
        ["Transformer"] | ["Transformer", "Pooling"] => false,
        ["Transformer", "Normalize"] | ["Transformer", "Pooling", "Normalize"] => true,
        _ => {
            let what = "the model has steps besides the network, a pooling and a normalisation, which this \
                        program doesn't run";
            return Err(unsupported(what).with_context("steps", kinds.join(", ").escape_debug()));
        }
    };
    let elsewhere = modules.iter().zip(&kinds).find(|(module, kind)| match **kind {
        "Transformer" => !module.path.is_empty(),
        "Pooling" => module.path != "1_Pooling",
        _ => false,
    });
    match elsewhere {
        None => Ok(Steps { normalises }),
        Some((module, _)) => {
            let what = "the model keeps its parts in other folders than sentence-transformers writes today; \
                        load and save it with a new release";
            Err(unsupported(what).with_context("path", module.path.escape_debug()))
        }
    }
}

/// The pooling that a file of `sentence-transformers` asks for.
fn pooling(file: &PoolingFile) -> Result<Pooling, Error> {
    if file.get("include_prompt") == Some(&Value::Bool(false)) {
        return Err(unsupported("the pooling leaves out the prompt, which this program doesn't do"));
    }
    let mut modes: Vec<&str> = file
        .iter()
        .filter(|(_, value)| **value == Value::Bool(true))
        .filter_map(|(name, _)| name.strip_prefix("pooling_mode_"))
        .collect();
    // Newer releases write one name.
    modes.extend(file.get("pooling_mode").and_then(Value::as_str));
    modes.sort_unstable();
    match modes[..] {
        ["mean" | "mean_tokens"] => Ok(Pooling::Mean),
        ["cls" | "cls_token"] => Ok(Pooling::Cls),
        [] => Err(undeclared("1_Pooling/config.json names no pooling")),
        _ => {
            let what =
                "the model has a pooling that this program doesn't run; it runs the mean and the first token";
            Err(unsupported(what).with_context("pooling", modes.join(", ").escape_debug()))
        }
    }
}

impl PromptsFile {
    /// The prompts of queries and documents. The default one stands before the texts of a role that has none.
    fn by_role(mut self) -> (String, String) {
        let default = self.default_prompt_name.and_then(|name| self.prompts.get(&name).cloned());
        let mut of = |names: &[&str]| {
            let found = names.iter().find_map(|name| self.prompts.remove(*name));
            found.or_else(|| default.clone()).unwrap_or_default()
        };
        (of(&["query"]), of(&["document", "passage"]))
    }
}

impl TokenizerFile {
    /// Whether it is a Unigram tokenizer. Refuses those whose tokens depend on what stands before a word.
    fn check(&self, lower_case: bool) -> Result<bool, Error> {
        let model = &self.model;
        let is_unigram = match model.kind.as_deref() {
            Some("Unigram") => true,
            Some("WordPiece") => false,
            None if model.merges.is_none() && model.continuing_subword_prefix.is_some() => false,
            other => {
                let what = "the model's tokenizer is of a kind that this program doesn't run; it runs WordPiece \
                            and Unigram";
                let kind = other.unwrap_or("none").escape_debug();
                return Err(unsupported(what).with_context("kind", kind));
            }
        };
        let lowers = self.normalizer.as_ref().and_then(|normalizer| normalizer.get("lowercase"));
        if lower_case && lowers != Some(&Value::Bool(true)) {
            let what = "the model wants its texts in lower case and its tokenizer doesn't make them so";
            return Err(unsupported(what));
        }
        Ok(is_unigram)
    }
}

/// The number of weights, as model cards count them: with the pooler, which no graph has.
fn parameters(shape: &EncoderShape) -> u64 {
    let &EncoderShape { hidden, layers, feed_forward: wide, vocabulary, positions, types, .. } = shape;
    let linear = |outputs: usize, inputs: usize| outputs * inputs + outputs;
    let norm = 2 * hidden;
    let tables = (vocabulary + positions + types) * hidden + norm;
    let layer = 4 * linear(hidden, hidden) + linear(wide, hidden) + linear(hidden, wide) + 2 * norm;
    (tables + layers * layer + linear(hidden, hidden)) as u64
}

fn parsed<T: DeserializeOwned>(path: Option<&PathBuf>, name: &str) -> Result<Option<T>, Error> {
    path.map(|path| required(&read(path)?, name)).transpose()
}

fn required<T: DeserializeOwned>(json: &[u8], name: &str) -> Result<T, Error> {
    serde_json::from_slice(json)
        .map_err(|error| unsupported(&format!("{name} isn't what transformers write")).with_source(error))
}

fn undeclared(what: &str) -> Error {
    let what =
        format!("{what}; add pooling = \"mean\" or pooling = \"cls\" to its table in the configuration");
    Error::new(ErrorKind::Config, what)
}

fn unsupported(what: &str) -> Error {
    Error::new(ErrorKind::Protocol, what)
}
