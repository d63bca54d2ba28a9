//! The threads of a session, as kernels use them.

use std::sync::OnceLock;

use embed_kernels::Executor;
use ort::operator::ComputeContext;
use ort::{Error, Result};

use super::no_panic::no_panic;
use crate::preempt;

/// The threads of a session during a call of an operator.
pub(super) struct SessionThreads<'c> {
    context: &'c ComputeContext,
    threads: usize,
    /// What failed first.
    error: OnceLock<Error>,
}

impl<'c> SessionThreads<'c> {
    pub(super) fn new(context: &'c ComputeContext, threads: usize) -> Self {
        Self { context, threads, error: OnceLock::new() }
    }

    /// The error of the first piece that panicked, if any.
    pub(super) fn finish(self) -> Result<()> {
        self.error.into_inner().map_or(Ok(()), Err)
    }
}

impl Executor for SessionThreads<'_> {
    fn threads(&self) -> usize {
        self.threads
    }

    fn each(&self, count: usize, work: &(dyn Fn(usize) + Sync)) {
        if count < 2 || self.threads < 2 {
            return (0..count).for_each(work);
        }
        // C++ calls this from its own threads.
        let first_error = &self.error;
        let piece = |index| {
            let done = no_panic(|| {
                work(index);
                Ok(())
            });
            if let Err(error) = done {
                let _ = first_error.set(error);
            }
        };
        if let Err(error) = self.context.par_for(count, count, piece) {
            let _ = first_error.set(error);
        }
    }

    fn pause(&self) {
        preempt::point();
    }
}
