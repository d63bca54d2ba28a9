//! Whether the machine is free: a loop of arithmetic on every core at once, timed before and after whatever is measured.

use std::cell::{Cell, RefCell};
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
/// How often a run is repeated at most.
const REPEATS: usize = 2;

/// Measures on a machine that others may use, too.
pub(crate) struct Quiet {
    cores: usize,
    /// Seconds of the fastest loop so far, of the slowest core.
    fastest: Cell<f64>,
    /// Of each run that counts, seconds of the loop before it or after it, whichever was slower.
    runs: RefCell<Vec<f64>>,
    repeated: Cell<usize>,
}

impl Quiet {
    /// On so many cores.
    pub(crate) fn new(cores: usize) -> Self {
        let fastest = Cell::new(f64::INFINITY);
        Self { cores, fastest, runs: RefCell::default(), repeated: Cell::new(0) }
    }

    /// Does something on a free machine: if another process was busy before it or after it, it is done again, as long as
    /// `may_repeat` and at most twice.
    pub(crate) fn undisturbed<T>(
        &self,
        may_repeat: impl Fn() -> bool,
        mut work: impl FnMut() -> Result<T>,
    ) -> Result<T> {
        let mut repeats = REPEATS;
        loop {
            let before = self.look();
            let done = work()?;
            let slower = before.max(self.look());
            if self.is_free(slower) || repeats == 0 || !may_repeat() {
                self.runs.borrow_mut().push(slower);
                return Ok(done);
            }
            repeats -= 1;
            self.repeated.update(|repeated| repeated + 1);
        }
    }

    /// What a reader of the report should know, if anything was measured this way.
    pub(crate) fn summary(&self) -> Option<String> {
        let (runs, repeated) = (self.runs.borrow(), self.repeated.get());
        // By the fastest loop of all: the first ones may have been slow together.
        let disturbed = runs.iter().filter(|seconds| !self.is_free(**seconds)).count();
        (!runs.is_empty()).then(|| match (repeated, disturbed) {
            (0, 0) => format!("none was busy before or after any of {} runs", runs.len()),
            _ => format!(
                "busy before or after {disturbed} of {} runs that count; {repeated} others were repeated for that reason",
                runs.len()
            ),
        })
    }

    fn is_free(&self, seconds: f64) -> bool {
        seconds < SLOW * self.fastest.get()
    }

    /// Seconds of a loop on a machine that may still be coming to rest.
    fn look(&self) -> f64 {
        if self.fastest.get().is_infinite() {
            for _ in 0..FIRST {
                self.seconds();
            }
        }
        let mut least = f64::INFINITY;
        for _ in 0..LOOPS {
            least = least.min(self.seconds());
            if self.is_free(least) {
                break;
            }
        }
        least
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
