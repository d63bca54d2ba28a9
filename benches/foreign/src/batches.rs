//! Texts sorted by length, in batches, which several workers take in turns.

use std::cmp::Reverse;
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::{Result, anyhow};

/// A vector for each text.
pub(crate) type Rows = Vec<Vec<f32>>;

/// Has workers embed the texts of these lengths, the longest first: `embed` is given the places of a batch.
pub(crate) fn sorted_batches<W: Sync>(
    lengths: &[usize],
    batch: usize,
    workers: &[W],
    embed: impl Fn(&W, &[usize]) -> Result<Rows> + Sync,
) -> Result<Rows> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|&i| Reverse(lengths[i]));
    let batches = Mutex::new(order.chunks(batch));
    let rows = Mutex::new(vec![Vec::new(); lengths.len()]);
    let work = |worker: &W| -> Result<()> {
        loop {
            let next = batches.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(batch) = next else { return Ok(()) };
            let vectors = embed(worker, batch)?;
            let mut rows = rows.lock().unwrap_or_else(PoisonError::into_inner);
            batch.iter().zip(vectors).for_each(|(&i, vector)| rows[i] = vector);
        }
    };
    thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = workers.iter().map(|worker| scope.spawn(move || work(worker))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| anyhow!("a thread panicked"))?)
    })?;
    Ok(rows.into_inner().unwrap_or_else(PoisonError::into_inner))
}
