//! A machine with nothing on it. A process has one ONNX Runtime, so this test has a process to itself.

#![cfg(feature = "pull")]

use std::env;

use embed::encoder::{RUNTIME_VARIABLE, RuntimeLibrary, assets::DataHome};

const VARIABLE: &str = "EMBED_TEST_PYPI";

#[test]
fn the_model_and_the_library_are_fetched_and_then_used_without_a_network() {
    // Not `require`, which fails in CI: that a build reaches the index is seen by the quickstart there.
    if env::var_os(VARIABLE).is_none_or(|value| value != "1") {
        embed_testkit::left_out("PyPI", &format_args!("it is reached only with {VARIABLE}=1"));
        return;
    }
    assert!(env::var_os(RUNTIME_VARIABLE).is_none_or(|path| path.is_empty()), "unset {RUNTIME_VARIABLE}");
    let folder = tempfile::tempdir().unwrap();
    let model = embed::model("all-minilm-l6-v2").home(folder.path());
    let first = embed::blocking::load(model.clone()).unwrap().encode_query("how high is Mount Fuji").unwrap();
    let library = RuntimeLibrary::find(&DataHome::new(folder.path()), None).unwrap();
    assert!(matches!(library, RuntimeLibrary::DataHome(_)), "{library:?}");
    let model = embed::blocking::load(model.pull(embed::Pull::Never)).unwrap();
    assert_eq!(model.encode_query("how high is Mount Fuji").unwrap(), first);
}
