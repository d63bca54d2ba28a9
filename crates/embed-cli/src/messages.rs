//! Checks that messages only name what exists: every setting, variable, flag and command in a string of this workspace
//! is looked up in its table.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory};
use proc_macro2::{Delimiter, TokenStream, TokenTree};

use crate::Cli;
use crate::settings::TABLE;

/// Variables that aren't settings.
const VARIABLES: [&str; 7] = [
    "TMWS_CONFIG",
    "TMWS_OLLAMA_CACHE_ENABLED",
    "EMBED_HOME",
    "EMBED_KERNELS",
    // When this program is built, and when its tests run.
    "EMBED_REVISION",
    "EMBED_BLESS",
    "EMBED_REQUIRE",
];
/// Flags of other programs that messages name.
const FLAGS: [&str; 4] = ["--features", "--test", "--bin", "--help"];
/// Files whose strings no user sees, and this one.
const NOT_FOR_USERS: [&str; 3] = ["src/wheel/pip.rs", "src/failure/page.rs", "src/messages.rs"];
/// Names that look like a setting and aren't one.
const ENDS: [&str; 7] = ["rs", "md", "json", "jsonl", "toml", "com", "example"];

/// The strings of a file without those of its tests; of docs, those that are shown as help.
fn strings(tokens: TokenStream, docs: bool, found: &mut Vec<String>) {
    let tokens: Vec<_> = tokens.into_iter().collect();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        at += 1;
        match token {
            TokenTree::Literal(literal) => found.push(literal.to_string()),
            TokenTree::Group(group) => strings(group.stream(), docs, found),
            TokenTree::Punct(mark) if mark.as_char() == '#' => {
                let inner = usize::from(
                    matches!(tokens.get(at), Some(TokenTree::Punct(mark)) if mark.as_char() == '!'),
                );
                let Some(TokenTree::Group(attribute)) = tokens.get(at + inner) else { continue };
                let text = attribute.stream().to_string();
                if text.starts_with("doc") && !docs {
                    at += 1 + inner;
                } else if text == "cfg (test)" || text == "cfg(test)" {
                    // Skips to the end of the item.
                    at += tokens[at..].iter().position(ends_item).map_or(tokens.len(), |end| end + 1);
                }
            }
            _ => {}
        }
    }
}

fn ends_item(token: &TokenTree) -> bool {
    match token {
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        TokenTree::Punct(mark) => mark.as_char() == ';',
        _ => false,
    }
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.file_stem().is_some_and(|name| name == "tests") {
            // Users don't see them.
        } else if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
}

/// The words of a text that consist of the characters of names.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || "_-.".contains(c)))
        .map(|word| word.trim_end_matches(['.', '-']))
}

fn flags(command: &Command, found: &mut BTreeSet<String>) {
    let of = command.get_arguments().filter_map(|argument| argument.get_long_and_visible_aliases());
    found.extend(of.flatten().map(|flag| format!("--{flag}")));
    command.get_subcommands().for_each(|command| flags(command, found));
}

/// Whether there is a command of this name, as far as the words are names of commands.
fn is_command(text: &str) -> bool {
    let root = Cli::command();
    let mut command = &root;
    for word in text.split_whitespace() {
        if !command.has_subcommands() || !word.bytes().all(|byte| byte.is_ascii_lowercase()) {
            break;
        }
        let Some(next) = command.find_subcommand(word) else { return false };
        command = next;
    }
    true
}

#[test]
fn messages_name_only_what_there_is() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut known_flags: BTreeSet<_> = FLAGS.map(str::to_owned).into();
    flags(&Cli::command(), &mut known_flags);
    let variables: BTreeSet<_> = TABLE.iter().map(|setting| setting.variable).chain(VARIABLES).collect();
    let sections: BTreeSet<_> =
        TABLE.iter().map(|setting| setting.path().0).filter(|of| !of.is_empty()).collect();
    let (mut wrong, mut named) = (Vec::new(), 0);
    for folder in fs::read_dir(&crates).unwrap() {
        let folder = folder.unwrap().path();
        // Users don't see code for tests.
        if folder.ends_with("embed-testkit") || !folder.join("src").is_dir() {
            continue;
        }
        let mut files = Vec::new();
        sources(&folder.join("src"), &mut files);
        for file in files.iter().filter(|file| !NOT_FOR_USERS.iter().any(|name| file.ends_with(name))) {
            let mut found = Vec::new();
            let source = fs::read_to_string(file).unwrap();
            strings(source.parse().unwrap(), folder.ends_with("embed-cli"), &mut found);
            for text in found {
                let text = text.split("\\\n").map(str::trim_start).collect::<Vec<_>>().join("");
                let mut check = |name: &str, is_there: bool| {
                    named += 1;
                    if !is_there {
                        wrong.push(format!("{}: {name}", file.display()));
                    }
                };
                for word in words(&text) {
                    if word.starts_with("TMWS_") || word.starts_with("EMBED_") {
                        let of_several = word.ends_with('_');
                        let fits = |known: &&str| *known == word || (of_several && known.starts_with(word));
                        check(word, variables.iter().any(fits));
                    } else if word.starts_with("--") && word.len() > 3 && !word.starts_with("---") {
                        check(word, known_flags.contains(word));
                    } else if let Some((section, name)) = word.split_once('.')
                        && sections.contains(section)
                        && !name.is_empty()
                        && !ENDS.contains(&name)
                    {
                        check(word, TABLE.iter().any(|setting| setting.key == word));
                    }
                }
                for (at, _) in text.match_indices("`embed ") {
                    let command = text[at + 7..].split('`').next().unwrap_or_default();
                    check(command, is_command(command));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "messages name what there isn't:\n{}", wrong.join("\n"));
    // Makes sure that names were found at all.
    assert!(named > 100, "{named}");
}
