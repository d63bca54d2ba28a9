//! Whether the machine is free: a loop of arithmetic on every core at once, timed before and after whatever is measured.

use std::cell::Cell;
use std::hint::black_box;
use std::thread;
use std::time::Instant;

use anyhow::Result;

/// Steps of the loop, each of which needs the one before: some 10 ms.
const STEPS: u64 = 10_000_000;
/// Loops that look for the reference at the start of a run.
const FIRST: usize = 20;
/// Loops in a row that must all be slow before the machine counts as busy: threads of the contender before may still be
/// coming to rest.
const LOOPS: usize = 5;
/// So many times the fastest loop is slow. A core that is shared with one more thread takes twice as long.
const SLOW: f64 = 1.2;
/// How often a turn is repeated at most.
const REPEATS: usize = 2;

/// Measures in turns on a machine that others may use, too.
pub(crate) struct Quiet {
    cores: usize,
    /// Seconds of the fastest loop so far, of the slowest core.
    fastest: Cell<f64>,
    turns: Cell<usize>,
    repeated: Cell<usize>,
    disturbed: Cell<usize>,
}

impl Quiet {
    /// On so many cores.
    pub(crate) fn new(cores: usize) -> Self {
        let (turns, repeated, disturbed) = (Cell::new(0), Cell::new(0), Cell::new(0));
        Self { cores, fastest: Cell::new(f64::INFINITY), turns, repeated, disturbed }
    }

    /// Does something on a free machine: if another process was busy before it or after it, it is done again, as long as
    /// `may_repeat` and at most twice.
    pub(crate) fn turn<T>(
        &self,
        may_repeat: impl Fn() -> bool,
        mut work: impl FnMut() -> Result<T>,
    ) -> Result<T> {
        self.turns.update(|turns| turns + 1);
        for repeats_left in (0..=REPEATS).rev() {
            let free = self.is_free();
            let done = work()?;
            if free && self.is_free() {
                return Ok(done);
            }
            if repeats_left == 0 || !may_repeat() {
                self.disturbed.update(|disturbed| disturbed + 1);
                return Ok(done);
            }
            self.repeated.update(|repeated| repeated + 1);
        }
        unreachable!("the last try returns")
    }

    /// What a reader of the report should know.
    pub(crate) fn summary(&self) -> String {
        let (turns, repeated, disturbed) = (self.turns.get(), self.repeated.get(), self.disturbed.get());
        match (repeated, disturbed) {
            (0, 0) => format!("none was busy before or after any of {turns} turns"),
            _ => format!(
                "of {turns} turns {disturbed} were disturbed by others to the end; {repeated} repetitions of such turns"
            ),
        }
    }

    fn is_free(&self) -> bool {
        if self.fastest.get().is_infinite() {
            for _ in 0..FIRST {
                self.seconds();
            }
        }
        (0..LOOPS).any(|_| self.seconds() < SLOW * self.fastest.get())
    }

    /// How long the slowest core takes.
    fn seconds(&self) -> f64 {
        let core = || {
            let began = Instant::now();
            black_box(
                (0..STEPS)
                    .fold(black_box(1_u64), |state, step| state.wrapping_mul(0x5851_f42d_4c95_7f2d) ^ step),
            );
            began.elapsed().as_secs_f64()
        };
        let seconds = thread::scope(|scope| {
            let cores: Vec<_> = (0..self.cores).map(|_| scope.spawn(core)).collect();
            cores.into_iter().filter_map(|core| core.join().ok()).fold(0.0, f64::max)
        });
        self.fastest.set(self.fastest.get().min(seconds));
        seconds
    }
}
