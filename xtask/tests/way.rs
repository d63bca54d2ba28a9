//! The way of a request, as ARCHITECTURE.md tells it: every hop is a function that is there, and there are at most twelve.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use syn::{ImplItem, Item, Type};

const MOST_HOPS: usize = 12;

#[test]
fn every_hop_is_a_function_that_is_there() {
    let root = root();
    let page = fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    let hops = hops(&page);
    assert!(!hops.is_empty(), "ARCHITECTURE.md has no table of hops");
    assert!(hops.len() <= MOST_HOPS, "{} hops are more than {MOST_HOPS}", hops.len());
    for (file, function) in hops {
        let source = fs::read_to_string(root.join("crates").join(file)).unwrap_or_default();
        assert!(
            has(&source, function),
            "crates/{file} has no `{function}`, which ARCHITECTURE.md names as a hop"
        );
    }
}

#[test]
fn a_function_that_is_gone_is_missed() {
    let source =
        "fn handle() {} impl Guard { fn call(&self) {} } impl Embedder for Cached<E> { fn embed() {} }";
    for there in ["handle", "Guard::call", "Cached::embed"] {
        assert!(has(source, there), "{there}");
    }
    for gone in ["call", "Guard::embed", "Cached::call", "handled"] {
        assert!(!has(source, gone), "{gone}");
    }
}

/// File and function of each row of the table.
fn hops(page: &str) -> Vec<(&str, &str)> {
    let row = |line: &'_ str| -> Option<usize> { line.strip_prefix("| ")?.split(" | ").next()?.parse().ok() };
    let cells = |line| -> Option<(&str, &str)> {
        let mut code = str::split(line, '`').skip(1).step_by(2);
        Some((code.next()?, code.next()?))
    };
    page.lines().filter(|line| row(line).is_some()).filter_map(cells).collect()
}

/// Whether a source has a function of this name, `Type::name` for a method.
fn has(source: &str, function: &str) -> bool {
    let items = syn::parse_file(source).map(|file| file.items).unwrap_or_default();
    items.iter().any(|item| match (item, function.split_once("::")) {
        (Item::Fn(item), None) => item.sig.ident == function,
        (Item::Impl(item), Some((of, name))) => {
            let of_type =
                |path: &syn::TypePath| path.path.segments.last().is_some_and(|last| last.ident == of);
            matches!(&*item.self_ty, Type::Path(path) if of_type(path))
                && item.items.iter().any(|item| matches!(item, ImplItem::Fn(item) if item.sig.ident == name))
        }
        _ => false,
    })
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}
