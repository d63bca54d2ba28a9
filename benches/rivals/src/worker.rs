//! The driver's end of a worker: a contender in a process of its own.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};
use embed_rivals_worker::{Answer, Order};

/// A running worker. Dropping it closes its input, upon which it ends, and waits for that.
pub(crate) struct Worker {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    /// How the contender runs, in its own words.
    pub(crate) setting: String,
    /// What it can be told to choose from.
    pub(crate) choices: Vec<String>,
}

impl Worker {
    /// Starts the program and waits until its contender is ready.
    pub(crate) fn start(mut command: Command) -> Result<Self> {
        // What libraries print there is of no use in a report, and much.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child =
            command.spawn().with_context(|| format!("can't start {}", command.get_program().display()))?;
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().context("the worker has no output")?);
        let mut worker = Self { child, input, output, setting: String::new(), choices: Vec::new() };
        let ready = worker.read()?;
        (worker.setting, worker.choices) = (ready.setting.unwrap_or_default(), ready.choices);
        Ok(worker)
    }

    /// Gives an order and waits for its answer.
    pub(crate) fn order(&mut self, order: &Order) -> Result<Answer> {
        let mut line = serde_json::to_vec(order)?;
        line.push(b'\n');
        let input = self.input.as_mut().context("the worker has no input")?;
        input.write_all(&line).and_then(|()| input.flush()).context("the worker is gone")?;
        let answer = self.read()?;
        if let Some(setting) = &answer.setting {
            self.setting.clone_from(setting);
        }
        Ok(answer)
    }

    /// The most memory that the process ever held, where the system tells.
    pub(crate) fn peak_mb(&self) -> Option<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        let kib: f64 = line.split_whitespace().next()?.parse().ok()?;
        Some(kib / 1000.0 * 1.024)
    }

    fn read(&mut self) -> Result<Answer> {
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            bail!("the worker ended: {}", self.child.wait()?);
        }
        let answer: Answer =
            serde_json::from_str(&line).context("the worker answered something else than JSON")?;
        match answer.error {
            Some(error) => bail!(error),
            None => Ok(answer),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.input.take());
        // It has nothing more to do; what it says at its end changes no figure.
        let _ = self.child.wait();
    }
}
