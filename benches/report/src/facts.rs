//! Where and with what a run was made: machine, versions, commit.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread::available_parallelism;
use std::time::SystemTime;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use sysinfo::System;

use crate::processor::kind;

/// When a run was made, and of what.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// In UTC.
    pub date: String,
    /// What was typed.
    pub command: String,
    /// Whether it was a quick one, whose figures are rough.
    pub quick: bool,
    /// The commit of the repository.
    pub commit: String,
    /// Whether files differed from the commit.
    pub dirty: bool,
    /// How many processes were waiting for a processor, on average: of the last 1, 5 and 15 minutes.
    pub load: [f64; 3],
}

/// What it was made on.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// The model of the processor.
    pub cpu: String,
    /// Its kind, by the name of its cores, where the system tells.
    #[serde(default)]
    pub kind: String,
    /// How many threads may run at once, by affinity and by the quota of the cgroup.
    pub cores: usize,
    /// Bytes that may be used, by the cgroup if it says less than the machine has.
    pub memory: u64,
    /// The instructions that matter here.
    pub flags: Vec<String>,
    /// Name and version of the system, and of its kernel.
    pub system: String,
}

/// The crates whose versions decide what is measured.
const CRATES: &[&str] = &[
    "axum",
    "criterion",
    "fastembed",
    "fred",
    "hyper",
    "lingua",
    "moka",
    "ollama-rs",
    "ort",
    "quick_cache",
    "redis",
    "reqwest",
    "tokenizers",
    "tokio",
    "whatlang",
    "whichlang",
];

impl Machine {
    /// Looks around.
    #[must_use]
    pub fn here() -> Self {
        let (mut cpu, mut memory) = (String::new(), 0);
        if let Ok(mut system) = System::new() {
            system.refresh_memory();
            system.refresh_cpu_all();
            cpu = system.cpus().first().map(|cpu| cpu.brand().trim().to_owned()).unwrap_or_default();
            let limit = system.cgroup_limits().map_or(u64::MAX, |limits| limits.total_memory);
            memory = system.total_memory().min(limit);
        }
        let name = System::long_os_version().unwrap_or_else(|_| std::env::consts::OS.to_owned());
        let kernel = System::kernel_version().unwrap_or_else(|_| "unknown".to_owned());
        Self {
            kind: fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| kind(&text)).unwrap_or_default(),
            cpu: if cpu.is_empty() { std::env::consts::ARCH.to_owned() } else { cpu },
            cores: available_parallelism().map_or(1, usize::from),
            memory,
            flags: flags(),
            system: format!("{name}, kernel {kernel}"),
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn flags() -> Vec<String> {
    use std::arch::is_x86_feature_detected;
    let all = [
        ("avx2", is_x86_feature_detected!("avx2")),
        ("avx_vnni", is_x86_feature_detected!("avxvnni")),
        ("avx512f", is_x86_feature_detected!("avx512f")),
        ("avx512_vnni", is_x86_feature_detected!("avx512vnni")),
        ("avx512_bf16", is_x86_feature_detected!("avx512bf16")),
        // The standard library detects it in nightly alone.
        ("amx_int8", fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| text.contains(" amx_int8"))),
    ];
    all.into_iter().filter(|(_, there)| *there).map(|(name, _)| name.to_owned()).collect()
}

#[cfg(target_arch = "aarch64")]
fn flags() -> Vec<String> {
    use std::arch::is_aarch64_feature_detected;
    let all = [
        ("dotprod", is_aarch64_feature_detected!("dotprod")),
        ("i8mm", is_aarch64_feature_detected!("i8mm")),
        ("bf16", is_aarch64_feature_detected!("bf16")),
    ];
    all.into_iter().filter(|(_, there)| *there).map(|(name, _)| name.to_owned()).collect()
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn flags() -> Vec<String> {
    Vec::new()
}

impl Run {
    /// A run that ends now, of the repository in a folder. What git doesn't say is left unknown.
    #[must_use]
    pub fn now(root: &Path, command: String, quick: bool) -> Self {
        let load = System::load_average().map(|load| [load.one, load.five, load.fifteen]);
        let git = |args: &[&str]| read(Command::new("git").current_dir(root).args(args));
        Self {
            date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            command,
            quick,
            commit: git(&["rev-parse", "HEAD"]).unwrap_or_else(|| "unknown".to_owned()),
            dirty: git(&["status", "--porcelain"]).is_some_and(|changes| !changes.is_empty()),
            // Not every system counts it.
            load: load.unwrap_or_default(),
        }
    }
}

/// The compiler, and the crates that matter as the lock file names them.
///
/// # Errors
///
/// If the lock file can't be read.
pub fn versions(root: &Path) -> Result<BTreeMap<String, String>> {
    let lock = fs::read_to_string(root.join("Cargo.lock")).context("cannot read Cargo.lock")?;
    let mut versions = locked(&lock)?;
    let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    if let Some(rustc) = read(Command::new(compiler).current_dir(root).arg("--version")) {
        versions.insert("rustc".to_owned(), rustc.trim_start_matches("rustc ").to_owned());
    }
    Ok(versions)
}

fn locked(lock: &str) -> Result<BTreeMap<String, String>> {
    let lock: toml::Table = lock.parse().context("Cargo.lock is no TOML")?;
    let packages =
        lock.get("package").and_then(toml::Value::as_array).context("Cargo.lock lists no packages")?;
    let mut versions: BTreeMap<String, String> = BTreeMap::new();
    for package in packages {
        let text = |key: &str| package.get(key).and_then(toml::Value::as_str);
        let (Some(name), Some(version)) = (text("name"), text("version")) else { continue };
        if CRATES.contains(&name) {
            // Two versions of one crate may be in the tree.
            let shown = versions.entry(name.to_owned()).or_default();
            let comma = if shown.is_empty() { "" } else { ", " };
            *shown = format!("{shown}{comma}{version}");
        }
    }
    Ok(versions)
}

fn read(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_says_something() {
        let machine = Machine::here();
        assert!(machine.cores > 0 && machine.memory > 0 && !machine.cpu.is_empty(), "{machine:?}");
    }

    #[test]
    fn versions_are_of_the_crates_that_matter() {
        let lock = "[[package]]\nname = \"ort\"\nversion = \"2.0.0\"\n[[package]]\nname = \"ort\"\nversion = \"3.0.0\"\n\
                    [[package]]\nname = \"syn\"\nversion = \"1.0.0\"\n";
        assert_eq!(locked(lock).unwrap(), [("ort".to_owned(), "2.0.0, 3.0.0".to_owned())].into());
    }
}
