//! `fastembed`: as its documentation shows it, and as well as its settings allow.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result};
use embed_rivals_worker::{Contender, Role};
use fastembed::{InitOptionsUserDefined, Pooling, TextEmbedding, TokenizerFiles, UserDefinedEmbeddingModel};
use serde_json::json;

use crate::batches::{Rows, sorted_batches};

/// One model on all cores, batches of 256 texts as they come.
pub(crate) struct Default(Mutex<TextEmbedding>);

impl Default {
    pub(crate) fn load(model: &Path, tokenizer: &Path) -> Result<Self> {
        Ok(Self(Mutex::new(load(model, tokenizer, None)?)))
    }
}

impl Contender for Default {
    fn setting(&self) -> String {
        "batches of 256 as they come, all cores".to_owned()
    }

    fn embed(&self, texts: &[String], role: Role) -> Result<Rows> {
        // `embed` takes the model by `&mut`: callers take turns.
        let mut model = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(model.embed(prefixed(texts, role), None)?)
    }
}

/// Texts sorted by length, the batch size that is fastest, and one model on all cores or a single-threaded model
/// for each core, whichever is faster.
pub(crate) struct Best {
    paths: (PathBuf, PathBuf),
    models: Vec<Mutex<TextEmbedding>>,
    /// Which models these are.
    chosen: &'static str,
    batch: usize,
}

impl Best {
    pub(crate) fn load(model: &Path, tokenizer: &Path) -> Result<Self> {
        let paths = (model.to_owned(), tokenizer.to_owned());
        let mut best = Self { paths, models: Vec::new(), chosen: EACH, batch: 8 };
        best.models = best.single_threaded()?;
        Ok(best)
    }

    fn single_threaded(&self) -> Result<Vec<Mutex<TextEmbedding>>> {
        let cores = thread::available_parallelism()?.get();
        (0..cores).map(|_| Ok(Mutex::new(load(&self.paths.0, &self.paths.1, Some(1))?))).collect()
    }
}

/// Texts of a batch, to choose from.
const BATCHES: [usize; 6] = [1, 2, 4, 8, 16, 32];
/// What a choice calls a model on all cores, and one for each.
const ONE: &str = "one model";
const EACH: &str = "a model a core";

impl Contender for Best {
    fn setting(&self) -> String {
        let models = match self.models.len() {
            1 => "one model on all cores".to_owned(),
            models => format!("{models} models of one thread"),
        };
        format!("sorted, batches of {}, {models}", self.batch)
    }

    fn embed(&self, texts: &[String], role: Role) -> Result<Rows> {
        if let [text] = texts {
            let free = self.models.iter().find_map(|model| model.try_lock().ok());
            // Nobody is free: whoever comes first is as good as any other.
            let at = text.len() % self.models.len();
            let mut model =
                free.unwrap_or_else(|| self.models[at].lock().unwrap_or_else(PoisonError::into_inner));
            return Ok(model.embed(prefixed(texts, role), Some(1))?);
        }
        let prefixed = prefixed(texts, role);
        let lengths: Vec<usize> = prefixed.iter().map(String::len).collect();
        sorted_batches(&lengths, self.batch, &self.models, |model, batch| {
            let of_batch: Vec<&str> = batch.iter().map(|&i| prefixed[i].as_str()).collect();
            let mut model = model.lock().unwrap_or_else(PoisonError::into_inner);
            Ok(model.embed(of_batch, Some(batch.len()))?)
        })
    }

    fn choices(&self) -> Vec<String> {
        // Those of the same models beside each other, or they would be loaded again and again.
        let all = [ONE, EACH].into_iter().flat_map(|models| BATCHES.map(|batch| (models, batch)));
        all.map(|(models, batch)| format!("{models}, {batch}")).collect()
    }

    fn choose(&mut self, choice: &str) -> Result<()> {
        let (models, batch) = choice.split_once(", ").context("a choice has two parts")?;
        self.batch = batch.parse()?;
        if models != self.chosen {
            self.models.clear();
            (self.chosen, self.models) = match models {
                ONE => (ONE, vec![Mutex::new(load(&self.paths.0, &self.paths.1, None)?)]),
                _ => (EACH, self.single_threaded()?),
            };
        }
        Ok(())
    }
}

/// Loads the model, embeds one text, and ends: what a command-line tool on top of it would do.
pub(crate) fn first_vector(model: &Path, tokenizer: &Path, text: &str) -> Result<()> {
    let rows = Default::load(model, tokenizer)?.embed(&[text.to_owned()], Role::Query)?;
    println!("{}", serde_json::to_string(&rows)?);
    Ok(())
}

fn load(model: &Path, tokenizer: &Path, threads: Option<usize>) -> Result<TextEmbedding> {
    let read = |path: &Path| fs::read(path).with_context(|| format!("can't read {}", path.display()));
    // What lies beside the tokenizer on the hub; fastembed wants the files, and these fields of them.
    let tokenizer_files = TokenizerFiles {
        tokenizer_file: read(tokenizer)?,
        config_file: serde_json::to_vec(&json!({ "pad_token_id": 1 }))?,
        special_tokens_map_file: serde_json::to_vec(&json!({
            "bos_token": "<s>", "cls_token": "<s>", "eos_token": "</s>",
            "pad_token": "<pad>", "sep_token": "</s>", "unk_token": "<unk>",
        }))?,
        tokenizer_config_file: serde_json::to_vec(&json!({
            "model_max_length": 512, "pad_token": "<pad>", "tokenizer_class": "XLMRobertaTokenizer",
        }))?,
    };
    let model = UserDefinedEmbeddingModel::new(read(model)?, tokenizer_files).with_pooling(Pooling::Mean);
    let mut options = InitOptionsUserDefined::new().with_max_length(512);
    options.intra_threads = threads;
    Ok(TextEmbedding::try_new_from_user_defined(model, options)?)
}

fn prefixed(texts: &[String], role: Role) -> Vec<String> {
    texts.iter().map(|text| format!("{}{text}", role.prefix())).collect()
}
