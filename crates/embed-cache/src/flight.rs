//! Single-flight: one call at a time for a key, whoever asks for it.
//!
//! A flight is one call for some keys. It belongs to all who wait for it, and whoever of them is there drives it:
//! the caller that began it may go away, and another one takes over where it stands. When the last one goes, it is
//! dropped, and with it the call of the back end.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use embed_core::{Deadline, EmbedResponse, Error, ErrorKind, Truncation};
use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};

use crate::{Key, Namespace, Value};

/// What came out of a flight: a row for each of its keys.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) response: Arc<EmbedResponse>,
    /// How long texts were cut.
    pub(crate) truncation: Truncation,
    /// For each row the key that it is kept under.
    pub(crate) kept: Vec<Key>,
    /// The error of the back end's call, if there was one.
    pub(crate) error: Option<Error>,
    /// The deadline of the caller that began it.
    pub(crate) deadline: Deadline,
}

type Flight = Shared<BoxFuture<'static, Arc<Outcome>>>;

/// The flights of one embedder.
#[derive(Default)]
pub(crate) struct Flights {
    state: Mutex<FlightTable>,
}

#[derive(Default)]
struct FlightTable {
    entries: HashMap<Key, Entry>,
    next: u64,
}

/// Where the row of a key will be, or is until it is stored in every tier.
struct Entry {
    flight: u64,
    row: usize,
    progress: Progress,
}

enum Progress {
    Running(WeakShared<BoxFuture<'static, Arc<Outcome>>>),
    Done(Arc<Outcome>),
}

/// A caller's way to a flight.
pub(crate) struct Waiter {
    id: u64,
    arrival: Arrival,
    /// Whether this caller began it.
    pub(crate) leads: bool,
}

enum Arrival {
    Running(Flight),
    Done(Arc<Outcome>),
}

/// The row of a key: which waiter, which row of that flight.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RowPlace {
    pub(crate) waiter: usize,
    pub(crate) row: usize,
}

/// The keys that a flight answers for. While it lives, others find the flight by them.
pub(crate) struct Claim {
    flights: Arc<Flights>,
    id: u64,
    pub(crate) keys: Vec<Key>,
    /// The keys that its rows are kept under, once it is over.
    kept: OnceLock<Vec<Key>>,
}

impl Flights {
    /// Finds the flights for some different keys, and begins one for those that have none: `begin` gets the claim
    /// and the positions of its keys among `keys`. A row of the same text that was cut as `cut` says will do too.
    pub(crate) fn join(
        self: &Arc<Self>,
        keys: &[&Key],
        cut: Truncation,
        begin: impl FnOnce(Claim, Vec<usize>) -> BoxFuture<'static, Arc<Outcome>>,
    ) -> (Vec<Waiter>, Vec<RowPlace>) {
        let mut waiters: Vec<Waiter> = Vec::new();
        let mut places = Vec::with_capacity(keys.len());
        let mut unclaimed = Vec::new();
        let mut state = self.lock();
        for (position, key) in keys.iter().enumerate() {
            let find = |key: &Key| state.entries.get(key).and_then(|entry| Some((entry, entry.arrival()?)));
            let Some((entry, arrival)) = find(key).or_else(|| find(&key.cut(cut))) else {
                // The waiter of the flight that is to begin is the last one, and isn't there yet.
                places.push(RowPlace { waiter: usize::MAX, row: unclaimed.len() });
                unclaimed.push(position);
                continue;
            };
            let waiter = waiters.iter().position(|waiter| waiter.id == entry.flight).unwrap_or_else(|| {
                waiters.push(Waiter { id: entry.flight, arrival, leads: false });
                waiters.len() - 1
            });
            places.push(RowPlace { waiter, row: entry.row });
        }
        if !unclaimed.is_empty() {
            let id = state.next;
            state.next += 1;
            let claimed: Vec<Key> = unclaimed.iter().map(|&position| keys[position].clone()).collect();
            let claim = Claim { flights: Arc::clone(self), id, keys: claimed.clone(), kept: OnceLock::new() };
            let flight = begin(claim, unclaimed).shared();
            for (row, key) in claimed.into_iter().enumerate() {
                // Nobody has polled it yet, so there is something to point at.
                if let Some(weak) = flight.downgrade() {
                    state.entries.insert(key, Entry { flight: id, row, progress: Progress::Running(weak) });
                }
            }
            for place in places.iter_mut().filter(|place| place.waiter == usize::MAX) {
                place.waiter = waiters.len();
            }
            waiters.push(Waiter { id, arrival: Arrival::Running(flight), leads: true });
        }
        (waiters, places)
    }

    /// Forgets some keys: flights for them go on, but nobody joins them any more, and their rows aren't stored.
    pub(crate) fn forget(&self, keys: &[Key]) {
        let mut state = self.lock();
        for key in keys {
            state.entries.remove(key);
            // The flight may not know yet that the text will be cut.
            state.entries.remove(&key.whole());
        }
    }

    /// Forgets the keys of a namespace, or all.
    pub(crate) fn forget_all(&self, namespace: Option<&Namespace>) {
        self.lock().entries.retain(|key, _| namespace.is_some_and(|namespace| key.namespace() != namespace));
    }

    fn lock(&self) -> MutexGuard<'_, FlightTable> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outcome {
    /// Whether a row is what a caller gets who allows this cut: one of the whole text, one that was cut that way, or
    /// an error that isn't about the length.
    pub(crate) fn suits(&self, row: usize, truncation: Truncation) -> bool {
        let is_about_length = |error: &Error| error.kind() == ErrorKind::InputTooLong;
        self.truncation == truncation
            || match self.response.row(row) {
                Ok(_) => self.kept[row].is_whole(),
                Err(error) => !is_about_length(error),
            }
    }
}

impl FlightTable {
    fn belongs(&self, key: &Key, flight: u64) -> bool {
        self.entries.get(key).is_some_and(|entry| entry.flight == flight)
    }
}

impl Entry {
    /// `None` if everybody who waited has gone.
    fn arrival(&self) -> Option<Arrival> {
        match &self.progress {
            Progress::Running(flight) => flight.upgrade().map(Arrival::Running),
            Progress::Done(outcome) => Some(Arrival::Done(Arc::clone(outcome))),
        }
    }
}

impl Waiter {
    pub(crate) async fn wait(&self) -> Arc<Outcome> {
        match &self.arrival {
            Arrival::Running(flight) => flight.clone().await,
            Arrival::Done(outcome) => Arc::clone(outcome),
        }
    }
}

impl Claim {
    /// For each key, whether its row is still wanted.
    pub(crate) fn wanted(&self) -> Vec<bool> {
        let state = self.flights.lock();
        self.keys.iter().map(|key| state.belongs(key, self.id)).collect()
    }

    /// The flight is over: from now on its good rows are given at once, and who asks for a failed one tries anew.
    /// `store` is called with, for each key, whether its row is still wanted; nobody can
    /// [forget](Flights::forget) one meanwhile.
    pub(crate) fn finish(&self, outcome: &Arc<Outcome>, store: impl FnOnce(&[bool])) {
        let mut state = self.flights.lock();
        let mut wanted = Vec::with_capacity(self.keys.len());
        for (row, (key, kept)) in self.keys.iter().zip(&outcome.kept).enumerate() {
            if !state.belongs(key, self.id) {
                wanted.push(false);
                continue;
            }
            let good = outcome.response.row(row).is_ok();
            // A text that was cut isn't what others ask for who allow no cut, or another one.
            if !good || kept != key {
                state.entries.remove(key);
            }
            let free = kept == key || !state.entries.contains_key(kept);
            if good && free {
                let progress = Progress::Done(Arc::clone(outcome));
                state.entries.insert(kept.clone(), Entry { flight: self.id, row, progress });
            }
            wanted.push(free);
        }
        // A flight ends once.
        let _ = self.kept.set(outcome.kept.clone());
        store(&wanted);
    }

    /// Leaves out what was [forgotten](Flights::forget) since the flight was over.
    pub(crate) fn keep_wanted(&self, entries: &mut Vec<(Key, Value)>) {
        let state = self.flights.lock();
        entries.retain(|(key, _)| state.belongs(key, self.id));
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut state = self.flights.lock();
        for key in self.keys.iter().chain(self.kept.get().into_iter().flatten()) {
            if state.belongs(key, self.id) {
                state.entries.remove(key);
            }
        }
    }
}

impl fmt::Debug for Flights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flights").field("keys", &self.lock().entries.len()).finish()
    }
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claim").field("id", &self.id).field("keys", &self.keys.len()).finish_non_exhaustive()
    }
}
