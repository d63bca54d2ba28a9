//! Checks of the output and the rules with `promtool`.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use embed_testkit::{prometheus, require};

use crate::{load, metrics};

fn promtool(args: &[&str], directory: &Path, input: &str) -> Option<Output> {
    let mut command = Command::new("promtool");
    command.args(args).current_dir(directory);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut tool = require("promtool", command.spawn())?;
    tool.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    Some(tool.wait_with_output().unwrap())
}

#[track_caller]
fn is_clean(output: &Output) {
    let (said, complained) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}{complained}");
    assert!(complained.trim().is_empty(), "{complained}");
}

#[tokio::test]
async fn the_output_is_valid() {
    let metrics = metrics();
    let here = Path::new(".");
    let Some(untouched) = promtool(&["check", "metrics"], here, &metrics.render()) else { return };
    is_clean(&untouched);
    load::Load::new(&metrics).turn().await;
    if let Some(used) = promtool(&["check", "metrics"], here, &metrics.render()) {
        is_clean(&used);
    }
}

#[test]
fn the_rules_are_valid() {
    let directory = prometheus::docs("prometheus");
    for args in [&["check", "rules", "alerts.yml"][..], &["test", "rules", "alerts_test.yml"]] {
        let Some(output) = promtool(args, &directory, "") else { return };
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    }
}
