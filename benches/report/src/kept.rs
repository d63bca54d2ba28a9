//! What is kept of a run for README.md: a file for each kind of processor, with the figures of its table and no others.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::catalogue::HEADLINE;
use crate::figure::{Role, Unit};
use crate::report::{Measured, Report, Suite};

/// Where the files lie.
pub const FOLDER: &str = "docs/benchmarks";
/// The form of the files.
const SCHEMA: &str = "embed-bench-table/1";
/// The fact that names the kernels of a run.
const KERNELS: &str = "kernels";
/// The further numbers of the table.
pub const COSINES: [&str; 2] = ["cosine_min", "cosine_mean"];

/// The suites of the table, with their units, and what their columns are called.
pub const COLUMNS: [(&str, Unit, &str); 4] = [
    (HEADLINE, Unit::Tokens, "paragraphs, tokens/s"),
    ("e5/512-tokens", Unit::Tokens, "512 tokens, tokens/s"),
    ("e5/query-16-callers", Unit::Texts, "queries/s, 16 callers"),
    ("e5/query-p50", Unit::Milliseconds, "a query alone, p50"),
];

/// The newest run on a kind of processor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    schema: String,
    /// The kind, such as `AMD Zen 5`.
    pub processor: String,
    /// The kernels of our engine.
    pub kernels: String,
    /// What the processor calls itself.
    pub cpu: String,
    /// How many threads could run at once.
    pub cores: usize,
    /// In UTC.
    pub date: String,
    /// Of the repository.
    pub commit: String,
    /// Whether the figures are rough.
    pub quick: bool,
    /// The contender that the others are compared with.
    pub baseline: String,
    /// The best one over paragraphs first.
    pub rows: Vec<Row>,
}

/// A contender.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// Whose it is.
    pub role: Role,
    /// The median of each suite that it was measured in.
    pub medians: BTreeMap<String, f64>,
    /// The smallest cosine to f32, and the mean, by the names that reports give them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub cosines: BTreeMap<String, f64>,
}

impl Kept {
    /// Takes from a report what the table needs. Of several settings of a rival those stay that are its best in a column.
    ///
    /// # Errors
    ///
    /// If the report has no headline suite.
    pub fn of(report: &Report) -> Result<Self> {
        let suites: Vec<&Suite> = COLUMNS.iter().filter_map(|(id, ..)| report.suite(id)).collect();
        let headline = report.suite(HEADLINE).with_context(|| {
            format!("the report has no suite `{HEADLINE}`; run `cargo xtask bench` without names")
        })?;
        let stays = |figure: &Measured| {
            let best = |suite: &&Suite| {
                let best = suite.figures.iter().find(|other| rival(&other.name) == rival(&figure.name));
                best.is_some_and(|best| best.name == figure.name)
            };
            figure.role != Role::Rival || figure.baseline || suites.iter().any(best)
        };
        let row = |figure: &Measured| {
            let median = |suite: &&Suite| {
                let own = suite.figures.iter().find(|other| other.name == figure.name)?;
                Some((suite.id.clone(), own.value.median))
            };
            let cosine = |name: &&str| Some(((*name).to_owned(), *figure.extra.get(*name)?));
            Row {
                name: figure.name.clone(),
                role: figure.role,
                medians: suites.iter().filter_map(median).collect(),
                cosines: COSINES.iter().filter_map(cosine).collect(),
            }
        };
        let machine = &report.machine;
        let kernels = report.facts.get(KERNELS).map_or("", String::as_str);
        Ok(Self {
            schema: SCHEMA.to_owned(),
            processor: if machine.kind.is_empty() { machine.cpu.clone() } else { machine.kind.clone() },
            // `embed doctor` goes on with what else there is.
            kernels: kernels.split([' ', ',']).next().unwrap_or_default().to_owned(),
            cpu: machine.cpu.clone(),
            cores: machine.cores,
            date: report.run.date.clone(),
            commit: report.run.commit.chars().take(10).collect(),
            quick: report.run.quick,
            baseline: headline.baseline().map(|baseline| baseline.name.clone()).unwrap_or_default(),
            rows: headline.figures.iter().filter(|figure| stays(figure)).map(row).collect(),
        })
    }

    /// The name of its file, such as `amd-zen-5-avx512.json`.
    #[must_use]
    pub fn file_name(&self) -> String {
        let words = format!("{} {}", self.processor, self.kernels).to_lowercase();
        let words =
            words.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        words.collect::<Vec<_>>().join("-") + ".json"
    }

    /// Writes it into the folder, in place of an earlier run on the same kind.
    ///
    /// # Errors
    ///
    /// If the file can't be written, or if that would put rough figures in place of good ones.
    pub fn write(&self, root: &Path) -> Result<()> {
        let path = root.join(FOLDER).join(self.file_name());
        let shown = path.display();
        if path.exists() {
            let old = Self::read(&path)?;
            ensure!(
                old.quick || !self.quick,
                "{shown} is of a full run, and this report of a quick one; run `cargo xtask bench` without --quick"
            );
        }
        fs::create_dir_all(root.join(FOLDER)).with_context(|| format!("cannot create {FOLDER}"))?;
        let json = serde_json::to_string_pretty(self)? + "\n";
        fs::write(&path, json).with_context(|| format!("cannot write {shown}"))
    }

    /// All that are kept, the newest first.
    ///
    /// # Errors
    ///
    /// If a file can't be read.
    pub fn all(root: &Path) -> Result<Vec<Self>> {
        let folder = root.join(FOLDER);
        let mut all = Vec::new();
        for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                all.push(Self::read(&path)?);
            }
        }
        all.sort_by(|a, b| b.date.cmp(&a.date));
        Ok(all)
    }

    fn read(path: &Path) -> Result<Self> {
        let read = || -> Result<Self> {
            let kept: Self = serde_json::from_slice(&fs::read(path)?)?;
            ensure!(kept.schema == SCHEMA, "its schema is {}, and this program reads {SCHEMA}", kept.schema);
            Ok(kept)
        };
        read().with_context(|| format!("{} can't be used", path.display()))
    }
}

/// The name without the setting: `fastembed int8, best` is one of two ways to use `fastembed int8`.
fn rival(name: &str) -> &str {
    name.split(',').next().unwrap_or_default()
}
