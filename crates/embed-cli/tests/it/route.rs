//! Routing as a user meets it: English to (the double of) Ollama, the rest to the real E5.

use std::process::Stdio;

use embed_testkit::ollama::OllamaDouble;
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::{Run, embed, home};

const MINILM: &str = "all-minilm/mean/plain/l2/384";
const E5: &str = "multilingual-e5-small/mean/query-passage/l2/384";

/// What the English model reads.
const ENGLISH: &str = "database query optimization";

struct Ollama {
    _runtime: Runtime,
    double: OllamaDouble,
}

fn ollama() -> Ollama {
    let runtime = Runtime::new().unwrap();
    let double = runtime.block_on(OllamaDouble::start("0.9.3"));
    Ollama { _runtime: runtime, double }
}

fn run(url: &str, args: &[&str]) -> Run {
    let mut command = embed();
    command.env("TMWS_OLLAMA_API_BASE", url).env("TMWS_EMBEDDING_SERVICE", "hybrid");
    // The double has vectors of its own.
    command.env("TMWS_ROUTER_ENGLISH_MODEL", "none");
    command.args(args).stdin(Stdio::null()).output().unwrap().into()
}

fn fields<'a>(rows: &'a [Value], field: &str) -> Vec<&'a str> {
    rows.iter().map(|row| row[field].as_str().unwrap()).collect()
}

#[test]
fn each_text_goes_to_the_model_that_reads_it() {
    let Some(_) = home() else { return };
    let ollama = ollama();
    let texts = ["database query optimization", "富士山の高さ", "the menu of a café", "height of 富士山"];
    let routes = run(&ollama.double.url(), &[&["route"][..], &texts].concat());
    assert_eq!(routes.code, Some(0), "{routes:?}");
    let routes = routes.rows();
    assert_eq!(fields(&routes, "service"), ["ollama", "e5", "e5", "e5"]);
    assert_eq!(fields(&routes, "language")[..2], ["en", "ja"]);
    assert_eq!(routes[1]["rule"], "kana");

    let rows = run(&ollama.double.url(), &[&["encode"][..], &texts].concat());
    assert_eq!((rows.code, rows.err.as_str()), (Some(0), ""));
    let rows = rows.rows();
    assert_eq!(fields(&rows, "space"), [MINILM, E5, E5, E5]);
    assert_eq!(fields(&rows, "space"), fields(&routes, "space"));
    assert_eq!(fields(&rows, "route"), fields(&routes, "service"));

    let table = run(&ollama.double.url(), &["route", "--format", "table", "富士山の高さ"]);
    assert!(table.out.contains("kana") && table.out.contains("e5"), "{}", table.out);
}

/// A partition that is pinned stays on its route, whatever language decides elsewhere.
#[test]
fn a_pinned_partition_stays_on_its_route() {
    let Some(_) = home() else { return };
    let ollama = ollama();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("embed.toml");
    std::fs::write(&file, "[router]\npins = [\"contracts, old=e5\", \"notes=ollama\"]\n").unwrap();
    let encode = |partition: &str, text: &str| {
        let args = ["encode", "--config", file.to_str().unwrap(), "--partition", partition, text];
        let run = run(&ollama.double.url(), &args);
        assert_eq!(run.code, Some(0), "{run:?}");
        run.rows()[0]["route"].as_str().unwrap().to_owned()
    };
    assert_eq!(encode("contracts, old", ENGLISH), "e5");
    assert_eq!(encode("notes", "富士山の高さ"), "ollama");
    assert_eq!((encode("others", ENGLISH), encode("others", "富士山の高さ")), ("ollama".into(), "e5".into()));
}

/// A pin to a route that no service has is found at the start, where one service alone embeds as well.
#[test]
fn a_pin_names_a_route() {
    let Some(_) = home() else { return };
    let run = |pins: &str, args: &[&str]| -> Run {
        let mut command = embed();
        command.env("TMWS_ROUTER_PINS", pins).args(args).stdin(Stdio::null()).output().unwrap().into()
    };
    let other = run("notes=ollama", &["encode", ENGLISH]);
    assert_eq!(other.code, Some(3), "{other:?}");
    assert!(other.error().contains("a pin names a route"), "{other:?}");
    assert_eq!(run("notes=e5,contracts=e5", &["encode", ENGLISH]).code, Some(0));
    for wrong in ["notes=e6", "notes", "=e5", "notes=e5,notes=ollama"] {
        let refused = run(wrong, &["config", "check"]);
        assert_eq!(refused.code, Some(3), "{refused:?}");
        assert!(refused.err.contains("PARTITION=ROUTE where ROUTE is"), "{refused:?}");
    }
}

/// A name that is no route would write a rollout that no server follows.
#[test]
fn a_rollout_is_between_routes_that_exist() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rollout.json");
    for (from, to) in [("a", "e5"), ("ollama", "b"), ("", "e5")] {
        let args = ["rollout", "--file", file.to_str().unwrap(), "start", "--from", from, "--to", to];
        let refused = run("http://127.0.0.1:1", &args);
        assert_eq!(refused.code, Some(3), "{refused:?}");
        assert!(refused.err.contains("ollama, minilm, e5"), "{refused:?}");
        assert!(!file.exists());
    }
}

#[test]
fn a_plan_has_a_vector_for_each_space() {
    let Some(_) = home() else { return };
    let ollama = ollama();
    let plan = |args: &[&str]| {
        let run = run(&ollama.double.url(), &[&["encode"][..], args, &[ENGLISH, "川"]].concat());
        assert_eq!(run.code, Some(0), "{run:?}");
        let rows = run.rows();
        rows.iter()
            .map(|row| (row["index"].as_u64().unwrap(), row["space"].as_str().unwrap().to_owned()))
            .collect::<Vec<_>>()
    };
    let all = [(0, MINILM.to_owned()), (0, E5.to_owned()), (1, E5.to_owned())];
    assert_eq!(plan(&["--plan", "query"]), all);
    assert_eq!(plan(&["--plan", "document"]), all);
    assert_eq!(plan(&["--plan", "document", "--coverage", "route"]), [all[0].clone(), all[2].clone()]);
}

/// Said once, and everything is served by E5.
#[test]
fn without_ollama_e5_takes_everything() {
    let Some(_) = home() else { return };
    let run = run("http://127.0.0.1:1", &["encode", ENGLISH, "富士山", "the depth of a lake"]);
    assert_eq!(run.code, Some(0));
    assert!(run.error().starts_with("e5 takes the texts of ollama for this run"), "{run:?}");
    assert_eq!(fields(&run.rows(), "space"), [E5; 3]);
}

#[test]
fn an_array_is_of_one_space() {
    let Some(_) = home() else { return };
    let ollama = ollama();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("vectors.npy");
    let run = run(
        &ollama.double.url(),
        &["encode", "--format", "npy", "--output", file.to_str().unwrap(), ENGLISH, "富士山"],
    );
    assert_eq!(run.code, Some(3));
    assert!(run.error().contains("several spaces"), "{run:?}");
}

#[test]
fn a_rollout_moves_partitions_and_is_stopped() {
    let Some(_) = home() else { return };
    let ollama = ollama();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rollout.json");
    let file = file.to_str().unwrap();
    let rollout =
        |args: &[&str]| run("http://127.0.0.1:1", &[&["rollout", "--file", file][..], args].concat());
    assert!(rollout(&["status"]).error().contains("embed rollout start"));
    let started = rollout(&["start", "--from", "ollama", "--to", "e5", "--percentage", "10"]);
    assert_eq!(started.out, "10 of 100 partitions move from ollama to e5\n");

    let place = |partition: &str| {
        let said = rollout(&["check", partition]).out;
        let from = said.split("in from ").nth(1).unwrap().split(' ').next().unwrap();
        (said.starts_with("in;"), from.parse::<u8>().unwrap())
    };
    let space_of = |partition: &str| {
        let args = ["encode", "--rollout", file, "--partition", partition, ENGLISH];
        run(&ollama.double.url(), &args).rows()[0]["space"].as_str().unwrap().to_owned()
    };
    let partitions: Vec<String> = (0..40).map(|number| format!("tenant-{number}")).collect();
    let early = partitions.iter().find(|partition| place(partition).0).unwrap();
    let late = partitions.iter().find(|partition| place(partition).1 > 50).unwrap();
    assert_eq!((space_of(early).as_str(), space_of(late).as_str()), (E5, MINILM));

    assert_eq!(rollout(&["set", "100"]).code, Some(0));
    assert_eq!((space_of(early).as_str(), space_of(late).as_str()), (E5, E5));
    assert!(rollout(&["stop", "--reason", "too slow"]).out.contains("stopped: too slow"));
    assert_eq!((space_of(early).as_str(), space_of(late).as_str()), (MINILM, MINILM));
    assert_eq!(rollout(&["status", "--json"]).rows()[0]["stopped"]["reason"], "too slow");
    assert_eq!(rollout(&["set", "101"]).code, Some(3));
}
