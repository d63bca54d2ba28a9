//! What tests need besides Rust, a C compiler and Python 3 with pip: how to find out whether it is there, and how to
//! install it. Tests pass the names of these parts to `embed_testkit::require`.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::shell::{Cmd, is_on, on_the_path};

/// One part that tests need.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Need {
    /// The name for `embed_testkit::require`.
    pub(crate) part: &'static str,
    probe: Probe,
    /// The command that installs it, ready to be typed.
    pub(crate) command: &'static str,
}

#[derive(Debug, Clone, Copy)]
enum Probe {
    /// This command fetches it before the tests.
    Model,
    /// One of these programs is on the PATH.
    Program(&'static [&'static str]),
    /// These programs are on the PATH, and with them a test installs the rest from a package registry.
    Installs(&'static [&'static str]),
    /// npm, and a Node.js that the packages run on; with them a test installs the rest.
    Node,
    /// This command succeeds.
    Works(&'static [&'static str]),
    /// This variable is set.
    Variable(&'static str),
    /// Addresses of servers, or a script that starts some.
    Ollama,
}

/// Whether a part is available.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PartState {
    /// Tests fail without it.
    There,
    /// Tests fetch it, and are left out where no registry can be reached.
    Installed,
    /// Tests are left out.
    Missing,
    /// It is optional everywhere; tests are left out in CI, too.
    Extra,
}

const MODEL: &str = "cargo xtask setup --all";
const PROMETHEUS: &str = "apt-get install prometheus";
const RIG: &str = "EMBED_OLLAMA_RIG";

/// What `package-lock.json` of the clients asks for.
const OLDEST_NODE: u32 = 20;

/// All parts.
pub(crate) const NEEDS: &[Need] = &[
    Need { part: "the ONNX Runtime library", probe: Probe::Model, command: MODEL },
    Need { part: "multilingual-e5-small (int8)", probe: Probe::Model, command: MODEL },
    Need { part: "multilingual-e5-small (f32)", probe: Probe::Model, command: MODEL },
    Need { part: "multilingual-e5-small (mixed)", probe: Probe::Model, command: MODEL },
    Need { part: "gcc", probe: Probe::Program(&["gcc"]), command: "apt-get install gcc libc6-dev" },
    Need {
        part: "redis-server",
        probe: Probe::Program(&["redis-server"]),
        command: "apt-get install redis-server",
    },
    Need { part: "openssl", probe: Probe::Program(&["openssl"]), command: "apt-get install openssl" },
    Need { part: "prometheus", probe: Probe::Program(&["prometheus"]), command: PROMETHEUS },
    Need { part: "promtool", probe: Probe::Program(&["promtool"]), command: PROMETHEUS },
    Need {
        part: "Python clients",
        probe: Probe::Installs(&["python3"]),
        command: "apt-get install python3 python3-pip",
    },
    Need {
        part: "schemathesis",
        probe: Probe::Installs(&["python3"]),
        command: "apt-get install python3 python3-pip",
    },
    Need { part: "Node.js clients", probe: Probe::Node, command: ".ci/run --tools-only" },
    Need {
        part: "Chromium",
        probe: Probe::Program(&["chromium", "chromium-browser", "google-chrome"]),
        command: "apt-get install chromium",
    },
    Need {
        part: "a mount namespace",
        probe: Probe::Works(&["unshare", "--mount", "--map-root-user", "true"]),
        command: "sysctl -w kernel.unprivileged_userns_clone=1 (in a container: start it with --privileged)",
    },
    Need {
        part: "Ollama",
        probe: Probe::Ollama,
        command: "EMBED_OLLAMA_RIG=SCRIPT cargo xtask test (CONTRIBUTING.md says what the script does)",
    },
    Need {
        part: "PyPI",
        probe: Probe::Variable("EMBED_TEST_PYPI"),
        command: "EMBED_TEST_PYPI=1 cargo xtask test -- -p embed-assets --test pypi",
    },
    Need {
        part: "e5-small-q4.bin",
        probe: Probe::Variable("EMBED_TEST_Q4"),
        command: "EMBED_TEST_Q4=FILE cargo xtask test -- -p embed-assets --test repack",
    },
];

impl Need {
    /// The one of that name.
    pub(crate) fn named(part: &str) -> Option<&'static Self> {
        NEEDS.iter().find(|need| need.part == part)
    }

    /// Checks whether it is available; `models` says whether this command has fetched the models.
    fn state(&self, root: &Path, models: bool) -> PartState {
        let there = |found: bool| if found { PartState::There } else { PartState::Missing };
        let extra = |found: bool| if found { PartState::There } else { PartState::Extra };
        match self.probe {
            Probe::Model => there(models),
            Probe::Program(names) => there(names.iter().any(|name| on_the_path(name))),
            Probe::Installs(programs) if programs.iter().all(|name| on_the_path(name)) => {
                PartState::Installed
            }
            Probe::Installs(_) => PartState::Missing,
            Probe::Node if on_the_path("npm") && node() >= Some(OLDEST_NODE) => PartState::Installed,
            Probe::Node => PartState::Missing,
            Probe::Works(words) => there(works(words)),
            Probe::Variable(name) => extra(is_set(name)),
            Probe::Ollama => {
                let named = [RIG, "EMBED_OLLAMA_0_5_4", "EMBED_OLLAMA_0_9_3"].into_iter().any(is_set);
                extra(named || ollama_rig(root).is_some())
            }
        }
    }
}

/// What this machine has, in the order of the table.
#[derive(Debug)]
pub(crate) struct FoundParts(Vec<(&'static Need, PartState)>);

impl FoundParts {
    /// Checks all parts; `models` says whether the models are there.
    pub(crate) fn look(root: &Path, models: bool) -> Self {
        Self(NEEDS.iter().map(|need| (need, need.state(root, models))).collect())
    }

    /// The names of the parts without which tests fail, as `EMBED_REQUIRE` takes them. With `CI`, tests fail without any
    /// of the parts.
    pub(crate) fn required(&self) -> String {
        let there = self.0.iter().filter(|(_, state)| *state == PartState::There);
        there.map(|(need, _)| need.part).collect::<Vec<_>>().join(",")
    }

    /// Prints a table of what is there and what isn't.
    pub(crate) fn print(&self) {
        let without =
            if is_on("CI") { "MISSING, so its tests fail" } else { "MISSING, so its tests are left out" };
        println!("\nwhat the tests need:");
        for (need, state) in &self.0 {
            match state {
                PartState::There => println!("  {:<30} there", need.part),
                PartState::Installed => println!("  {:<30} the tests install it", need.part),
                PartState::Missing => println!("  {:<30} {without}: {}", need.part, need.command),
                PartState::Extra => println!("  {:<30} not asked for: {}", need.part, need.command),
            }
        }
        if self.0.iter().any(|(_, state)| *state == PartState::Missing) {
            println!("  on Debian, `.ci/run --tools-only` installs what is missing");
        }
        println!();
    }
}

/// The script that starts real Ollama servers, if it is next to the repository and no variable names another.
pub(crate) fn ollama_rig(root: &Path) -> Option<(&'static str, OsString)> {
    let addresses = ["EMBED_OLLAMA_0_5_4", "EMBED_OLLAMA_0_9_3"];
    if std::env::var_os(RIG).is_some() || addresses.into_iter().all(is_set) {
        return None;
    }
    let script = root.join("../shared/rigs/ollama").canonicalize();
    script.ok().map(|script| (RIG, script.into()))
}

fn is_set(name: &str) -> bool {
    std::env::var_os(name).is_some_and(|value| !value.is_empty())
}

/// The main version of Node.js.
fn node() -> Option<u32> {
    let said = Cmd::new("node", Path::new(".")).args(["--version"]).read_anyway().ok()?;
    said.trim().trim_start_matches('v').split('.').next()?.parse().ok()
}

fn works(words: &[&str]) -> bool {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_have_names_of_their_own_without_commas() {
        for (at, need) in NEEDS.iter().enumerate() {
            assert!(!need.part.contains(',') && !need.command.is_empty(), "{need:?}");
            assert!(NEEDS[..at].iter().all(|earlier| earlier.part != need.part), "{need:?}");
        }
    }

    #[test]
    fn only_what_is_there_is_required() {
        let [redis, openssl, python] =
            ["redis-server", "openssl", "Python clients"].map(|part| Need::named(part).unwrap());
        let found = FoundParts(vec![
            (redis, PartState::There),
            (openssl, PartState::Missing),
            (python, PartState::Installed),
        ]);
        assert_eq!(found.required(), "redis-server");
    }

    #[test]
    fn a_program_is_looked_for_on_the_path() {
        let need = |probe| Need { part: "x", probe, command: "y" };
        assert_eq!(
            need(Probe::Program(&["no-such-program", "sh"])).state(Path::new("."), false),
            PartState::There
        );
        assert_eq!(
            need(Probe::Program(&["no-such-program"])).state(Path::new("."), false),
            PartState::Missing
        );
        assert_eq!(
            need(Probe::Installs(&["sh", "no-such-program"])).state(Path::new("."), false),
            PartState::Missing
        );
        assert_eq!(need(Probe::Works(&["true"])).state(Path::new("."), false), PartState::There);
        assert_eq!(need(Probe::Works(&["no-such-program"])).state(Path::new("."), false), PartState::Missing);
        assert_eq!(need(Probe::Model).state(Path::new("."), true), PartState::There);
        assert_eq!(need(Probe::Variable("NO_SUCH_VARIABLE")).state(Path::new("."), true), PartState::Extra);
    }
}
