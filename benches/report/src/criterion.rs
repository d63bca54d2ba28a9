//! What criterion leaves behind: a folder for each benchmark, with its samples.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use walkdir::WalkDir;

use crate::catalogue;
use crate::figure::{Better, Figure, Unit};

/// Criterion's `benchmark.json`.
#[derive(Debug, Deserialize)]
struct Benchmark {
    group_id: String,
    function_id: Option<String>,
    value_str: Option<String>,
    throughput: Option<Throughput>,
}

/// What one iteration works through.
#[derive(Debug, Deserialize)]
enum Throughput {
    Elements(u64),
    #[serde(untagged)]
    Other(serde::de::IgnoredAny),
}

/// Criterion's `sample.json`.
#[derive(Debug, Deserialize)]
struct Sample {
    iters: Vec<f64>,
    /// Nanoseconds of all iterations of a sample.
    times: Vec<f64>,
}

/// All benchmarks that were measured since then, in the order of their names. What is older belongs to another run.
///
/// # Errors
///
/// If a file of criterion's can't be read.
pub fn read(folder: &Path, since: SystemTime) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    if !folder.exists() {
        return Ok(figures);
    }
    for entry in WalkDir::new(folder).sort_by_file_name() {
        let entry = entry.with_context(|| format!("cannot look into {}", folder.display()))?;
        if !entry.path().ends_with("new/benchmark.json") {
            continue;
        }
        let path = entry.path().with_file_name("sample.json");
        if fs::metadata(&path).and_then(|metadata| metadata.modified()).is_ok_and(|written| written >= since)
        {
            figures.push(figure(json(entry.path())?, &json(&path)?));
        }
    }
    Ok(figures)
}

fn json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is not what criterion writes", path.display()))
}

fn figure(benchmark: Benchmark, sample: &Sample) -> Figure {
    let Benchmark { group_id: suite, function_id, value_str, throughput } = benchmark;
    let name: Vec<String> = function_id.into_iter().chain(value_str).collect();
    let name = if name.is_empty() { suite.clone() } else { name.join(" ") };
    let group = catalogue::group(&suite);
    let times = sample.times.iter().zip(&sample.iters).map(|(time, iterations)| time / iterations);
    let rate = match (group.and_then(|group| group.rate), throughput) {
        (Some(unit), Some(Throughput::Elements(count))) => Some((unit, count)),
        _ => None,
    };
    let (unit, better, samples) = match rate {
        Some((unit, count)) => {
            (unit, Better::Higher, times.map(|nanoseconds| count as f64 * 1e9 / nanoseconds).collect())
        }
        None => (Unit::Nanoseconds, Better::Lower, times.collect()),
    };
    Figure {
        role: catalogue::role(&name),
        baseline: group.is_some_and(|group| group.baseline == Some(&name)),
        note: None,
        extra: [].into(),
        target: None,
        targets: group.map(|group| group.targets(&name)).unwrap_or_default(),
        in_turns: false,
        suite,
        name,
        unit,
        better,
        samples,
    }
}
