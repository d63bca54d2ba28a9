//! Golden files: what a program once wrote, and must still write.

use std::env;
use std::fs;
use std::path::Path;

/// The variable that makes tests rewrite their golden files instead of comparing them.
const BLESS_VARIABLE: &str = "EMBED_BLESS";

/// Compares with the golden file at a path, byte by byte; with `EMBED_BLESS=1` the file is written instead. `test` is what
/// `cargo test` is given to run this test alone, such as `-p embed-gateway --test it golden`.
///
/// # Panics
///
/// If they differ; the message shows the first line that does. If the file can't be written.
pub fn golden(path: impl AsRef<Path>, test: &str, actual: &str) {
    let path = path.as_ref();
    if env::var_os(BLESS_VARIABLE).is_some_and(|value| !value.is_empty()) {
        let folder = path.parent().unwrap_or(path);
        let written = fs::create_dir_all(folder).and_then(|()| fs::write(path, actual));
        written.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        return;
    }
    // A missing file differs in its first line.
    let expected = fs::read_to_string(path).unwrap_or_default();
    if let Some((line, old, new)) = difference(&expected, actual) {
        panic!(
            "{} says something else, from line {line} on:\n  file {old:?}\n  now  {new:?}\nIf that is meant, \
             `{BLESS_VARIABLE}=1 cargo test {test}` rewrites the file.",
            path.display()
        );
    }
}

/// The first line in which two texts differ: its number, and the line of each.
fn difference<'a>(old: &'a str, new: &'a str) -> Option<(usize, Option<&'a str>, Option<&'a str>)> {
    let (mut old, mut new) = (old.split_inclusive('\n'), new.split_inclusive('\n'));
    (1..).map(|line| (line, old.next(), new.next())).find_map(|row| match row {
        (_, None, None) => Some(None),
        (_, old, new) if old == new => None,
        row => Some(Some(row)),
    })?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_that_differs_is_found() {
        assert_eq!(difference("a\nb\n", "a\nb\n"), None);
        assert_eq!(difference("", ""), None);
        assert_eq!(difference("a\nb\n", "a\nc\n"), Some((2, Some("b\n"), Some("c\n"))));
        assert_eq!(difference("a\n", "a"), Some((1, Some("a\n"), Some("a"))));
        assert_eq!(difference("a\n", "a\nb\n"), Some((2, None, Some("b\n"))));
    }

    #[test]
    #[should_panic(expected = "cargo test -p x --test it golden")]
    fn a_file_that_is_not_there_differs() {
        golden("/nowhere/at/all", "-p x --test it golden", "a\n");
    }
}
