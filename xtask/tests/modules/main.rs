//! Modules of each crate import each other in one direction only, and a type has its methods where it is defined.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use tree::Crate;

/// The top-level modules of each crate, layer by layer from the bottom up. A module may use the layers below its own.
/// A change is a decision about the architecture, so it takes a line here.
const FLOORS: &[(&str, &[&str])] = &[
    ("embed", &["pull", "model", "stack", "blocking"]),
    (
        "embed-assets",
        &[
            "files progress repack weights",
            "folder forward graph hub lock tokenizer_json wheel",
            "asset repacker spec store trial",
            "bundle pull",
            "calibrate custom",
        ],
    ),
    (
        "embed-cache",
        &["key", "value", "config flight tier", "memory redis stats", "guard", "writer", "cache", "cached"],
    ),
    ("embed-cli", &["exit keys settings signals", "io stack", "commands"]),
    (
        "embed-core",
        &[
            "breaker error space trace",
            "coverage deadline health model shared_breaker vector",
            "embedding options",
            "request response",
            "embedder nearest",
            "ext layer",
        ],
    ),
    (
        "embed-encoder",
        &[
            "allocator kernels precision preempt spans",
            "profile",
            "assets stats tokenizer",
            "custom engine runtime tokens",
            "operators workers",
            "config session",
            "embedder",
        ],
    ),
    (
        "embed-gateway",
        &[
            "caller error hooks limits page surrogates tls",
            "admission connections context host json models",
            "auth catalogue failure",
            "body config request",
            "answer state",
            "admin embed render watch",
            "api server",
            "middleware",
            "gateway",
        ],
    ),
    (
        "embed-gemm",
        &[
            "panels",
            "product",
            "strips",
            "amx avx2 avx512 avxvnni neon portable single words",
            "check",
            "instructions",
            "gemm",
        ],
    ),
    (
        "embed-kernels",
        &[
            "lanes math processor",
            "mean outliers reduce steps unpack weights",
            "attention integer_attention norm rows",
            "linear",
            "layer",
        ],
    ),
    ("embed-metrics", &["config figures names", "registry", "gateway", "metrics", "metered"]),
    (
        "embed-ollama",
        &[
            "address hub identity stats version",
            "config profile",
            "wire",
            "failure",
            "wait",
            "server",
            "handshake models",
            "servers",
            "embedder",
        ],
    ),
    (
        "embed-openai",
        &[
            "identity limits stats wire",
            "config failure pace",
            "key space",
            "server",
            "handshake",
            "fleet",
            "embedder",
        ],
    ),
    ("embed-python", &["failure texts", "answer wait", "options", "engine"]),
    (
        "embed-remote",
        &[
            "address batch failure probes secret seen setters settings stats tls truncate",
            "http rows",
            "backend endpoint",
            "pool",
            "call",
            "answer",
        ],
    ),
    (
        "embed-router",
        &["detect fusion guard pins rollout", "late policy shadow stats", "config route", "router"],
    ),
    ("embed-stack", &["settings", "stack"]),
    (
        "embed-testkit",
        &[
            "contract data figures golden lock require resident signal virtual_time",
            "hub ollama prometheus redis scripted",
            "openai",
        ],
    ),
    (
        "xtask",
        &[
            "shell tidy_rules",
            "needs workspace",
            "api build_context edges setup",
            "deploy package readme test",
            "bench drill python tidy",
            "ci",
        ],
    ),
];

/// All crates with their names.
static CRATES: LazyLock<Vec<(String, Crate)>> = LazyLock::new(crates);

fn crates() -> Vec<(String, Crate)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut folders: Vec<PathBuf> =
        fs::read_dir(root.join("crates")).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.push(root.join("xtask"));
    folders.sort();
    let root_of = |folder: &PathBuf| {
        ["src/lib.rs", "src/main.rs"].map(|file| folder.join(file)).into_iter().find(|file| file.exists())
    };
    let read = |folder: &PathBuf| {
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        Some((name, Crate::read(&root_of(folder)?)))
    };
    folders.iter().filter_map(read).collect()
}

#[test]
fn no_modules_import_each_other_in_circles() {
    let all: Vec<_> = CRATES
        .iter()
        .flat_map(|(name, of_crate)| {
            circles(of_crate).into_iter().map(move |circle| format!("{name}: {circle}"))
        })
        .collect();
    assert!(all.is_empty(), "{all:#?}");
}

#[test]
fn arrows_run_down() {
    let mut all = Vec::new();
    for (name, of_crate) in &*CRATES {
        let floors = FLOORS.iter().find(|(of, _)| of == name).map(|(_, floors)| *floors);
        let breaches = breaches(of_crate, floors.unwrap_or_default());
        if !breaches.is_empty() {
            all.push(format!("{name}: {breaches:#?}; it could have\n{}", proposal(of_crate)));
        }
    }
    assert!(all.is_empty(), "{}", all.join("\n"));
}

#[test]
fn a_type_has_its_methods_where_it_is_defined() {
    let all = CRATES.iter().map(|(name, of_crate)| (name, of_crate.far_methods()));
    let far: Vec<_> = all.filter(|(_, far)| !far.is_empty()).collect();
    assert!(far.is_empty(), "{far:?}");
}

/// Modules that use each other, with the paths that do.
fn circles(of_crate: &Crate) -> Vec<String> {
    let arrows = of_crate.arrows();
    let mut reach: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for &(from, to) in &arrows {
        reach.entry(from).or_default().insert(to);
    }
    let reaches = |from, to| {
        let (mut seen, mut waiting) = (BTreeSet::new(), vec![from]);
        while let Some(at) = waiting.pop() {
            for &next in reach.get(at).into_iter().flatten() {
                if next == to {
                    return true;
                }
                if seen.insert(next) {
                    waiting.push(next);
                }
            }
        }
        false
    };
    let show = |name: &Vec<String>| if name.is_empty() { "crate".to_owned() } else { name.join("::") };
    arrows
        .iter()
        .filter(|(from, to)| reaches(*to, *from))
        .map(|(from, to)| format!("{} -> {}", show(from), show(to)))
        .collect()
}

/// Which top-level module uses which.
fn top_arrows(of_crate: &Crate) -> BTreeSet<(String, String)> {
    let arrows = of_crate.arrows().into_iter();
    arrows
        .filter_map(|(from, to)| Some((from.first()?.clone(), to.first()?.clone())))
        .filter(|(from, to)| from != to)
        .collect()
}

fn breaches(of_crate: &Crate, floors: &[&str]) -> Vec<String> {
    let floor_of: BTreeMap<&str, usize> = floors
        .iter()
        .enumerate()
        .flat_map(|(floor, modules)| modules.split(' ').map(move |module| (module, floor)))
        .collect();
    let modules: BTreeSet<&str> = of_crate.modules().map(|name| name[0].as_str()).collect();
    let missing = modules.iter().filter(|module| !floor_of.contains_key(*module));
    let gone = floor_of.keys().filter(|module| !modules.contains(*module));
    let mut breaches: Vec<_> = missing.map(|module| format!("{module} is on no floor")).collect();
    breaches.extend(gone.map(|module| format!("{module} is no module")));
    for (from, to) in top_arrows(of_crate) {
        if floor_of.get(&*from) <= floor_of.get(&*to) {
            breaches.push(format!("{from} -> {to} runs up"));
        }
    }
    breaches
}

/// The lowest possible layers, as they would be written in the table.
fn proposal(of_crate: &Crate) -> String {
    let arrows = top_arrows(of_crate);
    let mut left: BTreeSet<&str> = of_crate.modules().map(|name| name[0].as_str()).collect();
    let mut lines = String::new();
    while !left.is_empty() {
        let is_ground =
            |module: &&str| !arrows.iter().any(|(from, to)| from == module && left.contains(to.as_str()));
        let floor: Vec<_> = left.iter().copied().filter(is_ground).collect();
        if floor.is_empty() {
            return lines + &format!("a circle among {left:?}");
        }
        lines += &format!("\"{}\",\n", floor.join(" "));
        left.retain(|module| !floor.contains(module));
    }
    lines
}

mod seeded {
    //! Crates with each kind of fault.

    use std::fs;

    use tempfile::TempDir;

    use super::*;

    fn read(files: &[(&str, &str)]) -> Crate {
        let folder = TempDir::new().unwrap();
        for (name, text) in files {
            let file = folder.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        Crate::read(&folder.path().join("lib.rs"))
    }

    #[test]
    fn a_circle_is_found_however_the_other_side_is_named() {
        for other_side in [
            "use crate::a::A;",
            "use super::a::{self, A};",
            "pub fn f() { let _ = crate::a::A; }",
            "pub fn f(_: &super::a::A) {}",
            "pub fn f() { println!(\"{:?}\", crate::a::A) }",
            "use crate::A;",
            "use crate::{a::{A}};",
        ] {
            let of_crate = read(&[
                ("lib.rs", "mod a; mod b; pub use a::A;"),
                ("a.rs", "use crate::b::f; #[derive(Debug)] pub struct A;"),
                ("b.rs", other_side),
            ]);
            assert_eq!(circles(&of_crate), ["a -> b", "b -> a"], "{other_side}");
        }
    }

    #[test]
    fn a_parent_and_its_child_can_be_a_circle() {
        let of_crate = read(&[
            ("lib.rs", "mod a;"),
            ("a/mod.rs", "mod b; pub struct A(b::B);"),
            ("a/b.rs", "pub struct B(Option<Box<super::A>>);"),
        ]);
        assert_eq!(circles(&of_crate), ["a -> a::b", "a::b -> a"]);
    }

    #[test]
    fn what_a_module_hands_on_and_what_tests_take_is_no_circle() {
        let of_crate = read(&[
            ("lib.rs", "mod a; mod c; pub use a::B; pub use c::C;"),
            ("a/mod.rs", "mod b; pub use self::b::B; use b::B as Other; pub(super) fn f(_: Other) {}"),
            ("a/b.rs", "pub struct B(crate::C); #[cfg(test)] mod tests { use super::super::f; }"),
            ("c.rs", "pub struct C;"),
        ]);
        assert_eq!(circles(&of_crate), [""; 0]);
        assert_eq!(breaches(&of_crate, &["c", "a"]), [""; 0]);
        assert_eq!(breaches(&of_crate, &["a", "c x"]), ["x is no module", "a -> c runs up"]);
        assert_eq!(breaches(&of_crate, &["a"]), ["c is on no floor"]);
    }

    #[test]
    fn methods_in_another_file_are_found() {
        let of_crate = read(&[
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "pub struct A; impl A {}"),
            ("b.rs", "use crate::a::A; impl A { fn f() {} } impl Drop for A { fn drop(&mut self) {} }"),
        ]);
        assert_eq!(of_crate.far_methods(), [("A", &vec!["b".to_owned()])]);
    }
}
