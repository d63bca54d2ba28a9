//! One Redis server.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::certificate::Certificate;
use super::process::Process;
use super::resp::{Reply, talk};

/// How long a server may take for a step: to start, to find others, to elect a master.
const PATIENCE: Duration = Duration::from_secs(30);

/// How a server is started.
#[derive(Debug, Clone, Default)]
pub struct RedisOptions {
    /// The password of the default user.
    pub password: Option<String>,
    /// A user and the rules for it, as `ACL SETUSER` takes them.
    pub user: Option<(String, String)>,
    /// Speak TLS with this certificate, and ask clients for one that it has signed.
    pub certificate: Option<PathBuf>,
    /// Further lines of its configuration: names and values.
    pub settings: Vec<(String, String)>,
}

impl RedisOptions {
    /// Adds a line of the configuration.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.settings.push((name.to_owned(), value.to_string()));
        self
    }
}

/// A Redis server.
#[derive(Debug)]
pub struct RedisServer {
    port: u16,
    options: RedisOptions,
    folder: TempDir,
    process: Option<Process>,
}

impl RedisServer {
    /// A server for a test, or `None`, with a note that the test is left out, where this machine has no Redis.
    ///
    /// # Panics
    ///
    /// If it can't be started, and `CI` or `EMBED_REQUIRE` is set.
    pub async fn require(options: RedisOptions) -> Option<Self> {
        crate::require("redis-server", Self::start(options).await)
    }

    /// Starts a server and waits until it answers.
    ///
    /// # Errors
    ///
    /// Why it can't.
    pub async fn start(options: RedisOptions) -> Result<Self, String> {
        installed()?;
        let folder = TempDir::new().map_err(|error| error.to_string())?;
        let mut server = Self { port: free_port()?, options, folder, process: None };
        server.up().await?;
        Ok(server)
    }

    /// Starts it again after [`stop`](Self::stop), empty, at the same port.
    ///
    /// # Panics
    ///
    /// If it doesn't start.
    pub async fn restart(&mut self) {
        self.up().await.unwrap_or_else(|error| panic!("redis-server: {error}"));
    }

    /// The same as another kind of server, such as one of a cluster.
    ///
    /// # Panics
    ///
    /// If it doesn't start.
    pub async fn restart_as(&mut self, options: RedisOptions) {
        self.options = options;
        self.restart().await;
    }

    /// Kills it.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// Pauses it: its connections stay open, and nothing is answered.
    pub fn freeze(&self) {
        self.running().signal("STOP");
    }

    /// Resumes it.
    pub fn thaw(&self) {
        self.running().signal("CONT");
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its URL, without a user.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Sends a command, with the password of the default user.
    ///
    /// # Panics
    ///
    /// If it can't be reached. What Redis refuses is a [`Reply::Error`].
    pub fn command<B: AsRef<[u8]>>(&self, command: &[B]) -> Reply {
        let command: Vec<&[u8]> = command.iter().map(AsRef::as_ref).collect();
        let sent = match &self.options.password {
            Some(password) => talk(self.port, &[&[b"AUTH", password.as_bytes()], &command]),
            None => talk(self.port, &[&command]),
        };
        sent.unwrap_or_else(|error| panic!("redis at port {}: {error}", self.port))
    }

    /// Sends a command written as words, such as `CONFIG SET maxmemory 2mb`, and expects that it succeeds.
    ///
    /// # Panics
    ///
    /// If Redis refuses it or can't be reached.
    pub fn tell(&self, command: &str) -> Reply {
        let reply = self.command(&command.split(' ').collect::<Vec<_>>());
        assert!(!matches!(reply, Reply::Error(_)), "{command}: {reply:?}");
        reply
    }

    /// All keys.
    ///
    /// # Panics
    ///
    /// If Redis can't be reached.
    #[must_use]
    pub fn keys(&self) -> Vec<Vec<u8>> {
        self.tell("KEYS *").list().iter().map(|key| key.bytes().to_vec()).collect()
    }

    /// Flips a bit in the last byte of every value under a prefix; the time to live stays. Returns the number of values.
    ///
    /// # Panics
    ///
    /// If Redis can't be reached.
    pub fn flip_bits(&self, prefix: &[u8]) -> usize {
        let keys = self.keys();
        let ours = keys.iter().filter(|key| key.starts_with(prefix));
        ours.map(|key| {
            let length = self.command(&[b"STRLEN", key.as_slice()]).number();
            let at = (length - 1).to_string();
            let byte = self.command(&[b"GETRANGE", key.as_slice(), at.as_bytes(), at.as_bytes()]);
            let turned: Vec<u8> = byte.bytes().iter().map(|byte| byte ^ 0x40).collect();
            self.command(&[b"SETRANGE", key.as_slice(), at.as_bytes(), &turned]).number();
        })
        .count()
    }

    /// A line of `INFO`.
    ///
    /// # Panics
    ///
    /// If there is no such line, or Redis can't be reached.
    #[must_use]
    pub fn info(&self, name: &str) -> String {
        let info = self.tell("INFO all").text();
        let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("INFO has no {name}")).trim().to_owned()
    }

    /// How often a command was executed.
    ///
    /// # Panics
    ///
    /// If Redis can't be reached.
    #[must_use]
    pub fn calls(&self, command: &str) -> u64 {
        let info = self.tell("INFO commandstats").text();
        let start = format!("cmdstat_{command}:calls=");
        let line = info.lines().find_map(|line| line.strip_prefix(&start)?.split(',').next());
        line.map_or(0, |calls| calls.parse().unwrap_or_else(|_| panic!("{calls}")))
    }

    fn running(&self) -> &Process {
        self.process.as_ref().unwrap_or_else(|| panic!("this Redis was stopped"))
    }

    async fn up(&mut self) -> Result<(), String> {
        let mut arguments = listening(self.port, self.folder.path(), self.options.certificate.as_deref());
        let mut set = |name: &str, value: &str| arguments.extend([format!("--{name}"), value.to_owned()]);
        set("save", "");
        set("appendonly", "no");
        // A replica gets its data over the socket, without a delay.
        set("repl-diskless-sync-delay", "0");
        set("repl-diskless-load", "swapdb");
        if let Some(password) = &self.options.password {
            set("requirepass", password);
        }
        for (name, value) in &self.options.settings {
            set(name, value);
        }
        if let Some((user, rules)) = &self.options.user {
            arguments.push("--user".to_owned());
            arguments.push(user.clone());
            arguments.extend(rules.split(' ').map(str::to_owned));
        }
        self.process = Some(Process::start("redis-server", &arguments)?);
        self.answers().await
    }

    /// Waits until it answers.
    async fn answers(&self) -> Result<(), String> {
        if self.options.certificate.is_some() {
            let taken = || std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok();
            return until("redis-server listens", taken).await;
        }
        let pong = || {
            // Without the password it refuses, which is an answer too.
            let reply = talk(self.port, &[&[b"PING"]]);
            matches!(reply, Ok(Reply::Status(_)))
                || matches!(reply, Ok(Reply::Error(error)) if error.starts_with("NOAUTH"))
        };
        until("redis-server answers", pong).await
    }
}

/// The configuration that every kind of server has.
fn listening(port: u16, folder: &Path, certificate: Option<&Path>) -> Vec<String> {
    let mut arguments: Vec<String> =
        ["--bind", "127.0.0.1", "--daemonize", "no", "--logfile", "/dev/null", "--dir"]
            .map(str::to_owned)
            .into();
    arguments.push(folder.display().to_string());
    match certificate {
        None => arguments.extend(["--port".to_owned(), port.to_string()]),
        Some(files) => {
            arguments.extend(["--port", "0", "--tls-port", &port.to_string()].map(str::to_owned));
            for (name, file) in [
                ("--tls-cert-file", Certificate::FILE),
                ("--tls-key-file", Certificate::KEY),
                ("--tls-ca-cert-file", Certificate::FILE),
            ] {
                arguments.extend([name.to_owned(), files.join(file).display().to_string()]);
            }
        }
    }
    arguments
}

fn installed() -> Result<(), String> {
    let found = std::process::Command::new("redis-server").arg("--version").output();
    found.map(drop).map_err(|error| format!("{error}; `apt-get install redis-server` brings it"))
}

/// Waits until a condition holds.
pub(super) async fn until(what: &str, mut is_so: impl FnMut() -> bool) -> Result<(), String> {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        if Instant::now() > end {
            return Err(format!("after {} s it is not so that {what}", PATIENCE.as_secs()));
        }
        sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

pub(super) fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    listener.local_addr().map(|address| address.port()).map_err(|error| error.to_string())
}
