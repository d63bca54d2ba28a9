//! What a file says, whatever the features.

use std::collections::BTreeMap;

use embed_core::Error;
use embed_stack::settings::{self, CachePlace, ServiceChoice, TABLE};

use crate::written;

#[test]
fn sections_of_a_server_are_checked_only_where_there_is_one() {
    let (_folder, path) = written(
        "[cache]\nplace = \"MEMORY\"\n[gateway]\nlisten = \":0\"\nnew = { in = [1] }\n[log]\nformat = \"xml\"\n",
    );
    let read = settings::read_file(&path);
    if cfg!(feature = "gateway") {
        let problems = read.unwrap_err();
        let lines: Vec<_> =
            problems.all().iter().map(|problem| problem.split(": ").next().unwrap()).collect();
        let expected = [5, 7].map(|line| format!("{}:{line}", path.display()));
        assert_eq!(lines, expected, "{problems:?}");
    } else {
        assert_eq!(read.unwrap().cache.place, CachePlace::Memory);
    }
    let has_section = |section| TABLE.iter().any(|setting| setting.path().0 == section);
    assert!(["gateway", "log"].map(has_section).iter().all(|has| *has == cfg!(feature = "gateway")));
}

#[test]
fn a_wrong_file_says_everything_with_its_line() {
    let (_folder, path) = written("service = \"tei\"\n\n[gatway]\nlisten = 1\n");
    let problems = settings::read_file(&path).unwrap_err();
    let at = |line: usize| format!("{}:{line}: ", path.display());
    let [service, section] = problems.all() else { panic!("{problems:?}") };
    assert_eq!(*service, format!("{}service: must be one of e5, ollama, hybrid", at(1)));
    assert!(section.starts_with(&at(4)) && section.contains("there is no such setting"), "{section}");
    let error = Error::from(problems).to_string();
    assert!(error.starts_with(&at(1)) && error.contains("all 2 problems"), "{error}");
}

#[test]
fn flags_win_over_the_file() {
    let (_folder, path) = written("service = \"ollama\"\n[e5]\nthreads = 1\n");
    let flags = [("service", "e5"), ("model", "all-minilm-l6-v2"), ("threads", "2")];
    let flags: BTreeMap<_, _> = flags.map(|(name, value)| (name, value.to_owned())).into();
    let settings = settings::read(Some(&path), &flags).unwrap();
    assert_eq!(settings.service, ServiceChoice::E5);
    assert_eq!(settings.e5.profile.name, "all-minilm-l6-v2");
    assert_eq!(settings.e5.threads.unwrap().get(), 2);
    assert_eq!(settings.origin("e5.model").to_string(), "--model");
}
