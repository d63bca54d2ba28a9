//! The origin of a setting's value, and the choice of the file.

use std::fmt;
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;

/// The variable that names the file.
pub(super) const CONFIG: &str = "TMWS_CONFIG";

/// The origin of a value.
#[derive(Debug, Clone)]
pub enum Origin {
    /// Nothing says it.
    Default,
    /// A line of a file, counted from 1.
    File(PathBuf, usize),
    /// A variable.
    Variable(&'static str),
    /// A flag, without its dashes.
    Flag(&'static str),
}

/// A file with settings.
#[derive(Debug, Clone)]
pub struct ConfigFile {
    /// Its path.
    pub path: PathBuf,
    /// The flag or variable that names it; `None` for the default path, where it may be missing.
    pub named_by: Option<&'static str>,
    /// Whether it exists, unless it is named.
    pub is_there: bool,
}

impl ConfigFile {
    /// The file named by the flag, else by the variable, else at the default path, if the user has a home.
    pub(super) fn choose(flag: Option<&Path>, variable: Option<&Path>) -> Option<Self> {
        let named = |path: &Path, by| Self { path: path.to_owned(), named_by: Some(by), is_there: true };
        if let Some(path) = flag {
            return Some(named(path, "--config"));
        }
        if let Some(path) = variable {
            return Some(named(path, CONFIG));
        }
        let path = etcetera::choose_base_strategy().ok()?.config_dir().join("embed").join("embed.toml");
        // In a folder that the user may not read the file counts as missing.
        let is_there = path.exists();
        Some(Self { path, named_by: None, is_there })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(name) => write!(f, "--{name}"),
        }
    }
}
