//! The settings as they were when the files in `tests/golden` were written: names, defaults, words.

use crate::config::Setup;

/// The example, and the defaults in each format, on a machine that sets nothing.
#[test]
#[cfg_attr(feature = "openvino", ignore = "it has one more precision")]
fn settings_are_as_ever() {
    let setup = Setup::new();
    for (name, args) in [
        ("config-example.toml", &["config", "example"][..]),
        ("config-show.txt", &["config", "show", "--format", "table"]),
        ("config-show.toml", &["config", "show", "--format", "toml"]),
        ("config-show.json", &["config", "show", "--format", "json"]),
    ] {
        let run = setup.run(&[], args);
        assert_eq!((run.code, run.err.as_str()), (Some(0), ""), "{run:?}");
        let text = run.out.replace(setup.folder.path().to_str().unwrap(), "FOLDER");
        let file = format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
        embed_testkit::golden(file, "-p embed-cli --test it golden", &text);
    }
}
