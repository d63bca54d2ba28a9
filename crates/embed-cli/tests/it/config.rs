//! Settings: file, variables and flags, and what is shown of them.

mod wrong;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use embed_testkit::ollama::OllamaDouble;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::{Run, embed, path};

/// A machine without settings: no variable of ours, and an empty folder for configuration.
pub(crate) struct Setup {
    pub(crate) folder: TempDir,
}

impl Setup {
    pub(crate) fn new() -> Self {
        Self { folder: TempDir::new().unwrap() }
    }

    /// Writes a file of settings.
    fn file(&self, name: &str, text: &str) -> PathBuf {
        let file = self.folder.path().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, text).unwrap();
        file
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = embed();
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("TMWS_") || name == "OLLAMA_HOST" {
                command.env_remove(name);
            }
        }
        command.env("XDG_CONFIG_HOME", self.folder.path()).args(args).stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, variables: &[(&str, &str)], args: &[&str]) -> Run {
        self.command(args).envs(variables.iter().copied()).output().unwrap().into()
    }

    /// What holds, with these flags, under these variables.
    fn shown(&self, variables: &[(&str, &str)], flags: &[&str]) -> Value {
        let run = self.run(variables, &[&["config", "show", "--format", "json"], flags].concat());
        assert_eq!((run.code, run.err.as_str()), (Some(0), ""), "{run:?}");
        serde_json::from_str(&run.out).unwrap()
    }

    /// What a command says that is not even begun.
    pub(crate) fn refused(&self, variables: &[(&str, &str)], args: &[&str]) -> String {
        let run = self.run(variables, args);
        assert_eq!((run.code, run.out.as_str()), (Some(3), ""), "{run:?}");
        run.error().to_owned()
    }
}

const SHOW: [&str; 2] = ["config", "show"];

#[test]
fn flags_win_over_variables_over_the_file_over_defaults() {
    // Key, default, then a value for each layer as it is written and as it is shown.
    let matrix = [
        (
            "service",
            json!("e5"),
            ["\"ollama\"", "E5", "Ollama"],
            [json!("ollama"), json!("e5"), json!("ollama")],
        ),
        (
            "e5.precision",
            json!("int8"),
            ["\"f32\"", "int8", "f32"],
            [json!("f32"), json!("int8"), json!("f32")],
        ),
        ("e5.threads", Value::Null, ["2", "3", "4"], [json!(2), json!(3), json!(4)]),
        (
            "ollama.url",
            json!(["http://127.0.0.1:11434"]),
            ["[\"http://a\", \"b/api\"]", "http://c:1/api", "d,e"],
            [
                json!(["http://a", "http://b:11434"]),
                json!(["http://c:1"]),
                json!(["http://d:11434", "http://e:11434"]),
            ],
        ),
        (
            "ollama.pool_size",
            json!(10),
            ["5", "production", "high_traffic"],
            [json!(5), json!(20), json!(50)],
        ),
        (
            "router.rollout",
            Value::Null,
            ["\"a.json\"", "b.json", "c.json"],
            [json!("a.json"), json!("b.json"), json!("c.json")],
        ),
        (
            "cache.place",
            json!("auto"),
            ["\"memory\"", "off", "auto"],
            [json!("memory"), json!("off"), json!("auto")],
        ),
        (
            "cache.redis_url",
            Value::Null,
            ["\"redis://a\"", "redis://b", "redis://:hush@c"],
            [json!("redis://a"), json!("redis://b"), json!("redis://:***@c")],
        ),
    ];
    let names = [
        ("service", "TMWS_EMBEDDING_SERVICE", "--service"),
        ("e5.precision", "TMWS_E5_PRECISION", "--precision"),
        ("e5.threads", "TMWS_E5_THREADS", "--threads"),
        ("ollama.url", "TMWS_OLLAMA_API_BASE", "--ollama-url"),
        ("ollama.pool_size", "TMWS_OLLAMA_POOL_SIZE", "--ollama-pool"),
        ("router.rollout", "TMWS_ROUTER_ROLLOUT", "--rollout"),
        ("cache.place", "TMWS_CACHE", "--cache"),
        ("cache.redis_url", "TMWS_REDIS_URL", "--redis-url"),
    ];
    for ((key, default, given, seen), (_, variable, flag)) in matrix.into_iter().zip(names) {
        let row = |value: &Value, origin: &str, at: Option<&str>| match at {
            Some(at) => json!({ "value": value, "origin": origin, "at": at }),
            None => json!({ "value": value, "origin": origin }),
        };
        let setup = Setup::new();
        assert_eq!(setup.shown(&[], &[])["settings"][key], row(&default, "default", None));
        let file = setup.file("embed/embed.toml", &format!("\n{key} = {}\n", given[0]));
        let line = format!("{}:2", path(&file));
        assert_eq!(setup.shown(&[], &[])["settings"][key], row(&seen[0], "file", Some(&line)));
        let variables = [(variable, given[1])];
        assert_eq!(setup.shown(&variables, &[])["settings"][key], row(&seen[1], "variable", Some(variable)));
        let flags = [flag, given[2]];
        assert_eq!(setup.shown(&variables, &flags)["settings"][key], row(&seen[2], "flag", Some(flag)));
        assert_eq!(setup.shown(&[], &flags)["settings"][key], row(&seen[2], "flag", Some(flag)));
    }
}

/// What is shown is what a command does: the server that answers is the one that wins.
#[test]
fn a_command_takes_what_config_show_shows() {
    let runtime = Runtime::new().unwrap();
    let double = runtime.block_on(OllamaDouble::start("0.9.3"));
    let (good, bad, list) = (double.url(), "http://127.0.0.1:1", ["ollama", "list"]);
    let setup = Setup::new();
    let in_file = |url: &str| setup.file("embed/embed.toml", &format!("[ollama]\nurl = \"{url}\"\n"));
    let code =
        |variables: &[(&str, &str)], flags: &[&str]| setup.run(variables, &[&list, flags].concat()).code;

    assert_eq!(code(&[("OLLAMA_HOST", &good)], &[]), Some(0));
    in_file(&good);
    assert_eq!(code(&[("OLLAMA_HOST", bad)], &[]), Some(0));
    in_file(bad);
    assert_eq!(code(&[], &[]), Some(4));
    assert_eq!(code(&[("TMWS_OLLAMA_API_BASE", &good)], &[]), Some(0));
    assert_eq!(code(&[("TMWS_OLLAMA_API_BASE", bad)], &["--ollama-url", &good]), Some(0));

    // The service, its model and the cache out of the file alone.
    let text = format!(
        "service = \"ollama\"\n[ollama]\nurl = \"{good}\"\nmodel = \"all-minilm:latest\"\n[cache]\nplace = \"memory\"\n"
    );
    setup.file("embed/embed.toml", &text);
    let run = setup.run(&[], &["encode", "a river", "a river"]);
    assert_eq!(run.code, Some(0), "{run:?}");
    assert_eq!(run.rows()[0]["service"], "ollama");
    let run = setup.run(&[("TMWS_OLLAMA_MODEL", "nobody")], &["encode", "a river"]);
    assert!(run.error().contains("ollama pull nobody"), "{run:?}");
    let run = setup.run(&[("TMWS_OLLAMA_MODEL", "nobody")], &["encode", "--model", "all-minilm", "a river"]);
    assert_eq!(run.code, Some(0), "{run:?}");
}

#[test]
fn the_model_flag_is_that_of_the_service() {
    let setup = Setup::new();
    let models = |settings: Value| {
        ["e5.model", "ollama.model"]
            .map(|key| settings["settings"][key]["value"].as_str().unwrap().to_owned())
    };
    let flags = ["--model", "multilingual-e5-base"];
    assert_eq!(models(setup.shown(&[], &flags)), ["multilingual-e5-base", "all-minilm"]);
    let ollama = [("TMWS_EMBEDDING_SERVICE", "ollama")];
    let flags = ["--model", "nomic-embed-text"];
    assert_eq!(models(setup.shown(&ollama, &flags)), ["multilingual-e5-small", "nomic-embed-text"]);
    // A positional of the same name is no flag.
    let run = setup.run(&[], &["models", "verify", "multilingual-e5-large"]);
    assert!(!run.err.contains("--model"), "{run:?}");
}

#[test]
fn which_file_is_read() {
    let setup = Setup::new();
    let [usual, by_variable, by_flag] = [("embed/embed.toml", 1), ("variable.toml", 2), ("flag.toml", 3)]
        .map(|(name, threads)| setup.file(name, &format!("[e5]\nthreads = {threads}\n")));
    let variable = [("TMWS_CONFIG", path(&by_variable))];
    for (variables, flags, file, threads, head) in [
        (&[][..], vec![], &usual, 1, String::new()),
        (&variable, vec![], &by_variable, 2, " (TMWS_CONFIG)".to_owned()),
        (&variable, vec!["--config", path(&by_flag)], &by_flag, 3, " (--config)".to_owned()),
    ] {
        let shown = setup.shown(variables, &flags);
        assert_eq!(shown["file"], path(file));
        assert_eq!(shown["settings"]["e5.threads"]["value"], threads);
        let table = setup.run(variables, &[&SHOW, flags.as_slice()].concat());
        let first = table.out.lines().next().unwrap();
        assert_eq!(first, format!("file {}{head}", path(file)));
    }
    fs::remove_file(usual).unwrap();
    assert_eq!(setup.shown(&[], &[])["file"], Value::Null);
    assert!(setup.run(&[], &SHOW).out.starts_with("no file ("));
}

#[test]
fn secrets_are_hidden_wherever_settings_are_shown() {
    let setup = Setup::new();
    let text = "[ollama]\ntoken = \"hush-token\"\n[cache]\nredis_url = \"redis://me:hush-redis@h/1\"\n";
    let file = setup.file("embed/embed.toml", text);
    for format in ["table", "toml", "json"] {
        let run = setup.run(&[], &["config", "show", "--format", format]);
        assert_eq!(run.code, Some(0), "{run:?}");
        assert!(!run.out.contains("hush"), "{}", run.out);
        assert!(run.out.contains("\"***\"") && run.out.contains("redis://me:***@h/1"), "{}", run.out);
    }
    // A file that is broken, wrong or old, and a command that fails.
    for broken in [
        text.replace("@h/1\"", "@h/1"),
        text.replace("token = \"", "token = \"\\x"),
        text.replace("redis_url = ", "redis_url = {"),
        text.replace("redis_url", "redis_uri").replace("token", "tokne"),
        text.replace("me:hush-redis@", "hush@"),
        text.replace("hush-token", "hush\u{301} token"),
        text.replace("token = ", "token = token = "),
        format!("{text}[cache]\n"),
    ] {
        fs::write(&file, &broken).unwrap();
        for args in [&SHOW[..], &["config", "check"], &["config", "check", path(&file)]] {
            let run = setup.run(&[], args);
            assert_eq!(run.code, Some(3), "{run:?}");
            assert!(run.err.contains(path(&file)), "{run:?}");
            assert!(!run.err.contains("hush") && run.out.is_empty(), "{run:?}");
        }
    }
    fs::write(&file, text.replace("@h/1", "@127.0.0.1:1/1")).unwrap();
    let run = setup.run(&[], &["cache", "stats"]);
    assert_eq!(run.code, Some(4), "{run:?}");
    assert!(!run.err.contains("hush"), "{run:?}");
}

#[test]
fn an_empty_variable_counts_as_not_set() {
    let setup = Setup::new();
    setup.file("embed/embed.toml", "e5.threads = 3\n");
    let variables = [
        ("TMWS_E5_THREADS", ""),
        ("TMWS_CONFIG", " "),
        ("TMWS_REDIS_URL", "\t"),
        ("TMWS_OLLAMA_CACHE_ENABLED", ""),
        ("OLLAMA_HOST", ""),
        ("TMWS_E5_PRECISION", " f32 "),
    ];
    let shown = setup.shown(&variables, &[]);
    assert_eq!(shown["settings"]["e5.threads"]["value"], 3);
    assert_eq!(shown["settings"]["cache.redis_url"]["origin"], "default");
    assert_eq!(shown["settings"]["ollama.url"]["origin"], "default");
    assert_eq!(shown["settings"]["e5.precision"]["value"], "f32");
}

#[test]
fn the_older_switch_of_the_cache_is_a_variable_that_tmws_cache_wins_over() {
    let setup = Setup::new();
    let place = |variables: &[(&str, &str)], flags: &[&str]| {
        setup.shown(variables, flags)["settings"]["cache.place"]["value"].as_str().unwrap().to_owned()
    };
    let (on, off) = (("TMWS_OLLAMA_CACHE_ENABLED", "true"), ("TMWS_OLLAMA_CACHE_ENABLED", "0"));
    assert_eq!(place(&[on], &[]), "auto");
    assert_eq!(place(&[off], &[]), "off");
    assert_eq!(place(&[off, ("TMWS_CACHE", "memory")], &[]), "memory");
    assert_eq!(place(&[off], &["--cache", "memory"]), "memory");
    setup.file("embed/embed.toml", "cache.place = \"memory\"\n");
    assert_eq!(place(&[off], &[]), "off");
    assert_eq!(place(&[on], &[]), "memory");
    setup.file("embed/embed.toml", "cache.place = \"off\"\n");
    assert_eq!(place(&[on], &[]), "auto");
}

#[test]
fn the_example_and_what_is_shown_as_toml_are_files_of_settings() {
    let setup = Setup::new();
    let example = setup.run(&[], &["config", "example"]);
    assert_eq!((example.code, example.err.as_str()), (Some(0), ""));
    let file = setup.file("mine.toml", &example.out);
    let with_file = ["--config", path(&file)];
    // As it stands it changes nothing.
    let defaults = setup.shown(&[], &[]);
    assert_eq!(setup.shown(&[], &with_file)["settings"], defaults["settings"]);
    // With everything taken in, the defaults are said and the rest has its example.
    let lines = example.out.lines();
    let lines =
        lines.map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line));
    // Traces are in builds with their feature alone, which the others say.
    let traces = |key: &str| key.starts_with("log.otlp") && !cfg!(feature = "otlp");
    let lines = lines.filter(|line| cfg!(feature = "otlp") || !line.starts_with("otlp_endpoint"));
    fs::write(&file, lines.collect::<Vec<_>>().join("\n")).unwrap();
    let all = setup.shown(&[], &with_file);
    for (key, row) in all["settings"].as_object().unwrap().iter().filter(|(key, _)| !traces(key)) {
        assert_eq!(row["origin"], "file", "{key}");
        let default = &defaults["settings"][key]["value"];
        assert!(default.is_null() || default == &row["value"], "{key}");
    }
    // What is shown as TOML says the same, apart from secrets.
    let variables =
        [("TMWS_OLLAMA_API_BASE", "a,b"), ("TMWS_CACHE_TTL", "0.5"), ("TMWS_OLLAMA_MODEL", "m \"q\" \\ #")];
    let shown = setup.run(&variables, &["config", "show", "--format", "toml"]);
    fs::write(&file, &shown.out).unwrap();
    for (key, row) in setup.shown(&[], &with_file)["settings"].as_object().unwrap() {
        assert_eq!(row["value"], setup.shown(&variables, &[])["settings"][key]["value"], "{key}");
    }
}

/// Lists of a file are lists: an element may have a comma, and is one. In a variable there is no other way to write
/// several.
#[test]
fn a_list_of_a_file_is_a_list() {
    let setup = Setup::new();
    let keys = |shown: &Value| shown["settings"]["gateway.api_keys"]["value"].as_array().map(Vec::len);
    for (text, count) in [
        (r#"["correct,horse-battery"]"#, 1),
        (r#"["a", "b,c"]"#, 2),
        (r#""correct,horse-battery""#, 1),
        (r#""a""#, 1),
    ] {
        setup.file("embed/embed.toml", &format!("\u{feff}[gateway]\napi_keys = {text}\n"));
        assert_eq!(keys(&setup.shown(&[], &[])), Some(count), "{text}");
    }
    assert_eq!(keys(&setup.shown(&[("TMWS_GATEWAY_API_KEYS", "a, b")], &[])), Some(2));
    for bad in ["[]", "[\"\"]", "[\"a\", \"\"]", "[1]"] {
        setup.file("embed/embed.toml", &format!("[gateway]\napi_keys = {bad}\n"));
        assert!(setup.refused(&[], &["config", "show"]).contains("gateway.api_keys"), "{bad}");
    }
    setup.file("embed/embed.toml", "[ollama]\nurl = [\"http://127.0.0.1:1,http://127.0.0.1:2\"]\n");
    assert!(setup.refused(&[], &["config", "show"]).contains("ollama.url"));
}
