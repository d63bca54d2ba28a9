//! The texts that are measured: real ones, the same on every machine with the same packages.
//!
//! Order and choice come from a hash of each text and a fixed seed, so no generator of random numbers can change
//! them. All files are JSON lines with `text`, `tokens` (of E5, with prefix and special tokens) and `language`.

mod manpages;
mod packages;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};
use embed_rivals_worker::Role;
use embed_testkit::data::udhr;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};
use tokenizers::Tokenizer;
use twox_hash::XxHash3_64;

use manpages::Piece;
pub(crate) use packages::hex;
use packages::{Pages, Source};

const SEED: u64 = 7;
/// Raised whenever the choice of texts changes: files of another recipe are made anew.
const RECIPE: u32 = 3;
const MAX_TOKENS: usize = 512;

/// A workload, by the name of its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Workload {
    /// English and Japanese paragraphs in turns. The headline is measured on these.
    Mixed,
    /// English paragraphs.
    English,
    /// Queries of 8 to 16 tokens, English and Japanese in turns.
    Queries,
    /// Passages that fill the model's window.
    Long,
    /// Articles in 15 languages, for detection.
    Languages,
    /// For rivals that look for their best setting: not among the measured ones.
    Tuning,
    /// For rivals that quantise: not among the measured ones either.
    Calibration,
    /// Queries as caches meet them: few of them often, most of them seldom.
    Zipf,
}

impl Workload {
    const ALL: [Self; 8] = [
        Self::Mixed,
        Self::English,
        Self::Queries,
        Self::Long,
        Self::Languages,
        Self::Tuning,
        Self::Calibration,
        Self::Zipf,
    ];

    /// The name of its file, without ending.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Mixed => "paragraphs-mixed",
            Self::English => "paragraphs-english",
            Self::Queries => "queries",
            Self::Long => "passages-512",
            Self::Languages => "languages",
            Self::Tuning => "tuning",
            Self::Calibration => "calibration",
            Self::Zipf => "queries-zipf",
        }
    }

    /// What the texts are for.
    pub(crate) fn role(self) -> Role {
        match self {
            Self::Queries | Self::Zipf => Role::Query,
            _ => Role::Passage,
        }
    }
}

/// A line of a workload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Text {
    pub(crate) text: String,
    pub(crate) tokens: usize,
    pub(crate) language: String,
}

/// What `manifest.json` beside the files says of them.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Manifest {
    recipe: u32,
    /// Whether paragraphs come from manual pages; else from the Declaration of Human Rights.
    manual_pages: bool,
    sources: Vec<Source>,
    /// Of the tokenizer that counted.
    tokenizer_sha256: String,
    files: Vec<Entry>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    file: String,
    sha256: String,
    texts: usize,
    tokens: usize,
}

/// The folder of the workloads, made if need be.
pub(crate) struct Workloads {
    folder: PathBuf,
    /// What a reader should know of the texts.
    pub(crate) source: String,
}

impl Workloads {
    /// Takes the files in `folder` if they are whole, else makes them. Unless packages may be fetched they are made
    /// in `private`, of packages that were fetched before; without any the texts are articles of the Declaration of
    /// Human Rights.
    pub(crate) fn open(folder: &Path, private: &Path, tokenizer: &Path, fetch: bool) -> Result<Self> {
        let tokenizer_sha256 = hex(&Sha256::digest(fs::read(tokenizer)?));
        let found = read_manifest(folder)
            .filter(|manifest| manifest.recipe == RECIPE && manifest.tokenizer_sha256 == tokenizer_sha256)
            .filter(|manifest| manifest.manual_pages || !fetch);
        let packages = folder.join("packages");
        let (folder, manifest) = match found {
            Some(manifest) => (folder, manifest),
            None => {
                let folder = if fetch { folder } else { private };
                let pages = Pages::open(&packages, fetch);
                (folder, make(folder, pages, tokenizer, tokenizer_sha256)?)
            }
        };
        let files: Vec<&str> = manifest.sources.iter().map(|source| &*source.file).collect();
        Ok(Self { folder: folder.to_owned(), source: files.join(", ") })
    }

    /// Writes every paragraph of the packages as a line of JSON, each once, in an order that their hashes give; returns how
    /// many there are.
    pub(crate) fn write_all(&self, file: &Path) -> Result<usize> {
        let pages = Pages::open(&self.folder.join("packages"), true)?;
        let english = Shuffled::paragraphs(&pages.english, false).0;
        let mut texts: Vec<String> = english.chain(Shuffled::paragraphs(&pages.japanese, true).0).collect();
        texts.sort_by_key(|text| hash(text));
        let lines = texts.iter().map(|text| json!({ "text": text }).to_string() + "\n");
        fs::write(file, lines.collect::<String>())
            .with_context(|| format!("can't write {}", file.display()))?;
        Ok(texts.len())
    }

    /// The first `count` texts of a workload, in a file of their own in `folder`; the tokens of all of them.
    pub(crate) fn take(&self, workload: Workload, count: usize, folder: &Path) -> Result<Taken> {
        let texts = self.texts(workload)?;
        keep(&texts[..count.min(texts.len())], workload, folder.join(format!("{}.jsonl", workload.name())))
    }

    /// The last ones of a workload: not those that [`take`](Self::take) gives, as long as there are enough.
    pub(crate) fn take_last(&self, workload: Workload, count: usize, folder: &Path) -> Result<Taken> {
        let texts = self.texts(workload)?;
        let path = folder.join(format!("{}-last-{count}.jsonl", workload.name()));
        keep(&texts[texts.len().saturating_sub(count)..], workload, path)
    }

    fn texts(&self, workload: Workload) -> Result<Vec<Text>> {
        let whole = self.path(workload);
        let texts = read(&whole)?;
        ensure!(!texts.is_empty(), "{} has no texts", whole.display());
        Ok(texts)
    }

    /// The whole file of a workload.
    pub(crate) fn path(&self, workload: Workload) -> PathBuf {
        self.folder.join(format!("{}.jsonl", workload.name()))
    }
}

/// Writes texts into a file of their own.
fn keep(texts: &[Text], workload: Workload, path: PathBuf) -> Result<Taken> {
    write(&path, texts)?;
    let tokens = texts.iter().map(|text| text.tokens).sum();
    Ok(Taken { path, role: workload.role(), texts: texts.len(), tokens })
}

/// Texts that one suite measures.
#[derive(Debug, Clone)]
pub(crate) struct Taken {
    pub(crate) path: PathBuf,
    pub(crate) role: Role,
    pub(crate) texts: usize,
    pub(crate) tokens: usize,
}

/// The manifest, if the files are as it says.
fn read_manifest(folder: &Path) -> Option<Manifest> {
    let manifest: Manifest = serde_json::from_slice(&fs::read(folder.join("manifest.json")).ok()?).ok()?;
    let whole = |entry: &Entry| {
        fs::read(folder.join(&entry.file)).is_ok_and(|bytes| hex(&Sha256::digest(bytes)) == entry.sha256)
    };
    manifest.files.iter().all(whole).then_some(manifest)
}

fn make(folder: &Path, pages: Result<Pages>, tokenizer: &Path, tokenizer_sha256: String) -> Result<Manifest> {
    fs::create_dir_all(folder)?;
    let (pages, manual_pages) = match pages {
        Ok(pages) => (pages, true),
        Err(error) => {
            eprintln!(
                "workloads: no manual pages ({error:#}): articles of the Declaration of Human Rights instead"
            );
            (declaration(), false)
        }
    };
    let tokenizer =
        Tokenizer::from_file(tokenizer).map_err(|error| anyhow!("the tokenizer doesn't load: {error}"))?;
    let mut files = Vec::new();
    for (workload, texts) in choose(&pages, &tokenizer)? {
        let file = format!("{}.jsonl", workload.name());
        let path = folder.join(&file);
        write(&path, &texts)?;
        let sha256 = hex(&Sha256::digest(fs::read(&path)?));
        let tokens: usize = texts.iter().map(|text| text.tokens).sum();
        eprintln!(
            "workloads: {file}: {} texts, {} tokens on average",
            texts.len(),
            tokens / texts.len().max(1)
        );
        files.push(Entry { file, sha256, texts: texts.len(), tokens });
    }
    let manifest = Manifest { recipe: RECIPE, manual_pages, sources: pages.sources, tokenizer_sha256, files };
    fs::write(folder.join("manifest.json"), serde_json::to_vec_pretty(&manifest)?)?;
    Ok(manifest)
}

/// The Declaration of Human Rights as if it were one page in each language.
fn declaration() -> Pages {
    let page = |language: &str| {
        let articles = udhr().into_iter().filter(|article| article.language == language);
        // About as long as a query.
        let beginning = |text: &str| {
            let words = text.split_whitespace().take(8).collect::<Vec<_>>().join(" ");
            words.chars().take(48 / (words.len() / words.chars().count().max(1)).max(1)).collect()
        };
        let pieces = articles
            .flat_map(|article| [Piece::Title(beginning(&article.text)), Piece::Paragraph(article.text)]);
        vec![pieces.collect()]
    };
    Pages {
        sources: vec![Source { file: "udhr.jsonl".to_owned(), sha256: String::new() }],
        english: page("en"),
        japanese: page("ja"),
    }
}

/// Counts tokens as the model reads them.
struct Counter<'a> {
    tokenizer: &'a Tokenizer,
    role: Role,
    language: &'static str,
}

impl Counter<'_> {
    fn text(&self, text: &str) -> Result<Text> {
        let prefixed = format!("{}{text}", self.role.prefix());
        let encoding = self.tokenizer.encode_fast(prefixed, true);
        let encoding = encoding.map_err(|error| anyhow!("a text can't be tokenised: {error}"))?;
        let tokens = encoding.get_ids().len().min(MAX_TOKENS);
        Ok(Text { text: text.to_owned(), tokens, language: self.language.to_owned() })
    }
}

fn choose(pages: &Pages, tokenizer: &Tokenizer) -> Result<Vec<(Workload, Vec<Text>)>> {
    let counter = |role, language| Counter { tokenizer, role, language };
    let mut english = Shuffled::paragraphs(&pages.english, false);
    let mut japanese = Shuffled::paragraphs(&pages.japanese, true);
    let few = Some(english.0.len().min(japanese.0.len()) / 2).filter(|&few| few < 200);
    let passage = (counter(Role::Passage, "en"), counter(Role::Passage, "ja"));
    let query = (counter(Role::Query, "en"), counter(Role::Query, "ja"));
    let mut paragraphs = |count: usize| -> Result<Vec<Text>> {
        let range = 18..=480;
        Ok(in_turns(english.take(count, &passage.0, &range)?, japanese.take(count, &passage.1, &range)?))
    };
    // Of the few texts of the Declaration half is measured, and rivals prepare on the rest.
    let mixed = paragraphs(few.unwrap_or(200))?;
    let tuning = paragraphs(few.unwrap_or(128) / 2)?;
    let calibration = paragraphs(few.unwrap_or(80) / 2)?;
    let mut only_english = english.take(400, &passage.0, &(18..=480))?;
    if few.is_some() {
        only_english = mixed.iter().filter(|text| text.language == "en").cloned().collect();
    }
    let mut titles = (Shuffled::titles(&pages.english, false), Shuffled::titles(&pages.japanese, true));
    let queries =
        in_turns(titles.0.take(600, &query.0, &(8..=16))?, titles.1.take(600, &query.1, &(8..=16))?);
    let long = in_turns(long(&pages.english, &passage.0)?, long(&pages.japanese, &passage.1)?);
    let zipf = zipf(&queries, 20_000);
    Ok(Workload::ALL
        .into_iter()
        .map(|workload| {
            let texts = match workload {
                Workload::Mixed => mixed.clone(),
                Workload::English => only_english.clone(),
                Workload::Queries => queries.clone(),
                Workload::Long => long.clone(),
                Workload::Languages => languages(),
                Workload::Tuning => tuning.clone(),
                Workload::Calibration => calibration.clone(),
                Workload::Zipf => zipf.clone(),
            };
            (workload, texts)
        })
        .collect())
}

/// Texts in an order that their hashes give, each once.
struct Shuffled(std::vec::IntoIter<String>);

impl Shuffled {
    fn paragraphs(pages: &[Vec<Piece>], japanese: bool) -> Self {
        Self::new(pages, japanese, |piece| match piece {
            Piece::Paragraph(text) if text.len() >= 40 => Some(text),
            _ => None,
        })
    }

    fn titles(pages: &[Vec<Piece>], japanese: bool) -> Self {
        Self::new(pages, japanese, |piece| match piece {
            Piece::Title(text) => Some(text),
            Piece::Paragraph(_) => None,
        })
    }

    fn new(pages: &[Vec<Piece>], japanese: bool, pick: impl Fn(&Piece) -> Option<&String>) -> Self {
        let texts = pages.iter().flatten().filter_map(pick).filter(|text| is_in(text, japanese));
        let unique: BTreeSet<&String> = texts.collect();
        let mut texts: Vec<String> = unique.into_iter().cloned().collect();
        texts.sort_by_key(|text| hash(text));
        Self(texts.into_iter())
    }

    /// The next texts of so many tokens; fewer if there are no more.
    fn take(
        &mut self,
        count: usize,
        counter: &Counter<'_>,
        range: &std::ops::RangeInclusive<usize>,
    ) -> Result<Vec<Text>> {
        let mut taken = Vec::with_capacity(count);
        while taken.len() < count {
            let Some(text) = self.0.next() else { break };
            let text = counter.text(&text)?;
            if range.contains(&text.tokens) {
                taken.push(text);
            }
        }
        Ok(taken)
    }
}

fn is_in(text: &str, japanese: bool) -> bool {
    let kana = text.chars().any(|c| ('\u{3040}'..='\u{30ff}').contains(&c));
    // A dash or a name may be of another script.
    let foreign = text.chars().filter(|c| !c.is_ascii()).count();
    if japanese { kana } else { !kana && foreign * 50 < text.len() && text.contains(' ') }
}

fn hash(text: &str) -> u64 {
    XxHash3_64::oneshot_with_seed(SEED, text.as_bytes())
}

fn in_turns(left: Vec<Text>, right: Vec<Text>) -> Vec<Text> {
    left.into_iter().zip(right).flat_map(|(left, right)| [left, right]).collect()
}

/// Pages from their beginning, cut where the model's window ends.
fn long(pages: &[Vec<Piece>], counter: &Counter<'_>) -> Result<Vec<Text>> {
    let paragraph = |piece: &Piece| match piece {
        Piece::Paragraph(text) => Some(text.clone()),
        Piece::Title(_) => None,
    };
    let mut whole: Vec<String> = pages
        .iter()
        .map(|page| page.iter().filter_map(paragraph).take(40).collect::<Vec<_>>().join("\n"))
        .filter(|text| is_in(text, counter.language == "ja") && text.chars().count() > 900)
        .collect();
    whole.sort_by_key(|text| hash(text));
    let mut texts = Vec::new();
    for text in whole {
        if texts.len() == 16 {
            break;
        }
        let prefix = counter.role.prefix();
        let encoding = counter.tokenizer.encode(format!("{prefix}{text}"), true);
        let encoding = encoding.map_err(|error| anyhow!("a text can't be tokenised: {error}"))?;
        let Some(&(_, end)) = encoding.get_offsets().get(MAX_TOKENS - 4) else { continue };
        let Some(cut) = text.get(..end.saturating_sub(prefix.len())) else { continue };
        let text = counter.text(cut)?;
        if (500..=MAX_TOKENS).contains(&text.tokens) {
            texts.push(text);
        }
    }
    Ok(texts)
}

/// So many draws, the first text most often, the second half as often, the third a third as often.
fn zipf(texts: &[Text], draws: usize) -> Vec<Text> {
    let weights: Vec<f64> = (1..=texts.len()).map(|rank| 1.0 / rank as f64).collect();
    let all: f64 = weights.iter().sum();
    let draw = |number: usize| {
        let mut point = hash(&number.to_string()) as f64 / u64::MAX as f64 * all;
        let at = weights.iter().position(|weight| {
            point -= weight;
            point <= 0.0
        });
        texts.get(at.unwrap_or(0)).cloned()
    };
    (0..draws).filter_map(draw).collect()
}

/// Articles in 15 languages; nobody counts their tokens.
fn languages() -> Vec<Text> {
    let mut texts: Vec<Text> = udhr()
        .into_iter()
        .map(|article| {
            let language = article.language.split('-').next().unwrap_or_default().to_owned();
            Text { text: article.text, tokens: 0, language }
        })
        .collect();
    texts.sort_by_key(|text| hash(&text.text));
    texts
}

fn read(path: &Path) -> Result<Vec<Text>> {
    let file = fs::read_to_string(path).with_context(|| format!("can't read {}", path.display()))?;
    file.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

fn write(path: &Path, texts: &[Text]) -> Result<()> {
    let lines = texts.iter().map(|text| Ok(serde_json::to_string(text)? + "\n"));
    let lines: String = lines.collect::<Result<_>>()?;
    fs::write(path, lines).with_context(|| format!("can't write {}", path.display()))
}
