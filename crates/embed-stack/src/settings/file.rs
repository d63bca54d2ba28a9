//! Reads the settings file.

use std::fs;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::draft::{Draft, nearest};
use super::origin::{ConfigFile, Origin};
use super::read;
use super::table::{self, TABLE};

/// The sections of a server, which a build without them leaves to it.
#[cfg(not(feature = "gateway"))]
const OF_A_SERVER: &[&str] = &["gateway", "log"];
#[cfg(feature = "gateway")]
const OF_A_SERVER: &[&str] = &[];

/// Applies the file, if there is one.
pub(super) fn apply(draft: &mut Draft) {
    let Some(ConfigFile { path, named_by, is_there: true }) = draft.settings.file.clone() else { return };
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) => {
            let by = named_by.map_or(String::new(), |by| format!(", which {by} names,"));
            let what = format!("{}: the file of settings{by} can't be read: {error}", path.display());
            return draft.problems.push(what);
        }
    };
    // Some editors write a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text).to_owned();
    let (table, errors) = DeTable::parse_recoverable(&text);
    if errors.is_empty() {
        return SettingsReader { text: &text, path, draft }.table("", table.get_ref());
    }
    for error in errors {
        let at = error.span().map_or(1, |span| line(&text, span.start));
        // The error's Display would quote the line, which may contain a password.
        draft.problems.push(format!("{}:{at}: this is no TOML: {}", path.display(), error.message()));
    }
}

/// The position while reading, for messages.
struct SettingsReader<'a> {
    text: &'a str,
    path: PathBuf,
    draft: &'a mut Draft,
}

impl SettingsReader<'_> {
    fn table(&mut self, section: &str, table: &DeTable<'_>) {
        // The map is sorted alphabetically, but messages should be in the order of the file.
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(name, _)| name.span().start);
        for (name, value) in entries {
            let dot = if section.is_empty() { "" } else { "." };
            let key = format!("{section}{dot}{}", name.get_ref());
            let origin = Origin::File(self.path.clone(), line(self.text, name.span().start));
            self.entry(&key, &origin, value);
        }
    }

    fn entry(&mut self, key: &str, origin: &Origin, value: &Spanned<DeValue<'_>>) {
        if OF_A_SERVER.contains(&key) {
            return;
        }
        if read::is_part(key) {
            let (path, text) = (&self.path, self.text);
            return read::read(key, value, &|at| Origin::File(path.clone(), line(text, at)), self.draft);
        }
        match (table::by_key(key), value.get_ref()) {
            (Some(setting), value) => match setting.kind.given(value) {
                Ok(given) => self.draft.set_given(setting, origin.clone(), &given),
                Err(error) => self.draft.problem(origin, key, error),
            },
            // An entry of an unknown section is reported by its whole name, for which a similar setting can be suggested.
            (None, DeValue::Table(table)) if is_section(key) || !table.is_empty() => self.table(key, table),
            (None, _) if is_section(key) => {
                self.draft.problem(origin, key, format!("is a section, written [{key}]"));
            }
            (None, _) => {
                let fix = match nearest(key, TABLE.iter().map(|setting| setting.key)) {
                    Some(known) => format!("did you mean {known}?"),
                    None => "`embed config example` lists them".to_owned(),
                };
                self.draft.problem(origin, key, format!("there is no such setting; {fix}"));
            }
        }
    }
}

fn is_section(key: &str) -> bool {
    TABLE.iter().any(|setting| setting.path().0 == key)
}

/// The line of a byte, counted from 1.
fn line(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count()
}
