//! `docs/configuration.md`, generated from the table, and the test that compares them.

use std::fmt::Write as _;
use std::path::Path;

use super::{Setting, Settings, TABLE};

const HEAD: &str = "\
# Configuration

Made from the table in `crates/embed-stack/src/settings/table`; to write it again, run
`EMBED_BLESS=1 cargo test -p embed-cli --bin embed configuration_page`.

Settings of the command `embed` come from a file, from variables and from flags. A variable wins over the file, a flag
over both. `embed config show` prints every value and where it comes from, `embed config check` everything that is
wrong, and `embed config example` a file to start from. Passwords and tokens are in none of it.

**Models and routes** may be declared in the file, in `[[model]]` tables and `[routes]`: [models.md](models.md) describes
them. The settings below have their place beside those, but for `service`, `e5.model`, `ollama.model` and
`router.english_model`.

**The file** is TOML. It is the one that `--config FILE` names, else the one that `TMWS_CONFIG` names, else
`embed/embed.toml` in the platform's folder for configuration (`$XDG_CONFIG_HOME` or `~/.config` on Linux) if it is
there. A file that is named and isn't there is an error.

**Variables** have two prefixes. `TMWS_` begins every variable that is a setting of this command; other programs have
variables with that prefix too, and theirs are left alone. `EMBED_` is about files: `EMBED_HOME` names the data folder
with models and runtime library, for this command and for every program that uses the libraries.

A variable that is empty counts as not set. An unknown key, a variable with the prefix `TMWS_` that looks like a setting
and is none, and a value that isn't allowed are errors of every command (exit code 3), even if something else wins.

**A secret** belongs into the file or a variable: flags are seen by everyone who lists processes.

Other variables: `ORT_DYLIB_PATH` names the ONNX Runtime library, `EMBED_KERNELS` the instructions that models in the
process compute by (`amx`, `avx512`, `avxvnni`, `avx2`, `neon`, `portable`; without it the fastest of the processor), and
`OLLAMA_HOST` the Ollama server if no setting does.
`TMWS_OLLAMA_CACHE_ENABLED` is older than `TMWS_CACHE`, which wins over it: `false` turns the cache off, `true` turns one
on that the file turns off. `HF_*`, `HTTPS_PROXY` and `NO_PROXY` are read by `embed models pull`, which says how.
";

fn page() -> String {
    let defaults = Settings::default();
    let (mut page, mut section) = (HEAD.to_owned(), None);
    for setting in TABLE {
        let Setting { key, variable, flag, help, .. } = setting;
        let of = setting.path().0;
        if section.replace(of) != Some(of) {
            let title = if of.is_empty() { "Top level".to_owned() } else { format!("`[{of}]`") };
            let _ = write!(
                page,
                "\n## {title}\n\n| key | variable | flag | default | what |\n|---|---|---|---|---|\n"
            );
        }
        let flag = flag.map_or(String::new(), |(name, value)| format!("`--{name} {value}`"));
        let default = setting.get(&defaults).map_or("none".to_owned(), |value| format!("`{value}`"));
        let _ = writeln!(
            page,
            "| `{key}` | `{variable}` | {flag} | {default} | {help} Must be {}. |",
            setting.allowed()
        );
    }
    page.push_str("\n`--model` is that of the service which embeds.\n");
    page
}

#[test]
fn configuration_page_is_what_the_table_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    embed_testkit::golden(path, "-p embed-cli --bin embed configuration_page", &page());
}

#[test]
fn no_name_is_given_twice() {
    for (at, setting) in TABLE.iter().enumerate() {
        for other in &TABLE[..at] {
            assert!(setting.key != other.key && setting.variable != other.variable, "{}", setting.key);
        }
        // A default is shown, or an example.
        assert!(setting.example.is_empty() == setting.get(&Settings::default()).is_some(), "{}", setting.key);
    }
}
