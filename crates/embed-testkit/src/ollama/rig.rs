//! Real servers, if the machine has them: by address, or by a script that starts them.
//!
//! - `EMBED_OLLAMA_0_5_4`, `EMBED_OLLAMA_0_9_3`: the address of a running server of that version.
//! - `EMBED_OLLAMA_RIG`: a program that is called as `… up VERSION PORT` and `… down PORT`, and starts a
//!   server that has the model `all-minilm`. With it, tests may kill servers, too.

use std::collections::HashMap;
use std::env;
use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, Weak};

use crate::lock::lock;

/// The variable that names the script.
pub const RIG_VARIABLE: &str = "EMBED_OLLAMA_RIG";

/// The part's name for `require`.
const PART: &str = "Ollama";

/// A real server. One that the script started ends when this is dropped.
#[derive(Debug)]
pub struct RealServer {
    url: String,
    version: String,
    started: Option<(PathBuf, u16)>,
}

/// A server of a version that the tests of one process share; `None`, with a note that the test is left out, where no
/// variable declares one.
///
/// # Panics
///
/// If one is declared, isn't there, and `CI` or `EMBED_REQUIRE` is set.
#[must_use]
pub fn require(version: &str) -> Option<Arc<RealServer>> {
    declared(version)?;
    crate::require(PART, shared(version))
}

/// A server of a version for one test, which may kill it. `None` and panics as [`require`].
#[must_use]
pub fn require_exclusive(version: &str) -> Option<RealServer> {
    // The server at an address is used by others, too.
    if env::var_os(RIG_VARIABLE).is_none_or(|script| script.is_empty()) {
        skip(version, RIG_VARIABLE);
        return None;
    }
    crate::require(PART, RealServer::start(version))
}

fn declared(version: &str) -> Option<()> {
    let set = |variable: &str| env::var_os(variable).is_some_and(|value| !value.is_empty());
    let variable = address_variable(version);
    if set(&variable) || set(RIG_VARIABLE) {
        return Some(());
    }
    skip(version, &format!("{RIG_VARIABLE} or {variable}"));
    None
}

fn skip(version: &str, variables: &str) {
    crate::left_out(PART, &format_args!("{variables} is not set, so there is no version {version}"));
}

fn address_variable(version: &str) -> String {
    format!("EMBED_OLLAMA_{}", version.replace('.', "_"))
}

fn shared(version: &str) -> Result<Arc<RealServer>, String> {
    static SHARED: Mutex<Option<HashMap<String, Weak<RealServer>>>> = Mutex::new(None);
    let mut shared = lock(&SHARED);
    let servers = shared.get_or_insert_default();
    if let Some(server) = servers.get(version).and_then(Weak::upgrade) {
        return Ok(server);
    }
    let variable = address_variable(version);
    let server = match env::var(&variable) {
        Ok(url) if !url.is_empty() => RealServer { url, version: version.to_owned(), started: None },
        _ => RealServer::start(version).map_err(|error| format!("{error}, and {variable} is not set"))?,
    };
    let server = Arc::new(server);
    servers.insert(version.to_owned(), Arc::downgrade(&server));
    Ok(server)
}

impl RealServer {
    /// Starts a server for one test, which may kill it.
    ///
    /// # Errors
    ///
    /// Why it can't be started.
    pub fn start(version: &str) -> Result<Self, String> {
        let script = script()?;
        let port = free_port().map_err(|error| error.to_string())?;
        let server = Self {
            url: format!("http://127.0.0.1:{port}"),
            version: version.to_owned(),
            started: Some((script, port)),
        };
        server.up()?;
        Ok(server)
    }

    /// Its base URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its version.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Starts it again, after it was killed.
    ///
    /// # Errors
    ///
    /// Why it can't be started.
    pub fn up(&self) -> Result<(), String> {
        let Some((_, port)) = &self.started else {
            return Err("this server isn't ours to start".to_owned());
        };
        self.run(&["up", &self.version, &port.to_string()])
    }

    /// Stops it, as the end of the process does.
    ///
    /// # Errors
    ///
    /// What the script says.
    pub fn down(&self) -> Result<(), String> {
        let Some((_, port)) = &self.started else {
            return Ok(());
        };
        self.run(&["down", &port.to_string()])
    }

    fn run(&self, args: &[&str]) -> Result<(), String> {
        // One at a time: two servers of a version share the folder of their models.
        static TURN: Mutex<()> = Mutex::new(());
        let _turn = lock(&TURN);
        let Some((script, _)) = &self.started else {
            return Ok(());
        };
        let output = Command::new(script)
            .args(args)
            .output()
            .map_err(|error| format!("{}: {error}", script.display()))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(format!("{} {}: {said}", script.display(), args.join(" ")))
    }

    /// Sends a signal (`KILL`, `STOP`, `CONT`) to the server's own process, without its runners.
    ///
    /// # Errors
    ///
    /// If there is no such process.
    pub fn signal_server(&self, signal: &str) -> Result<(), String> {
        self.signal(signal, "serve")
    }

    /// Sends a signal to the processes that hold the model.
    ///
    /// # Errors
    ///
    /// If there is no such process.
    pub fn signal_runner(&self, signal: &str) -> Result<(), String> {
        self.signal(signal, "runner")
    }

    fn signal(&self, signal: &str, part: &str) -> Result<(), String> {
        let Some((_, port)) = self.started else {
            return Err("this server isn't ours to kill".to_owned());
        };
        let processes = processes(port, part);
        if processes.is_empty() {
            return Err(format!("there is no process `{part}` at port {port}"));
        }
        for process in processes {
            // One of them may have ended by now.
            let _ = crate::signal(signal, process);
        }
        Ok(())
    }
}

impl Drop for RealServer {
    fn drop(&mut self) {
        // A process that is paused doesn't end. The tests are over, so the result doesn't matter.
        let _ = self.signal("CONT", "serve");
        let _ = self.down();
    }
}

fn script() -> Result<PathBuf, String> {
    match env::var_os(RIG_VARIABLE) {
        Some(script) if !script.is_empty() => Ok(script.into()),
        _ => Err(format!("{RIG_VARIABLE} is not set")),
    }
}

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// The processes of a server: the script puts its port into their environment.
fn processes(port: u16, part: &str) -> Vec<u32> {
    let host = format!("OLLAMA_HOST=127.0.0.1:{port}");
    let folders = fs::read_dir("/proc").into_iter().flatten().flatten();
    folders
        .filter_map(|folder| {
            let id = folder.file_name().to_str()?.parse().ok()?;
            let environment = fs::read(folder.path().join("environ")).ok()?;
            let ours = environment.split(|byte| *byte == 0).any(|entry| entry == host.as_bytes());
            let command = fs::read(folder.path().join("cmdline")).ok()?;
            let command = String::from_utf8_lossy(&command).replace('\0', " ");
            let is_part = match part {
                "serve" => command.contains(" serve"),
                _ => command.contains(" runner ") || command.contains("llama_server"),
            };
            (ours && is_part).then_some(id)
        })
        .collect()
}
