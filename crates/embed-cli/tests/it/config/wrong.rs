//! Settings that are wrong: names, values, files, and what is said of them.

use std::ffi::OsStr;
use std::fs;

use super::{SHOW, Setup};
use crate::{Run, path};

#[test]
fn a_file_that_is_named_must_be_there_and_be_readable() {
    let setup = Setup::new();
    let gone = setup.folder.path().join("gone.toml");
    // For every command, also before its name, and also for one that has no settings.
    for args in [vec!["config", "show"], vec!["models", "list"], vec!["compare", "a", "b"]] {
        let error = setup.refused(&[("TMWS_CONFIG", path(&gone))], &args);
        assert!(error.contains(path(&gone)) && error.contains("TMWS_CONFIG"), "{error}");
        let error = setup.refused(&[], &[&["--config", path(&gone)], args.as_slice()].concat());
        assert!(error.contains(path(&gone)) && error.contains("--config"), "{error}");
    }
    let error = setup.refused(&[("TMWS_CONFIG", path(setup.folder.path()))], &SHOW);
    assert!(error.contains("can't be read"), "{error}");
    fs::write(&gone, b"service = \"e5\xff\"").unwrap();
    let error = setup.refused(&[("TMWS_CONFIG", path(&gone))], &SHOW);
    assert!(error.contains(path(&gone)) && error.contains("UTF-8"), "{error}");
    // What names the wrong one doesn't matter to what needs none.
    assert_eq!(setup.run(&[("TMWS_CONFIG", "nowhere")], &["config", "example"]).code, Some(0));
}

#[test]
fn an_unknown_name_is_an_error_that_names_the_nearest() {
    let setup = Setup::new();
    for (text, line, key, nearest) in [
        ("servce = \"e5\"", 1, "servce", Some("service")),
        ("[ollama]\n# a comment\nurls = [\"h\"]", 3, "ollama.urls", Some("ollama.url")),
        ("[olama]\nmodel = \"m\"", 2, "olama.model", Some("ollama.model")),
        ("\ncache.redis_ulr = \"redis://h\"", 2, "cache.redis_ulr", Some("cache.redis_url")),
        ("[kubernetes]\nreplicas = 3", 2, "kubernetes.replicas", None),
        ("[kubernetes]", 1, "kubernetes", None),
        ("[ollama.model]\nname = \"m\"", 1, "ollama.model", None),
        ("cache = false", 1, "cache", None),
    ] {
        let file = setup.file("embed/embed.toml", text);
        let error = setup.refused(&[], &SHOW);
        assert!(error.starts_with(&format!("{}:{line}: {key}: ", path(&file))), "{error}");
        match nearest {
            Some(nearest) => assert!(error.contains(&format!("did you mean {nearest}?")), "{error}"),
            None => assert!(!error.contains("did you mean"), "{error}"),
        }
    }
    let setup = Setup::new();
    for (name, nearest) in [
        ("TMWS_OLAMA_MODEL", "did you mean TMWS_OLLAMA_MODEL?"),
        ("TMWS_REDIS_URI", "did you mean TMWS_REDIS_URL?"),
        ("TMWS_CONFG", "did you mean TMWS_CONFIG?"),
        ("TMWS_CACHE_OF_SOMETHING_OTHER", "there is no such setting; `embed config"),
    ] {
        let error = setup.refused(&[(name, "hush")], &["models", "list"]);
        assert!(error.starts_with(&format!("{name}: ")) && error.contains(nearest), "{error}");
        assert!(!error.contains("hush"), "{error}");
        assert_eq!(setup.run(&[(name, "")], &SHOW).code, Some(0));
    }
    // Another program's, in the same environment.
    assert_eq!(setup.run(&[("TMWS_DATABASE_URL", "hush")], &SHOW).code, Some(0));
}

#[test]
fn a_bad_value_is_an_error_that_says_where_and_what_is_allowed() {
    for (key, variable, texts, literals, allowed) in [
        (
            "service",
            "TMWS_EMBEDDING_SERVICE",
            vec!["cloud"],
            vec!["\"cloud\"", "1", "true"],
            "one of e5, ollama, hybrid",
        ),
        ("e5.model", "TMWS_E5_MODEL", vec!["bert"], vec!["\"bert\"", "5"], "model"),
        ("e5.precision", "TMWS_E5_PRECISION", vec!["int4"], vec!["\"int4\"", "8"], "one of int8, f32"),
        (
            "e5.threads",
            "TMWS_E5_THREADS",
            vec!["0", "-1", "two", "1.5", "100000"],
            vec!["0", "-1", "1.5", "\"2\"", "[2]"],
            "a whole number from 1 to 1024",
        ),
        ("ollama.model", "TMWS_OLLAMA_MODEL", vec![], vec!["\"\"", "7"], "the name of a model"),
        (
            "ollama.url",
            "TMWS_OLLAMA_API_BASE",
            vec!["ftp://h", "h:99999", "http://h//x", "h,,i://j"],
            vec!["\"ftp://h\"", "11434", "[1]", "[]"],
            "http://127.0.0.1:11434",
        ),
        (
            "ollama.pool_size",
            "TMWS_OLLAMA_POOL_SIZE",
            vec!["0", "huge", "10001"],
            vec!["0", "\"huge\"", "1.0"],
            "a whole number from 1 to 10000, or development, staging, production or high_traffic",
        ),
        (
            "ollama.timeout",
            "TMWS_OLLAMA_TIMEOUT",
            vec!["soon", "0", "-1", "nan", "inf"],
            vec!["\"30\"", "0", "nan", "inf", "1979-05-27"],
            "a number of seconds from 0.001",
        ),
        (
            "cache.place",
            "TMWS_CACHE",
            vec!["ram"],
            vec!["\"ram\"", "false"],
            "one of auto, memory, redis, both, off",
        ),
        ("cache.ttl", "TMWS_CACHE_TTL", vec!["1h"], vec!["\"1h\""], "a number of seconds from 0.01"),
        (
            "cache.memory_bytes",
            "TMWS_CACHE_MEMORY_BYTES",
            vec!["64M"],
            vec!["\"64M\""],
            "a whole number from 1",
        ),
        (
            "cache.read_budget",
            "TMWS_CACHE_READ_BUDGET",
            vec!["0"],
            vec!["0.0"],
            "a number of seconds from 0.001",
        ),
        ("cache.element", "TMWS_CACHE_ELEMENT", vec!["f8"], vec!["\"f8\""], "one of f32, f16"),
        (
            "cache.redis_url",
            "TMWS_REDIS_URL",
            vec!["http://hush@h"],
            vec!["\"http://hush@h\"", "6379"],
            "redis://",
        ),
        ("cache.redis_prefix", "TMWS_REDIS_PREFIX", vec![], vec!["\"\"", "{}"], "a text that isn't empty"),
    ] {
        let setup = Setup::new();
        for text in texts {
            let error = setup.refused(&[(variable, text)], &SHOW);
            assert!(error.starts_with(&format!("{variable}: {key}: ")) && error.contains(allowed), "{error}");
            assert!(!error.contains("hush"), "{error}");
        }
        for literal in literals {
            let file = setup.file("embed/embed.toml", &format!("\n\n{key} = {literal}"));
            let error = setup.refused(&[], &SHOW);
            assert!(error.starts_with(&format!("{}:3: {key}: ", path(&file))), "{error}");
            assert!(error.contains(allowed), "{literal}: {error}");
            assert!(!error.contains("hush"), "{error}");
        }
    }
    let setup = Setup::new();
    let error = setup.refused(&[("TMWS_OLLAMA_CACHE_ENABLED", "maybe")], &SHOW);
    assert_eq!(error, "TMWS_OLLAMA_CACHE_ENABLED: must be true or false");
    let error = setup.refused(&[("OLLAMA_HOST", "ftp://h")], &SHOW);
    assert!(error.starts_with("OLLAMA_HOST: ollama.url: "), "{error}");
    // A value that another one wins over is wrong all the same.
    let error = setup.refused(&[("TMWS_E5_THREADS", "x")], &["config", "show", "--threads", "2"]);
    assert!(error.starts_with("TMWS_E5_THREADS: "), "{error}");
}

/// A bad flag is wrong usage, as every bad flag is; but a secret is never quoted.
#[test]
fn a_bad_flag_is_wrong_usage() {
    let setup = Setup::new();
    for (flag, value, allowed) in [
        ("--service", "cloud", "possible values: e5, ollama, hybrid"),
        ("--precision", "int4", "possible values: int8, f32"),
        ("--threads", "0", "a whole number from 1 to 1024"),
        ("--ollama-pool", "huge", "high_traffic"),
        ("--ollama-url", "h:99999", "no number up to 65535"),
        ("--cache", "ram", "possible values: auto"),
    ] {
        let run = setup.run(&[], &["encode", "text", flag, value]);
        assert_eq!((run.code, run.out.as_str()), (Some(2), ""), "{run:?}");
        assert!(run.err.contains(flag) && run.err.contains(allowed), "{run:?}");
    }
    let error = setup.refused(&[], &["encode", "text", "--redis-url", "redis://me:hush@h/x"]);
    assert!(error.starts_with("--redis-url: cache.redis_url: ") && !error.contains("hush"), "{error}");
    let error = setup.refused(&[], &["encode", "text", "--model", "bert"]);
    assert!(error.starts_with("--model: e5.model: "), "{error}");
    let error = setup.refused(&[], &["encode", "text", "--service", "hybrid", "--model", "all-minilm"]);
    assert!(error.starts_with("--model: ") && error.contains("e5.model or ollama.model"), "{error}");
    let error = setup.refused(&[], &["encode", "text", "--cache", "redis"]);
    assert!(error.starts_with("--cache: ") && error.contains("give --redis-url"), "{error}");
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_no_unicode_is_named() {
    use std::os::unix::ffi::OsStrExt;
    let setup = Setup::new();
    for name in ["TMWS_OLLAMA_MODEL", "TMWS_CONFIG", "TMWS_REDIS_URL", "OLLAMA_HOST"] {
        let mut command = setup.command(&SHOW);
        let run: Run = command.env(name, OsStr::from_bytes(b"hush\xff")).output().unwrap().into();
        assert_eq!(run.code, Some(3), "{run:?}");
        assert!(run.error().starts_with(&format!("{name}: ")) && run.error().contains("Unicode"), "{run:?}");
        assert!(!run.err.contains("hush"), "{run:?}");
    }
    // What isn't ours may be what it likes.
    let mut command = setup.command(&SHOW);
    let run: Run = command.env("OTHER", OsStr::from_bytes(b"\xff")).output().unwrap().into();
    assert_eq!(run.code, Some(0), "{run:?}");
}

#[test]
fn check_says_all_that_is_wrong_and_exits_with_3() {
    let setup = Setup::new();
    let file = setup.file("mine.toml", "servce = 1\n[e5]\nthreads = 0\n[cache]\nplace = \"redis\"\n");
    let run = setup.run(&[("TMWS_E5_MODEL", "bert")], &["config", "check", path(&file)]);
    assert_eq!((run.code, run.out.as_str()), (Some(3), ""));
    let lines: Vec<_> = run.err.lines().collect();
    assert_eq!(lines.len(), 4, "{run:?}");
    assert_eq!(lines[0], "embed: 3 problems");
    for (line, at) in lines[1..].iter().zip([1, 3, 5]) {
        assert!(line.starts_with(&format!("  {}:{at}: ", path(&file))), "{line}");
    }
    // Without a file it is what a command would read, variables with it; a command says the first and the count.
    let variables = [("TMWS_E5_MODEL", "bert"), ("TMWS_CONFIG", path(&file))];
    let run = setup.run(&variables, &["config", "check"]);
    assert_eq!(run.code, Some(3));
    assert!(run.err.starts_with("embed: 4 problems\n") && run.err.contains("TMWS_E5_MODEL: "), "{run:?}");
    let error = setup.refused(&variables, &["compare", "a", "b"]);
    assert!(
        error.contains("servce") && error.ends_with("`embed config check` lists all 4 problems"),
        "{error}"
    );
    // Every line that is no TOML.
    fs::write(&file, "service = \n\n[e5\n").unwrap();
    let run = setup.run(&[], &["config", "check", path(&file)]);
    assert!(run.err.contains(":1: this is no TOML") && run.err.contains(":3: this is no TOML"), "{run:?}");

    fs::write(&file, "e5.threads = 2\n").unwrap();
    let run = setup.run(&[("TMWS_E5_MODEL", "bert")], &["config", "check", path(&file)]);
    assert_eq!((run.code, run.err.as_str()), (Some(0), ""));
    assert!(run.out.contains("nothing is wrong"), "{run:?}");
}

#[test]
fn bytes_that_are_no_settings_are_told_in_words() {
    let setup = Setup::new();
    let file = setup.folder.path().join("noise.toml");
    for noise in ["\u{feff}service = \"e5\"", "", "\r\n# \u{3042}\r\n", "service = \"e5\"\r\n"] {
        fs::write(&file, noise).unwrap();
        assert_eq!(setup.run(&[], &["config", "check", path(&file)]).code, Some(0), "{noise:?}");
    }
    let deep = format!("a = {}", "[".repeat(100_000));
    for noise in [deep.as_str(), "\0", "= = =", "[[service]]", "[e5]\n[e5]", "service = 'e5' 'x'"] {
        fs::write(&file, noise).unwrap();
        let run = setup.run(&[], &["config", "check", path(&file)]);
        assert_eq!(run.code, Some(3), "{run:?}");
        assert!(run.err.contains("noise.toml:"), "{run:?}");
    }
}
