//! The cache as a user meets it, against a real Redis.

use std::io::Write;
use std::process::Stdio;

use embed_testkit::redis::{RedisOptions, RedisServer};
use tokio::runtime::Runtime;

use crate::{Run, embed, home};

const PASSWORD: &str = "hunter2";

fn redis() -> Option<(Runtime, RedisServer)> {
    let runtime = Runtime::new().unwrap();
    let options = RedisOptions::default().with("requirepass", PASSWORD);
    let server = runtime.block_on(RedisServer::require(options))?;
    Some((runtime, server))
}

fn run(url: &str, args: &[&str]) -> Run {
    let mut command = embed();
    // A busy machine is no reason to go without Redis here.
    command.env("TMWS_REDIS_URL", url).env("TMWS_CACHE_READ_BUDGET", "5").args(args);
    command.stdin(Stdio::null()).output().unwrap().into()
}

fn secret_url(server: &RedisServer) -> String {
    format!("redis://:{PASSWORD}@127.0.0.1:{}", server.port())
}

/// No command says the password, whatever it says else.
fn no_secret(run: &Run) {
    assert!(!run.out.contains(PASSWORD) && !run.err.contains(PASSWORD), "{run:?}");
}

#[test]
fn a_second_process_finds_what_the_first_one_computed() {
    let (Some(_), Some((_runtime, server))) = (home(), redis()) else { return };
    let url = secret_url(&server);
    let first = run(&url, &["encode", "a river", "富士山", "a river", ""]);
    let second = run(&url, &["encode", "a river", "富士山", "a river", ""]);
    assert_eq!((first.code, second.code), (Some(1), Some(1)));
    assert_eq!(first.out, second.out, "a row of the cache is the same, to the letter");
    let table = run(&url, &["encode", "--format", "table", "a river", "a lake"]);
    assert!(table.out.contains("2 texts, 1 from the cache"), "{}", table.out);

    let stats = run(&url, &["cache", "stats", "--json"]);
    let found = &stats.rows()[0];
    let variants = found["variants"].as_object().unwrap();
    let (variant, count) = variants.iter().next().unwrap();
    assert_eq!((variants.len(), count), (1, &3.into()));
    assert!(variant.starts_with("multilingual-e5-small/mean/query-passage/l2/384;"));

    let other = run(&url, &["cache", "clear", "--variant", "all-minilm"]);
    assert_eq!(other.code, Some(3));
    let asked = run(&url, &["cache", "clear", "--all", "--dry-run"]);
    assert!(asked.out.starts_with("3 vectors would be taken out of redis://:***@"), "{asked:?}");
    let cleared = run(&url, &["cache", "clear", "--variant", variant]);
    assert!(cleared.out.starts_with("3 vectors taken out of redis://:***@"), "{cleared:?}");
    assert!(run(&url, &["cache", "stats"]).out.contains("0 keys"));
    for run in [first, second, table, stats, other, asked, cleared] {
        no_secret(&run);
    }
}

/// The rows before an input that ends in an error are there for the next run.
#[test]
fn an_error_at_the_end_loses_nothing_that_was_computed() {
    let (Some(_), Some((_runtime, server))) = (home(), redis()) else { return };
    let url = secret_url(&server);
    let mut input: Vec<u8> = (0..40).flat_map(|line| format!("text {line}\n").into_bytes()).collect();
    input.extend(b"caf\xe9\nna\xefve\n");
    let mut command = embed();
    command
        .env("TMWS_REDIS_URL", &url)
        .env("TMWS_CACHE_READ_BUDGET", "5")
        .arg("encode")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&input).unwrap();
    let failed: Run = child.wait_with_output().unwrap().into();
    assert_eq!((failed.code, failed.rows().len()), (Some(3), 41), "{failed:?}");
    let stats = run(&url, &["cache", "stats", "--json"]);
    let kept: u64 =
        stats.rows()[0]["variants"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
    assert_eq!(kept, 40);
}

#[test]
fn warming_fills_redis_and_says_what_it_did() {
    let (Some(_), Some((_runtime, server))) = (home(), redis()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let texts = folder.path().join("texts.jsonl");
    std::fs::write(
        &texts,
        "{\"text\":\"a river\"}\n{\"text\":\"\"}\n{\"text\":\"a lake\"}\n{\"text\":\"a river\"}\n",
    )
    .unwrap();
    let input = texts.to_str().unwrap();
    let first = run(&secret_url(&server), &["cache", "warm", "--input", input]);
    assert_eq!(first.code, Some(1));
    assert!(
        first.out.starts_with("4 texts, 1 failed: 0 vectors were in redis://:***@")
            && first.out.ends_with("2 were stored, 0 were not\n"),
        "{first:?}"
    );
    let again = run(&secret_url(&server), &["cache", "warm", "--input", input, "--quiet"]);
    assert!(
        again.out.contains("2 vectors were in") && again.out.ends_with("0 were stored, 0 were not\n"),
        "{again:?}"
    );
}

/// A Redis that doesn't answer, or doesn't know the caller, is said once and is no failure of `encode`; for the
/// commands about it, and for `doctor`, it is.
#[test]
fn a_redis_that_is_not_there_is_gone_on_without() {
    let (Some(_), Some((_runtime, server))) = (home(), redis()) else { return };
    let wrong = format!("redis://:{PASSWORD}wrong@127.0.0.1:{}", server.port());
    for (url, says) in
        [(wrong.as_str(), "WRONGPASS"), ("redis://:hunter2@127.0.0.1:1", "no connection to Redis")]
    {
        let encoded = run(url, &["encode", "a river"]);
        assert_eq!(encoded.code, Some(0), "{encoded:?}");
        assert!(
            encoded.error().starts_with("going on without Redis") && encoded.err.contains(says),
            "{encoded:?}"
        );
        let stats = run(url, &["cache", "stats"]);
        assert!(matches!(stats.code, Some(3 | 4)) && stats.error().contains(says), "{stats:?}");
        let doctor = run(url, &["doctor"]);
        assert_eq!(doctor.code, Some(1));
        assert!(doctor.out.contains("WRONG   redis"), "{}", doctor.out);
        for run in [encoded, stats, doctor] {
            no_secret(&run);
        }
    }
    let fine = run(&secret_url(&server), &["doctor"]);
    assert!(fine.out.contains("ok      redis        redis://:***@127.0.0.1"), "{}", fine.out);
}

#[test]
fn wrong_settings_name_themselves() {
    for (variable, value, says) in [
        ("TMWS_CACHE", "disk", "TMWS_CACHE"),
        ("TMWS_CACHE_TTL", "soon", "TMWS_CACHE_TTL"),
        ("TMWS_OLLAMA_CACHE_ENABLED", "maybe", "TMWS_OLLAMA_CACHE_ENABLED"),
        ("TMWS_REDIS_URL", "redis://:hunter2@host:port", "the Redis URL"),
        ("TMWS_REDIS_URL", "http://:hunter2@host", "the Redis URL"),
    ] {
        let run: Run = embed().env(variable, value).args(["encode", "a river"]).output().unwrap().into();
        assert_eq!(run.code, Some(3), "{run:?}");
        assert!(run.error().contains(says), "{run:?}");
        no_secret(&run);
    }
    let run: Run = embed()
        .env_remove("TMWS_REDIS_URL")
        .args(["encode", "--cache", "redis", "a river"])
        .output()
        .unwrap()
        .into();
    assert!(run.code == Some(3) && run.error().contains("--redis-url"), "{run:?}");
}
