//! The models that a file declares, the routes to them, and the documents that services amount to.

use std::fs;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::config::Setup;
use crate::{Run, embed, home, path};

const E5: &str = "multilingual-e5-small/mean/query-passage/l2/384";
const MINILM: &str = "all-minilm/mean/plain/l2/384";

/// Two models in this process, of which one reads English.
const TWO: &str = r#"
[[model]]
name = "english"
model = "all-minilm-l6-v2"

[[model]]
name = "everything"
model = "multilingual-e5-small"

[routes]
en = "english"
"*" = "everything"
"#;

/// Ten ways to set up a service, as people have them today, and the document of each.
#[test]
fn services_amount_to_documents() {
    let hybrid = ("TMWS_EMBEDDING_SERVICE", "hybrid");
    let server = ("TMWS_OLLAMA_API_BASE", "http://gpu:11434/api");
    let setups: [(&str, &[(&str, &str)]); 11] = [
        ("", &[]),
        ("[e5]\nmodel = \"multilingual-e5-base\"\nprecision = \"f32\"", &[]),
        ("", &[("TMWS_EMBEDDING_SERVICE", "ollama")]),
        (
            "service = \"ollama\"\n[ollama]\nurl = [\"http://a\", \"http://b\"]\nmodel = \"nomic-embed-text\"",
            &[],
        ),
        ("", &[("TMWS_EMBEDDING_SERVICE", "ollama"), ("OLLAMA_HOST", "10.0.0.7")]),
        ("", &[hybrid]),
        ("", &[hybrid, server]),
        ("", &[hybrid, server, ("TMWS_ROUTER_ENGLISH_MODEL", "none")]),
        ("[router]\nenglish_model = \"all-minilm-l12-v2\"\n[e5]\nprecision = \"mixed\"", &[hybrid]),
        ("service = \"e5\"\n[router]\npins = [\"notes=ollama\"]", &[hybrid]),
        (TWO, &[("TMWS_EMBEDDING_SERVICE", "e5")]),
    ];
    let mut page = Vec::new();
    for (file, variables) in setups {
        let setup = Setup::new();
        fs::create_dir(setup.folder.path().join("embed")).unwrap();
        fs::write(setup.folder.path().join("embed/embed.toml"), file).unwrap();
        let nowhere = setup.folder.path().join("data");
        let variables: Vec<_> =
            variables.iter().copied().chain([("EMBED_HOME", nowhere.to_str().unwrap())]).collect();
        let run = setup.run(&variables, &["config", "show", "--format", "json"]);
        assert_eq!((run.code, &*run.err), (Some(0), ""), "{run:?}");
        let shown: Value = serde_json::from_str(&run.out).unwrap();
        let variables: Vec<_> =
            variables[..variables.len() - 1].iter().map(|(name, value)| format!("{name}={value}")).collect();
        page.push(json!({ "file": file, "variables": variables, "document": shown["document"] }));
    }
    let file = format!("{}/tests/golden/documents.json", env!("CARGO_MANIFEST_DIR"));
    embed_testkit::golden(
        file,
        "-p embed-cli --test it services_amount",
        &format!("{:#}\n", Value::from(page)),
    );
}

/// What `config show` writes is a file that means the same.
#[test]
fn a_document_that_is_shown_can_be_read() {
    let setup = Setup::new();
    let file = setup.folder.path().join("a.toml");
    let text = r#"
[[model]]
name = "small"
model = "multilingual-e5-small"
precision = "f32"
keep_alive = 60

[[model]]
name = "mine"
model = "someone/a-model"
revision = "0123456789012345678901234567890123456789"
pooling = "cls"
normalise = false
query_prompt = "query: "
max_tokens = 128
languages = ["en", "de"]

[[model]]
name = "cloud"
backend = "openai"
model = "text-embedding-3-small"
url = "https://api.openai.com/v1"
key_file = "/run/secrets/openai"
dimension = 1536
dimensions = 256
normalise = false
query_prompt = "search: "
pool_size = 3
timeout = 2.5
max_batch_rows = 7

[[model]]
name = "box"
backend = "ollama"
model = "all-minilm"
url = ["http://a:11434", "http://b:11434"]

[[model]]
name = "box-here"
model = "all-minilm-l6-v2"

[routes]
en = "box"
ja = "small"
de = "mine"
mixed = "small"
"*" = "cloud"
"#;
    fs::write(&file, text.replacen("url = [\"http://a", "fallback = \"box-here\"\nurl = [\"http://a", 1))
        .unwrap();
    let shown = |file: &str, format: &str| {
        let run = setup.run(&[], &["--config", file, "config", "show", "--format", format]);
        assert_eq!((run.code, &*run.err), (Some(0), ""), "{run:?}");
        run.out
    };
    let document =
        |file: &str| serde_json::from_str::<Value>(&shown(file, "json")).unwrap()["document"].take();
    let first = document(path(&file));
    assert_eq!(first["model"].as_array().unwrap().len(), 5);
    assert_eq!(first["model"][3]["languages"], json!(["en"]), "all-minilm reads English alone");
    let cloud = &first["model"][2];
    let said =
        ["normalise", "query_prompt", "pool_size", "timeout", "max_batch_rows"].map(|key| cloud[key].clone());
    assert_eq!(said, [json!(false), json!("search: "), json!(3), json!(2.5), json!(7)]);
    let again = setup.folder.path().join("b.toml");
    fs::write(&again, shown(path(&file), "toml")).unwrap();
    assert_eq!(document(path(&again)), first);
    // Of a service, it is a comment, since a file has one or the other.
    let toml = setup.run(&[], &["config", "show", "--format", "toml"]).out;
    assert!(toml.contains("# [[model]]\n# name = \"e5\"\n"), "{toml}");
    fs::write(&again, toml).unwrap();
    assert_eq!(document(path(&again))["routes"], json!({ "*": "e5" }));
}

#[test]
fn what_is_wrong_says_where_and_what_to_do() {
    let setup = Setup::new();
    let file = setup.folder.path().join("wrong.toml");
    for (text, line, said) in [
        ("[[model]]\nmodel = \"e5-base-v2\"\n[routes]\n", 1, "missing field `name`"),
        ("[[model]]\nname = \"a\"\nprecison = \"f32\"\n", 3, "unknown field `precison`"),
        ("[[model]]\nname = \"a\"\n", 1, "a isn't built in; name a repository"),
        ("[[model]]\nname = \"e5-base-v2\"\nprecision = \"f16\"\n", 1, "precision: "),
        ("[[model]]\nname = \"e5-base-v2\"\npooling = \"cls\"\n", 1, "is built in"),
        ("[[model]]\nname = \"e5-base-v2\"\npooling = \"last\"\n", 3, "unknown variant `last`"),
        ("[[model]]\nname = \"auto\"\nmodel = \"e5-base-v2\"\n", 1, "give the model another name"),
        ("[[model]]\nname = \"a\"\nbackend = \"openai\"\n", 1, "missing field `url`"),
        ("[[model]]\nname = \"a\"\nbackend = \"tei\"\nurl = \"http://a\"\n", 3, "unknown variant `tei`"),
        (
            "[[model]]\nname = \"a\"\nbackend = \"openai\"\nurl = \"http://a\"\nkey_variable = \"NO_SUCH_KEY\"\n",
            1,
            "NO_SUCH_KEY isn't set",
        ),
        (
            "[[model]]\nname = \"e5-base-v2\"\n[[model]]\nname = \"e5-base-v2\"\n[routes]\n\"*\" = \"e5-base-v2\"\n",
            1,
            "two models are called e5-base-v2",
        ),
        ("[[model]]\nname = \"e5-base-v2\"\nfallback = \"b\"\n", 1, "b is none"),
        ("[[model]]\nname = \"e5-base-v2\"\nlanguages = [\"English\"]\n", 1, "as ISO 639 writes it"),
        (
            "[[model]]\nname = \"e5-base-v2\"\n[routes]\nen = \"e5\"\n\"*\" = \"e5-base-v2\"\n",
            4,
            "no [[model]] called e5",
        ),
        ("[[model]]\nname = \"e5-base-v2\"\n[routes]\nen = \"e5-base-v2\"\n", 1, "\"*\" = \"NAME\""),
        (
            "[[model]]\nname = \"e5-base-v2\"\n[routes]\nEnglish = \"e5-base-v2\"\n\"*\" = \"e5-base-v2\"\n",
            4,
            "ISO 639",
        ),
        ("[routes]\n\"*\" = \"e5\"\n", 2, "no [[model]] called e5"),
        ("service = \"e5\"\n[[model]]\nname = \"e5-base-v2\"\n", 1, "remove one of them"),
        ("[[model]]\nname = \"e5-base-v2\"\n[e5]\nmodel = \"e5-base-v2\"\n", 4, "remove one of them"),
        ("[model]\nname = \"e5-base-v2\"\n", 1, "each written [[model]]"),
    ] {
        fs::write(&file, text).unwrap();
        let run = setup.run(&[], &["config", "check", path(&file)]);
        assert_eq!(run.code, Some(3), "{text}: {run:?}");
        let place = format!("wrong.toml:{line}: ");
        let found = run.err.lines().find(|line| line.contains(said));
        assert!(found.is_some_and(|found| found.contains(&place)), "{text}: {run:?}");
    }
}

#[test]
fn a_model_of_the_file_is_named_by_a_flag() {
    let setup = Setup::new();
    let file = setup.folder.path().join("two.toml");
    fs::write(&file, TWO).unwrap();
    let show = ["--config", path(&file), "config", "show", "--format", "json"];
    let shown = |more: &[&str]| -> Value {
        let run = setup.run(&[], &[&show, more].concat());
        serde_json::from_str::<Value>(&run.out).unwrap()["document"].take()
    };
    assert_eq!(shown(&["--model", "english"])["routes"], json!({ "*": "english" }));
    assert_eq!(shown(&["--service", "e5"])["routes"], json!({ "*": "e5" }), "a service wins over the file");
    let other = setup.run(&[], &[&show[..], &["--model", "french"]].concat());
    assert_eq!(other.code, Some(3), "{other:?}");
    assert!(other.err.contains("it has english, everything"), "{other:?}");
}

fn run(folder: &TempDir, document: &str, args: &[&str]) -> Run {
    let file = folder.path().join("embed.toml");
    fs::write(&file, document).unwrap();
    embed().args(["--config", path(&file)]).args(args).env("TMWS_CACHE", "off").output().unwrap().into()
}

/// A migration ends in one space, that of the model which the flag names, whatever stands in for it.
#[test]
fn a_migration_goes_to_one_model_of_the_file() {
    let Some(_) = home() else { return };
    let folder = TempDir::new().unwrap();
    let (rows, new) = (folder.path().join("rows.jsonl"), folder.path().join("new.jsonl"));
    fs::write(&rows, "{\"text\": \"how deep is the lake\", \"space\": \"old\"}\n").unwrap();
    let document = TWO.replace(
        "[[model]]\nname = \"everything\"",
        "fallback = \"spare\"\n[[model]]\nname = \"spare\"\n\
        model = \"all-minilm-l6-v2\"\n[[model]]\nname = \"everything\"",
    );
    let migrate = ["migrate", "--from-space", "old", "--input", path(&rows), "--output", path(&new)];
    let several = run(&folder, &document, &migrate);
    assert_eq!(several.code, Some(3), "{several:?}");
    assert!(several.error().contains("choose one by --model: english, spare, everything"), "{several:?}");
    let one = run(&folder, &document, &[&migrate[..], &["--model", "english"]].concat());
    assert_eq!(one.code, Some(0), "{one:?}");
    let row: Value = serde_json::from_str(fs::read_to_string(&new).unwrap().trim()).unwrap();
    assert_eq!(row["space"], MINILM);
}

#[test]
fn each_text_goes_to_the_model_of_its_language() {
    let Some(_) = home() else { return };
    let folder = TempDir::new().unwrap();
    let texts = ["how deep is the lake", "富士山の高さ", "la hauteur du mont Fuji et de ses voisins"];
    let spaces = |document: &str, more: &[&str]| -> Vec<Value> {
        let run = run(&folder, document, &[&["encode"], more, &texts].concat());
        assert_eq!(run.code, Some(0), "{run:?}");
        run.rows().into_iter().map(|mut row| row["space"].take()).collect()
    };
    assert_eq!(spaces(TWO, &[]), [MINILM, E5, E5]);
    assert_eq!(spaces(&TWO.replace("[routes]", "[routes]\nfr = \"english\""), &[]), [MINILM, E5, MINILM]);
    let pinned = format!("{TWO}[router]\npins = [\"notes=english\"]\n");
    assert_eq!(spaces(&pinned, &[]), [MINILM, E5, E5]);
    assert_eq!(spaces(&pinned, &["--model", "everything"]), [E5, E5, E5]);
    assert_eq!(spaces("[[model]]\nname = \"multilingual-e5-small\"\n", &[]), [E5, E5, E5]);

    let routed = run(&folder, TWO, &["route", texts[0], texts[1]]);
    let services: Vec<_> = routed.rows().into_iter().map(|mut row| row["service"].take()).collect();
    assert_eq!(services, ["english", "everything"], "{routed:?}");
}

/// Their vectors are compared at the start, which other weights under one name don't survive (`english.rs` of the gateway).
#[test]
fn two_precisions_of_a_model_are_one_space() {
    let Some(_) = home() else { return };
    let folder = TempDir::new().unwrap();
    let same = "[[model]]\nname = \"int8\"\nmodel = \"multilingual-e5-small\"\n[[model]]\nname = \"f32\"\n\
                model = \"multilingual-e5-small\"\nprecision = \"f32\"\n[routes]\n\"*\" = \"int8\"\n";
    let fine = run(&folder, same, &["encode", "料理"]);
    assert_eq!(fine.code, Some(0), "{fine:?}");
}
