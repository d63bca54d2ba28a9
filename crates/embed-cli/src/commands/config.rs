//! `embed config`: shows the settings, checks them, and lists all that can be set.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use embed_core::{Error, ErrorKind};
use embed_encoder::assets::DataHome;
use serde::Serialize;
use serde_json::Value;
use unicode_width::UnicodeWidthStr;

use crate::exit::Exit;
use crate::io::output::print;
use crate::settings::{
    self, ConfigFile, Document, Origin, PRESET_KEYS, Problems, Setting, Settings, TABLE, flags,
};

#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print every setting, its value and where that comes from. Passwords and tokens are hidden.
    ///
    /// Flags work as with the other commands: `embed config show --service ollama`.
    #[command(args = flags(&["service", "e5", "ollama", "router", "cache"]))]
    Show {
        /// How to write it.
        #[arg(long, value_enum, default_value_t = ConfigFormat::Table)]
        format: ConfigFormat,
    },
    /// Print everything that is wrong with the settings; the exit code is 3 then.
    Check {
        /// Check only this file. Without it, what a command would read is checked: its file and the variables.
        file: Option<PathBuf>,
    },
    /// Print a file of settings with their defaults, to be filled in.
    Example,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ConfigFormat {
    /// For people.
    Table,
    /// As a file of settings.
    Toml,
    /// One JSON object.
    Json,
}

/// A setting in JSON.
#[derive(Serialize)]
struct Shown {
    value: Option<Value>,
    origin: &'static str,
    /// The file and the line, the variable, or the flag.
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<String>,
}

/// Shows the settings that were read, or what is wrong with them.
pub(crate) fn run(
    args: &ConfigArgs,
    read: Result<Settings, Problems>,
    home: Result<DataHome, Error>,
) -> Result<Exit, Error> {
    match &args.command {
        Command::Example => print(&example())?,
        Command::Show { format } => {
            let settings = read?;
            let document = settings::document(&settings, &home?)?;
            print(&match format {
                ConfigFormat::Table => table(&settings, &document),
                ConfigFormat::Toml => toml(&settings, &document),
                ConfigFormat::Json => format!("{:#}\n", json(&settings, &document)),
            })?;
        }
        Command::Check { file: alone } => {
            let read = alone.as_deref().map_or(read, settings::read_file);
            let settings = read.map_err(|problems| {
                let all = problems.all();
                let count =
                    if all.len() == 1 { "1 problem".to_owned() } else { format!("{} problems", all.len()) };
                Error::new(ErrorKind::Config, format!("{count}\n  {}", all.join("\n  ")))
            })?;
            print(&format!("{}: nothing is wrong\n", file_line(&settings)))?;
        }
    }
    Ok(Exit::Done)
}

/// The file, and the flag or variable that names it.
fn file_line(settings: &Settings) -> String {
    match &settings.file {
        Some(ConfigFile { path, named_by: Some(by), .. }) => format!("file {} ({by})", path.display()),
        Some(ConfigFile { path, is_there: true, .. }) => format!("file {}", path.display()),
        Some(ConfigFile { path, .. }) => format!("no file ({} is not there)", path.display()),
        None => "no file (there is no home folder; name one with --config)".to_owned(),
    }
}

fn table(settings: &Settings, document: &Document) -> String {
    let rows: Vec<_> = TABLE
        .iter()
        .map(|setting| {
            let value = setting.get(settings).map_or("not set".to_owned(), |value| value.to_string());
            (setting.key, value, settings.origin(setting.key).to_string())
        })
        .collect();
    let keys = rows.iter().map(|(key, _, _)| key.width()).max().unwrap_or(0);
    let values = rows.iter().map(|(_, value, _)| value.width()).max().unwrap_or(0);
    let mut page = format!("{}\n\n", file_line(settings));
    for (key, value, origin) in &rows {
        let gap = " ".repeat(values - value.width());
        // Writing to a string doesn't fail.
        let _ = writeln!(page, "{key:<keys$}  {value}{gap}  {origin}");
    }
    let _ = write!(page, "\n{}\n{}", amounts_to(settings), settings::toml(document));
    page
}

/// Where the models below come from.
fn amounts_to(settings: &Settings) -> &'static str {
    match settings.is_preset() {
        true => "the models and routes that this amounts to:",
        false => "the models and routes of the file:",
    }
}

fn toml(settings: &Settings, document: &Document) -> String {
    let head = format!("# {}\n", file_line(settings));
    let page = by_section(head, |setting, name| {
        let origin = settings.origin(setting.key);
        match setting.get(settings) {
            _ if PRESET_KEYS.contains(&setting.key) && !settings.is_preset() => {
                format!("# {name} has no place beside declared models\n")
            }
            None => format!("# {name} is not set\n"),
            Some(value) if setting.secret => format!("# {name} = {value}  # hidden; {origin}\n"),
            Some(value) => format!("{name} = {value}  # {origin}\n"),
        }
    });
    let models = settings::toml(document);
    if !settings.is_preset() {
        return page + &models;
    }
    // A file has a service or these tables.
    let commented =
        models.lines().map(|line| if line.is_empty() { "\n".to_owned() } else { format!("# {line}\n") });
    format!("{page}\n# {}\n{}", amounts_to(settings), commented.collect::<String>().trim_start())
}

fn json(settings: &Settings, document: &Document) -> Value {
    let shown = |setting: &Setting| {
        let origin = settings.origin(setting.key);
        let (kind, at) = match &origin {
            Origin::Default => ("default", None),
            Origin::File(..) => ("file", Some(origin.to_string())),
            Origin::Variable(_) => ("variable", Some(origin.to_string())),
            Origin::Flag(_) => ("flag", Some(origin.to_string())),
        };
        Shown { value: setting.get(settings), origin: kind, at }
    };
    let rows: serde_json::Map<_, _> =
        TABLE.iter().map(|setting| (setting.key.to_owned(), serde_json::json!(shown(setting)))).collect();
    let file =
        settings.file.as_ref().filter(|file| file.is_there).map(|file| file.path.display().to_string());
    serde_json::json!({ "file": file, "settings": rows, "document": settings::json(document) })
}

fn example() -> String {
    let head = "\
# Settings of the command `embed`. A line that begins with # and a name is the default: take the # away to change it.
# Variables win over this file, flags over variables. `embed config show` says what holds, `embed config check` what
# is wrong.
"
    .to_owned();
    let defaults = Settings::default();
    by_section(head, |setting, name| {
        let value = setting.get(&defaults).map_or(setting.example.to_owned(), |value| value.to_string());
        let Setting { help, variable, .. } = setting;
        format!("\n# {help}\n# Must be {}. Variable {variable}.\n#{name} = {value}\n", setting.allowed())
    })
}

/// A page with a heading before the first setting of each section.
fn by_section(head: String, line: impl Fn(&Setting, &str) -> String) -> String {
    let (mut page, mut section) = (head, "");
    for setting in TABLE {
        let (of, name) = setting.path();
        if of != section {
            let _ = write!(page, "\n[{of}]\n");
            section = of;
        }
        page.push_str(&line(setting, name));
    }
    page
}
