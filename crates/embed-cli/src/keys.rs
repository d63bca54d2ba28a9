//! The text of a file of API keys.

use embed_gateway::ApiKey;

/// The keys of a text: one a line, without duplicates. Spaces around a key, empty lines, lines that begin with `#` and a
/// byte order mark are ignored. A comment after a key and a space is its name in the log.
pub(crate) fn keys(text: &str) -> Vec<ApiKey> {
    let mut keys: Vec<ApiKey> = Vec::new();
    for line in text.strip_prefix('\u{feff}').unwrap_or(text).lines().map(str::trim) {
        let comment = line.match_indices('#').map(|(at, _)| at).find(|at| {
            let before = line[..*at].chars().next_back();
            before.is_none_or(char::is_whitespace)
        });
        let (key, name) = comment.map_or((line, ""), |at| (line[..at].trim_end(), line[at + 1..].trim()));
        if key.is_empty() {
            continue;
        }
        let name = if name.is_empty() { format!("file-{}", keys.len() + 1) } else { name.to_owned() };
        let key = ApiKey::new(name, key);
        if !keys.iter().any(|known| known.is_same(&key)) {
            keys.push(key);
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_is_read_as_people_write_it() {
        let text = "\u{feff}first\r\n\r\n# a comment\r\n  second \t\r\n#third\r\nfourth # alice's laptop\r\nwith#hash\r\n\
                    a,b:c=d\r\nfirst\r\nlast";
        let keys = keys(text);
        let names: Vec<_> = keys.iter().map(ApiKey::name).collect();
        assert_eq!(names, ["file-1", "file-2", "alice's laptop", "file-4", "file-5", "file-6"]);
        for (key, read) in
            ["first", "second", "fourth", "with#hash", "a,b:c=d", "last"].into_iter().zip(&keys)
        {
            assert!(read.is_same(&ApiKey::new("", key)), "{key}");
        }
    }

    #[test]
    fn a_file_of_comments_has_no_key() {
        for text in ["", "\u{feff}", "\r\n \n", "# nothing\n  # here"] {
            assert!(keys(text).is_empty(), "{text:?}");
        }
    }
}
