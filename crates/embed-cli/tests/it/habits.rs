//! What people expect of a program at a terminal.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use embed_testkit::ollama::OllamaDouble;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::{copy_of, embed, home, path, run, run_with_input};

#[test]
fn a_pipe_is_read_with_and_without_a_dash() {
    let Some(_) = home() else { return };
    let plain = run(&["encode", "料理"]).out;
    for args in [&["encode"][..], &["encode", "-"], &["encode", "--input", "-"]] {
        let run = run_with_input(args, "料理\n".as_bytes());
        assert_eq!((run.code, &run.out, run.err.as_str()), (Some(0), &plain, ""), "{args:?}");
    }
    let rows =
        run_with_input(&["encode", "-", "--input-format", "jsonl"], b"{\"id\":5,\"text\":\"a\"}\n").rows();
    assert_eq!(rows[0]["id"], 5);
    let route = run_with_input(&["route"], "料理\n".as_bytes());
    assert_eq!((route.code, route.rows().len()), (Some(0), 1), "{route:?}");
}

#[test]
fn wrong_usage_shows_the_usage_of_the_command() {
    for (args, words) in [
        (&["encode"][..], "standard input"),
        (&["route"], "standard input"),
        (&["encode", "-", "text"], "stands alone"),
        (&["encode", "text", "--input-format", "jsonl"], "--input-format"),
        (&["encode", "text", "--force"], "--output"),
        (&["serve", "--port", "1", "--listen", "127.0.0.1:2"], "cannot be used with"),
        (&["serve", "--listen", "localhost"], "localhost:8080"),
    ] {
        let run = run(args);
        assert_eq!((run.code, run.out.as_str()), (Some(2), ""), "{args:?}: {run:?}");
        assert!(run.err.contains(words), "{args:?}: {}", run.err);
        if args[0] != "serve" || args[1] == "--port" {
            assert!(run.err.contains(&format!("Usage: embed {} ", args[0])), "{args:?}: {}", run.err);
        }
    }
}

#[test]
fn help_fits_a_terminal() {
    let mut pages = 0;
    let mut commands = vec![Vec::<String>::new()];
    while let Some(command) = commands.pop() {
        let mut args = command.clone();
        args.push("--help".to_owned());
        let help = run(&args);
        assert_eq!(help.code, Some(0), "{args:?}");
        for line in help.out.lines() {
            assert!(line.chars().count() <= 100, "{args:?}: {line}");
        }
        let of = help.out.split("Commands:\n").nth(1).unwrap_or_default();
        let names = of.lines().take_while(|line| line.starts_with(' '));
        for name in names.filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next()) {
            // A line that goes on begins further to the right.
            if name != "help" && of.contains(&format!("\n  {name} ")) || of.starts_with(&format!("  {name} "))
            {
                commands.push([&command[..], &[name.to_owned()]].concat());
            }
        }
        pages += 1;
    }
    assert!(pages > 20, "{pages}");
    let help = run(&["--help"]).out;
    assert!(help.contains("\n  3  the set-up is wrong") && help.contains("\n  4  anything else"), "{help}");
}

#[test]
fn the_version_says_what_it_was_built_from_and_with() {
    let long = run(&["--version"]);
    let mut lines = long.out.lines();
    assert_eq!(lines.next(), Some(concat!("embed ", env!("CARGO_PKG_VERSION"))));
    assert!(lines.next().unwrap().starts_with("revision ") && lines.next().unwrap().starts_with("features "));
    assert_eq!(run(&["-V"]).out, concat!("embed ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn shells_and_manuals_know_every_command() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = run(&["completions", shell]);
        assert_eq!((script.code, script.err.as_str()), (Some(0), ""), "{shell}");
        for word in ["encode", "migrate", "with-text", "ollama-url", "chunk-mean"] {
            // What the values of a flag are isn't told by a parser of ours.
            assert!(word == "chunk-mean" || script.out.contains(word), "{shell}: {word}");
        }
    }
    let folder = TempDir::new().unwrap();
    let pages = folder.path().join("man");
    let written = run(&["man", "--output", path(&pages)]);
    assert_eq!((written.code, written.out.as_str(), written.err.as_str()), (Some(0), "", ""));
    for (page, words) in [
        ("embed.1", "Exit codes"),
        ("embed-encode.1", "with\\-text"),
        ("embed-cache-warm.1", "truncate"),
        ("embed-models-pull.1", "HF_ENDPOINT"),
        ("embed-completions.1", "bash"),
    ] {
        let text = fs::read_to_string(pages.join(page)).unwrap_or_else(|error| panic!("{page}: {error}"));
        assert!(text.contains(".TH") && text.contains(words), "{page}: {text}");
    }
    assert!(!pages.join("embed-man.1").exists());
}

#[test]
fn heads_stand_over_their_columns() {
    let table = run(&["route", "--format", "table", "a text in English", "one more"]);
    assert_eq!(table.code, Some(0), "{table:?}");
    let lines: Vec<_> = table.out.lines().collect();
    let at = |line: &str, word: &str| line.find(word).unwrap_or_else(|| panic!("{word}: {line}"));
    assert_eq!(at(lines[0], "text"), at(lines[1], "a text"), "{}", table.out);
    assert_eq!(at(lines[0], "text"), at(lines[2], "one more"), "{}", table.out);
    assert_eq!(at(lines[0], "service"), at(lines[1], "e5"), "{}", table.out);

    let table = embed().args(["config", "show"]).env("TMWS_REDIS_PREFIX", "例え").output().unwrap();
    let table = String::from_utf8(table.stdout).unwrap();
    let rows: Vec<_> = table.lines().skip(2).take_while(|line| !line.is_empty()).collect();
    let columns = |line: &str, end: &str| {
        let head = &line[..line.rfind(end).unwrap_or_else(|| panic!("{end}: {line}"))];
        unicode_width::UnicodeWidthStr::width(head)
    };
    let expected = columns(rows[0], "default");
    for row in &rows {
        let origin = row.rsplit("  ").next().unwrap();
        assert_eq!(columns(row, origin), expected, "{table}");
    }
}

#[test]
fn a_moment_is_told_as_a_date() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("rollout.json");
    let rollout = |args: &[&str]| run(&[&["rollout", "--file", path(&file)][..], args].concat());
    assert_eq!(rollout(&["start", "--from", "ollama", "--to", "e5"]).code, Some(0));
    let stopped = rollout(&["stop", "--reason", "slow"]).out;
    let date = stopped.split("stopped: slow (").nth(1).unwrap().trim_end().trim_end_matches(')');
    assert!(date.starts_with("20") && date.ends_with('Z') && date.as_bytes()[10] == b'T', "{stopped}");
}

#[test]
fn models_have_the_names_of_the_hub_and_pull_takes_that_of_the_settings() {
    let Some(home) = home() else { return };
    let named = run(&["encode", "--model", "intfloat/Multilingual-E5-Small", "料理"]);
    assert_eq!(named.out, run(&["encode", "料理"]).out, "{named:?}");

    let (_folder, copy) = copy_of(&home);
    let pull = |more: &[(&str, &str)]| {
        let mut command = embed();
        command.args(["models", "pull", "--quiet", "--no-runtime", "--source", "hub"]).stdin(Stdio::null());
        command.env("EMBED_HOME", copy.root()).env("HF_HUB_OFFLINE", "1").envs(more.iter().copied());
        let run: crate::Run = command.output().unwrap().into();
        run
    };
    // It isn't there, and there is no network to fetch it from; the message says which was asked for.
    for model in ["intfloat/multilingual-e5-base", "multilingual-e5-base"] {
        let other = pull(&[("TMWS_E5_MODEL", model)]);
        assert!(other.error().contains("of intfloat/multilingual-e5-base is not"), "{other:?}");
    }
}

#[test]
fn a_server_listens_where_it_is_told_in_words() {
    let runtime = Runtime::new().unwrap();
    let double = runtime.block_on(OllamaDouble::start("0.9.3"));
    for args in [
        &["--listen", "localhost:0"][..],
        &["--listen", ":0"],
        &["--port", "0"],
        &["--host", "localhost", "--port", "0"],
    ] {
        let mut command = embed();
        command.args(["serve", "--service", "ollama", "--ollama-url", &double.url(), "--cache", "off"]);
        let mut child = command
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(line.starts_with("serving http://127.0.0.1:"), "{args:?}: {line}");
    }
}
