//! The rules of `tidy` on plain strings: text in, findings out, no files.

/// How many lines a file may have before its tests.
const MAX_LINES: usize = 500;

/// Something that breaks a rule.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RuleBreach {
    /// From the root of the repository.
    pub(crate) path: String,
    /// Counted from 1.
    pub(crate) line: usize,
    /// What is wrong, and what to do.
    pub(crate) message: String,
}

impl std::fmt::Display for RuleBreach {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

fn finding(path: &str, line: usize, message: impl Into<String>) -> RuleBreach {
    RuleBreach { path: path.to_owned(), line, message: message.into() }
}

/// The rules for a Rust source file.
pub(crate) fn rust_file(path: &str, text: &str) -> Vec<RuleBreach> {
    let mut findings = Vec::new();
    let first = text.lines().next().unwrap_or_default();
    if !first.starts_with("//!") && !first.starts_with("#![doc") {
        findings.push(finding(path, 1, "a file starts with `//!` and a sentence that says what is in it"));
    }
    let code = text.lines().position(|line| line.trim_start().starts_with("#[cfg(test)]"));
    let length = code.unwrap_or_else(|| text.lines().count());
    if length > MAX_LINES {
        let message =
            format!("{length} lines before the tests, at most {MAX_LINES}: split the file by topic");
        findings.push(finding(path, length, message));
    }
    // The words are put together here; otherwise this file would break its own rule.
    let banned = [
        (
            concat!("#[ig", "nore"),
            "a test that is ignored proves nothing: let it skip with a message, or delete it",
        ),
        (concat!("to", "do!("), "unfinished code does not land: finish it, or return an error"),
    ];
    for (number, line) in numbered(text).filter(|(_, line)| !line.trim_start().starts_with("//")) {
        for (word, reason) in banned {
            if line.contains(word) {
                findings.push(finding(path, number, format!("`{word}`: {reason}")));
            }
        }
    }
    findings
}

/// No test measures real time, which depends on the machine and its load. The rule forbids the functions that measure it,
/// so that no assertion can use it.
pub(crate) fn timed_test(path: &str, text: &str) -> Vec<RuleBreach> {
    const MEASURES: &[&str] = &[".elapsed()", "duration_since(", "Instant::now() -"];
    // The drill publishes how long outages last, and asserts that they end.
    let publishes = path == "crates/embed-cli/tests/drill/drill.rs";
    let is_test = !publishes && path.split('/').any(|part| part == "tests" || part == "tests.rs");
    let tests_begin = text.lines().position(|line| line.trim_start().starts_with("#[cfg(test)]"));
    let mut findings = Vec::new();
    for (number, line) in numbered(text) {
        let code = line.trim_start();
        // Also in the code of a doc test, but not in other comments.
        let counts = match code.strip_prefix("//") {
            Some(rest) => rest.starts_with(['/', '!']),
            None => is_test || tests_begin.is_some_and(|begin| number > begin),
        };
        let word = MEASURES.iter().find(|word| code.contains(**word));
        if let Some(word) = word.filter(|_| counts) {
            let message = format!(
                "`{word}`: a test measures time; assert what happened, take `embed_testkit::VirtualTime` where time is \
                 paused, wait with `timeout` and a generous bound, or make it a benchmark"
            );
            findings.push(finding(path, number, message));
        }
    }
    findings
}

/// A test only requires parts that are in the table of needs; otherwise `test` couldn't say how to install them.
pub(crate) fn unknown_part(path: &str, text: &str, known: impl Fn(&str) -> bool) -> Vec<RuleBreach> {
    let mut findings = Vec::new();
    if !path.contains("/tests/") && !path.starts_with("crates/embed-testkit/src/") {
        return findings;
    }
    for (number, line) in numbered(text) {
        for call in ["require(\"", "left_out(\""] {
            let Some((before, rest)) = line.split_once(call) else { continue };
            let part = rest.split('"').next().unwrap_or_default();
            // The part for real Ollama servers takes a version, so its name is formatted.
            if !before.ends_with("rig::") && !part.contains('{') && !known(part) {
                let message =
                    format!("`{part}` is not in the table of xtask/src/needs.rs: say there what brings it");
                findings.push(finding(path, number, message));
            }
        }
    }
    findings
}

/// The manifest of a crate: it inherits the lint table, and says whether it is published.
pub(crate) fn manifest(path: &str, text: &str) -> Vec<RuleBreach> {
    let (mut table, mut lints, mut publish) = (String::new(), false, false);
    for line in text.lines() {
        let words: String = line.split_whitespace().collect();
        if words.starts_with('[') {
            table = words;
            continue;
        }
        lints |= words == "lints.workspace=true" || (table == "[lints]" && words == "workspace=true");
        publish |= table == "[package]" && words.starts_with("publish");
    }
    let end = text.lines().count().max(1);
    let mut findings = Vec::new();
    if !lints {
        let message = "the crate does not inherit the lint table: add `[lints]` with `workspace = true`";
        findings.push(finding(path, end, message));
    }
    if !publish {
        let message = "`[package]` does not say whether the crate is published: add `publish = true`, or \
                       `publish.workspace = true` if it stays in this repository";
        findings.push(finding(path, 1, message));
    }
    findings
}

/// ARCHITECTURE.md names the crate, as code.
pub(crate) fn architecture(path: &str, text: &str, crate_name: &str) -> Vec<RuleBreach> {
    if text.contains(&format!("`{crate_name}`")) {
        return Vec::new();
    }
    vec![finding(path, 1, format!("the crate `{crate_name}` is not named: say what it is for"))]
}

/// CHANGELOG.md has a heading for this version, or one for what is not released yet.
pub(crate) fn changelog(path: &str, text: &str, version: &str) -> Vec<RuleBreach> {
    let wanted = [version, "unreleased"];
    let mut headings = text.lines().filter(|line| line.starts_with("## ")).map(str::to_lowercase);
    let names_it = |heading: String| {
        heading
            .split(|c: char| !(c.is_alphanumeric() || ".-+".contains(c)))
            .any(|word| wanted.contains(&word))
    };
    if headings.any(names_it) {
        return Vec::new();
    }
    vec![finding(path, 1, format!("no heading `## [{version}]` and none `## [Unreleased]`"))]
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(index, line)| (index + 1, line))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(findings: &[RuleBreach]) -> Vec<usize> {
        findings.iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn a_file_starts_with_its_purpose() {
        assert!(rust_file("a.rs", "//! What.\nfn a() {}\n").is_empty());
        assert!(rust_file("a.rs", "#![doc = include_str!(\"../README.md\")]\n").is_empty());
        assert_eq!(lines(&rust_file("a.rs", "fn a() {}\n")), [1]);
        assert_eq!(lines(&rust_file("a.rs", "")), [1]);
    }

    #[test]
    fn only_the_lines_before_the_tests_count() {
        let code = format!("//! What.\n{}", "\n".repeat(499));
        assert!(rust_file("a.rs", &code).is_empty());
        assert!(rust_file("a.rs", &format!("{code}#[cfg(test)]\n{}", "\n".repeat(900))).is_empty());
        assert_eq!(lines(&rust_file("a.rs", &format!("{code}\n"))), [501]);
    }

    #[test]
    fn unfinished_code_and_ignored_tests_are_found_but_not_in_comments() {
        let text = concat!("//! What.\n// #[ig", "nore]\n#[ig", "nore = \"slow\"]\nfn a() { to", "do!() }\n");
        let findings = rust_file("a.rs", text);
        assert_eq!(lines(&findings), [3, 4]);
        assert!(findings[0].to_string().starts_with("a.rs:3: `#["));
    }

    #[test]
    fn a_test_that_measures_time_is_found() {
        let measures = concat!("assert!(begin.elap", "sed() < SOON);");
        let unit = format!("fn a() {{ {measures} }}\n#[cfg(test)]\nmod tests {{\n    {measures}\n}}\n");
        assert_eq!(lines(&timed_test("crates/a/src/b.rs", &unit)), [4]);
        assert_eq!(lines(&timed_test("crates/a/tests/it/b.rs", &unit)), [1, 4]);
        assert_eq!(lines(&timed_test("crates/a/src/b/tests.rs", measures)), [1]);
        assert_eq!(lines(&timed_test("crates/a/src/b.rs", &format!("/// {measures}\n// {measures}\n"))), [1]);
        assert!(timed_test("crates/a/benches/b.rs", measures).is_empty());
        assert!(timed_test("crates/a/tests/b.rs", "assert_eq!(time.passed(), SECOND);").is_empty());
    }

    #[test]
    fn a_part_that_nothing_brings_is_found() {
        let found = |path, text| lines(&unknown_part(path, text, |part| part == "openssl"));
        assert_eq!(found("crates/a/tests/b.rs", "require(\"openssl\", x);\nrequire(\"perl\", x);"), [2]);
        assert_eq!(found("crates/embed-testkit/src/b.rs", "left_out(\"perl\", &x)"), [1]);
        assert!(found("crates/a/tests/b.rs", "rig::require(\"0.5.4\")").is_empty());
        assert!(found("crates/a/benches/b.rs", "require(\"perl\", x);").is_empty());
    }

    #[test]
    fn a_manifest_inherits_the_lints_and_says_whether_it_is_published() {
        let package = "[package]\nname = \"a\"\npublish.workspace = true\n";
        assert!(manifest("m", &format!("{package}\n[lints]\nworkspace = true\n")).is_empty());
        assert!(manifest("m", &format!("lints.workspace=true\n{package}")).is_empty());
        assert_eq!(lines(&manifest("m", package)), [3]);
        assert_eq!(lines(&manifest("m", "[lints]\n[package]\nworkspace = true\npublish = false\n")), [4]);
        assert_eq!(lines(&manifest("m", "[package]\nname = \"a\"\n[lints]\nworkspace = true\n")), [1]);
    }

    #[test]
    fn the_documents_name_crates_and_version() {
        assert!(architecture("A.md", "- `embed-core`: types", "embed-core").is_empty());
        assert_eq!(architecture("A.md", "embed-corelike", "embed-core").len(), 1);
        assert!(changelog("C.md", "# Changes\n## [0.1.0] - 2026-01-01\n", "0.1.0").is_empty());
        assert!(changelog("C.md", "## [Unreleased]\n", "0.1.0").is_empty());
        assert_eq!(changelog("C.md", "## [0.1.01]\nUnreleased 0.1.0\n", "0.1.0").len(), 1);
    }
}
