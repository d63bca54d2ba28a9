//! Parts that a test needs and a machine may lack: the test is left out with a note, or fails where the part is
//! required.

use std::env;
use std::fmt::Display;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::thread;

/// The variable that says which parts are required: `1` for all, as with `CI`, or names separated by commas.
pub const REQUIRE_VARIABLE: &str = "EMBED_REQUIRE";

/// The variable that names a file to which each test that is left out appends a line: the part, the test program, the
/// test and the reason, with tabs between them.
pub const LEFT_OUT_VARIABLE: &str = "EMBED_LEFT_OUT";

/// Returns the part if it is there. If it isn't, the test should return; the reason is printed, and written to the file
/// that [`LEFT_OUT_VARIABLE`] names.
///
/// # Panics
///
/// If it isn't there and [`REQUIRE_VARIABLE`] or `CI` requires it: no test passes in CI because something is missing.
pub fn require<T, E: Display>(part: &str, found: Result<T, E>) -> Option<T> {
    match found {
        Ok(found) => Some(found),
        Err(error) if is_required(part) => panic!("{part} is needed here: {error}"),
        Err(error) => {
            left_out(part, &error);
            None
        }
    }
}

/// Notes that the calling test is left out, fully or partly, because a part is missing. [`require`] calls this itself.
pub fn left_out(part: &str, reason: &dyn Display) {
    // `eprintln!` would be swallowed by the test harness, since the test passes.
    let _ = writeln!(std::io::stderr(), "SKIPPED, for lack of {part}: {reason}");
    if let Some(file) = env::var_os(LEFT_OUT_VARIABLE).filter(|file| !file.is_empty())
        && let Err(error) = note(Path::new(&file), part, reason)
    {
        let _ = writeln!(std::io::stderr(), "{}: {error}", Path::new(&file).display());
    }
}

fn note(file: &Path, part: &str, reason: &dyn Display) -> std::io::Result<()> {
    let program = env::current_exe().unwrap_or_default().file_stem().map(PathBuf::from).unwrap_or_default();
    let thread = thread::current();
    // The harness names the thread of a test after the test.
    let test = thread.name().unwrap_or("?");
    let words = [part, &program.display().to_string(), test, &reason.to_string()].map(one_line);
    // In one write, since other test programs may append at the same time.
    let line = words.join("\t") + "\n";
    OpenOptions::new().create(true).append(true).open(file)?.write_all(line.as_bytes())
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn is_required(part: &str) -> bool {
    let value = |variable| env::var(variable).unwrap_or_default();
    is_yes(&value("CI")) || names(&value(REQUIRE_VARIABLE), part)
}

fn names(list: &str, part: &str) -> bool {
    let is_list = !matches!(list, "1" | "true" | "yes" | "all");
    if is_list { list.split(',').any(|name| name.trim() == part) } else { is_yes(list) }
}

fn is_yes(value: &str) -> bool {
    !matches!(value, "" | "0" | "false" | "no")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_parts_are_required_or_those_of_a_list() {
        for all in ["1", "true", "all"] {
            assert!(names(all, "redis-server"), "{all}");
        }
        assert!(names("openssl, redis-server", "redis-server"));
        for other in ["", "0", "false", "openssl", "redis"] {
            assert!(!names(other, "redis-server"), "{other}");
        }
    }

    #[test]
    fn what_is_left_out_is_a_line_with_the_test_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("left-out");
        note(&file, "Chromium", &"there is\nnone").unwrap();
        note(&file, "openssl", &"gone").unwrap();
        let text = std::fs::read_to_string(file).unwrap();
        let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
        let test = "require::tests::what_is_left_out_is_a_line_with_the_test_in_it";
        assert!(rows[0][1].starts_with("embed_testkit-"), "{rows:?}");
        assert_eq!((rows[0][0], rows[0][2], rows[0][3]), ("Chromium", test, "there is none"));
        assert_eq!((rows.len(), rows[1][0]), (2, "openssl"));
    }
}
