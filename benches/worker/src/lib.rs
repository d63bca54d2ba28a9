#![doc = include_str!("../README.md")]

use std::fs;
use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde::{Deserialize, Serialize};

/// Something that turns texts into vectors, in the setting that it was made with or has found.
pub trait Contender: Sync {
    /// What a reader of the report should know of how it runs.
    fn setting(&self) -> String;

    /// A row for each text.
    ///
    /// # Errors
    ///
    /// Whatever hinders it; nothing is measured then.
    fn embed(&self, texts: &[String], role: Role) -> Result<Vec<Vec<f32>>>;

    /// The settings to choose from, in words of its own. Most have one setting and keep it.
    fn choices(&self) -> Vec<String> {
        Vec::new()
    }

    /// Takes one of its [`choices`](Self::choices).
    ///
    /// # Errors
    ///
    /// If there is no such choice, or whatever else hinders it.
    fn choose(&mut self, choice: &str) -> Result<()> {
        bail!("there is no choice `{choice}`")
    }
}

/// What a text is for; E5 puts another word before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Something that is searched for.
    Query,
    /// Something that is found.
    Passage,
}

impl Role {
    /// What E5 reads before the text.
    #[must_use]
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Query => "query: ",
            Self::Passage => "passage: ",
        }
    }
}

/// What the driver asks for. Serialised, it is a line of the protocol.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
#[non_exhaustive]
pub enum Order {
    /// Take a setting.
    Choose {
        /// One of those that the first answer named.
        choice: String,
    },
    /// All texts at once.
    Batch(Texts),
    /// One text a call.
    Calls {
        /// Which texts.
        #[serde(flatten)]
        texts: Texts,
        /// How many calls are under way at a time.
        callers: usize,
    },
    /// The rows into a file.
    Vectors {
        /// Which texts.
        #[serde(flatten)]
        texts: Texts,
        /// The file.
        out: PathBuf,
    },
}

/// The texts of an order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Texts {
    /// The file with them.
    pub texts: PathBuf,
    /// What they are for.
    pub role: Role,
}

/// What the worker says. Which fields are there depends on the order.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Answer {
    /// How the contender runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub setting: Option<String>,
    /// What it can be told to choose from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<String>,
    /// How long the order took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// How long each call took.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub latencies_ms: Vec<f64>,
    /// Why there is nothing else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Makes the contender and carries out orders until the driver closes the pipe.
///
/// # Errors
///
/// If the pipe breaks. What goes wrong in the contender is told to the driver.
pub fn serve<C: Contender>(make: impl FnOnce() -> Result<C>) -> Result<()> {
    let mut contender = match make() {
        Ok(contender) => contender,
        Err(error) => return tell(&Answer { error: Some(format!("{error:#}")), ..Answer::default() }),
    };
    let (setting, choices) = (Some(contender.setting()), contender.choices());
    tell(&Answer { setting, choices, ..Answer::default() })?;
    for line in io::stdin().lock().lines() {
        let order = serde_json::from_str(&line?).context("the driver sent no order");
        let answer = order.and_then(|order| carry_out(&mut contender, &order));
        tell(
            &answer.unwrap_or_else(|error| Answer { error: Some(format!("{error:#}")), ..Answer::default() }),
        )?;
    }
    Ok(())
}

/// The texts of a file of JSON lines.
///
/// # Errors
///
/// If the file can't be read or a line has no field `text`.
pub fn read_texts(path: &Path) -> Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Line {
        text: String,
    }
    let file = fs::read_to_string(path).with_context(|| format!("can't read {}", path.display()))?;
    file.lines().map(|line| Ok(serde_json::from_str::<Line>(line)?.text)).collect()
}

/// How long a piece of work takes.
///
/// # Errors
///
/// What the work returns.
pub fn seconds(work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let began = Instant::now();
    work()?;
    Ok(began.elapsed().as_secs_f64())
}

fn tell(answer: &Answer) -> Result<()> {
    let mut line = serde_json::to_string(answer)?;
    line.push('\n');
    let mut out = io::stdout().lock();
    out.write_all(line.as_bytes())?;
    Ok(out.flush()?)
}

fn carry_out<C: Contender>(contender: &mut C, order: &Order) -> Result<Answer> {
    let mut answer = Answer::default();
    match order {
        Order::Choose { choice } => {
            contender.choose(choice)?;
            answer.setting = Some(contender.setting());
        }
        Order::Batch(from) => {
            let texts = read_texts(&from.texts)?;
            answer.seconds = Some(seconds(|| {
                let rows = contender.embed(&texts, from.role)?;
                ensure!(rows.len() == texts.len(), "{} rows for {} texts", rows.len(), texts.len());
                Ok(())
            })?);
        }
        Order::Calls { texts: from, callers } => {
            let texts = read_texts(&from.texts)?;
            let began = Instant::now();
            answer.latencies_ms = calls(contender, &texts, from.role, *callers)?;
            answer.seconds = Some(began.elapsed().as_secs_f64());
        }
        Order::Vectors { texts: from, out } => {
            let rows = contender.embed(&read_texts(&from.texts)?, from.role)?;
            let bytes: Vec<u8> = rows.iter().flatten().flat_map(|number| number.to_le_bytes()).collect();
            fs::write(out, bytes).with_context(|| format!("can't write {}", out.display()))?;
        }
    }
    Ok(answer)
}

/// Each text in a call of its own, from so many threads; how long each call took, in milliseconds.
fn calls<C: Contender>(contender: &C, texts: &[String], role: Role, callers: usize) -> Result<Vec<f64>> {
    let next = AtomicUsize::new(0);
    let caller = || {
        let mut latencies = Vec::new();
        while let Some(text) = texts.get(next.fetch_add(1, Ordering::Relaxed)) {
            let text = std::slice::from_ref(text);
            latencies.push(seconds(|| contender.embed(text, role).map(drop))? * 1000.0);
        }
        Ok(latencies)
    };
    let parts: Vec<Result<Vec<f64>>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..callers).map(|_| scope.spawn(caller)).collect();
        let join = |thread: thread::ScopedJoinHandle<'_, _>| {
            thread.join().unwrap_or_else(|_| Err(anyhow!("a caller panicked")))
        };
        threads.into_iter().map(join).collect()
    });
    Ok(parts.into_iter().collect::<Result<Vec<_>>>()?.concat())
}
