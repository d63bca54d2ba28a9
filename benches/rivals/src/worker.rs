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
    /// Whether it has embedded anything.
    pub(crate) has_run: bool,
}

impl Worker {
    /// Starts the program and waits until its contender is ready, which its first answer says.
    pub(crate) fn start(command: &mut Command) -> Result<(Self, Answer)> {
        // What libraries print there is of no use in a report, and much.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child =
            command.spawn().with_context(|| format!("can't start {}", command.get_program().display()))?;
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().context("the worker has no output")?);
        let mut worker = Self { child, input, output, has_run: false };
        let ready = worker.read()?;
        Ok((worker, ready))
    }

    /// Gives an order and waits for its answer.
    pub(crate) fn order(&mut self, order: &Order) -> Result<Answer> {
        let mut line = serde_json::to_vec(order)?;
        line.push(b'\n');
        let input = self.input.as_mut().context("the worker has no input")?;
        input.write_all(&line).and_then(|()| input.flush()).context("the worker is gone")?;
        self.has_run |= !matches!(order, Order::Choose { .. });
        self.read()
    }

    /// The most memory that the process ever held, where the system tells.
    pub(crate) fn peak_mb(&self) -> Option<f64> {
        self.status_mb("VmHWM:")
    }

    /// The memory that it holds now.
    pub(crate) fn held_mb(&self) -> Option<f64> {
        self.status_mb("VmRSS:")
    }

    fn status_mb(&self, field: &str) -> Option<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix(field))?;
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
