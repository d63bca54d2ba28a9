//! Single-flight: one call at a time for a key, however many callers request it.
//!
//! A flight is one call for some keys. All callers that wait for it share it, and any of them drives it: if the caller
//! that began it is cancelled, another one takes over. When the last one is cancelled, the flight is dropped, and with
//! it the call of the back end.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use embed_core::{Deadline, EmbedResponse, Error, ErrorKind, Truncation};
use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};

use crate::{Key, Namespace, Value};

/// The result of a flight: a row for each of its keys.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) response: Arc<EmbedResponse>,
    /// How long texts were cut.
    pub(crate) truncation: Truncation,
    /// For each row, the key under which it is stored.
    pub(crate) kept: Vec<Key>,
    /// The error of the back end's call, if there was one.
    pub(crate) error: Option<Error>,
    /// The deadline of the caller that began the flight.
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
    entries: HashMap<Key, FlightEntry>,
    next: u64,
}

/// The flight and row of a key, until the row is stored in every tier.
struct FlightEntry {
    flight: u64,
    row: usize,
    progress: Progress,
}

enum Progress {
    Running(WeakShared<BoxFuture<'static, Arc<Outcome>>>),
    Done(Arc<Outcome>),
}

/// A caller's handle to a flight.
pub(crate) struct Waiter {
    id: u64,
    arrival: Arrival,
    /// Whether this caller began the flight.
    pub(crate) leads: bool,
}

enum Arrival {
    Running(Flight),
    Done(Arc<Outcome>),
}

/// The row of a key: the index of the waiter and of the row in its flight.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RowPlace {
    pub(crate) waiter: usize,
    pub(crate) row: usize,
}

/// The keys of a flight. While it lives, other callers find the flight by them.
pub(crate) struct Claim {
    flights: Arc<Flights>,
    id: u64,
    pub(crate) keys: Vec<Key>,
    /// The keys under which its rows are stored, once the flight has finished.
    kept: OnceLock<Vec<Key>>,
}

impl Flights {
    /// Finds the flights of distinct keys, and begins one for the keys that have none: `begin` gets the claim and the
    /// positions of its keys in `keys`. A row of the same text that was cut by `cut` will do too.
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
                // The index of the new flight's waiter isn't known yet.
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
                // It hasn't been polled yet, so the downgrade succeeds.
                if let Some(weak) = flight.downgrade() {
                    state
                        .entries
                        .insert(key, FlightEntry { flight: id, row, progress: Progress::Running(weak) });
                }
            }
            for place in places.iter_mut().filter(|place| place.waiter == usize::MAX) {
                place.waiter = waiters.len();
            }
            waiters.push(Waiter { id, arrival: Arrival::Running(flight), leads: true });
        }
        (waiters, places)
    }

    /// Forgets some keys: their flights go on, but no caller joins them any more, and their rows aren't stored.
    pub(crate) fn forget(&self, keys: &[Key]) {
        let mut state = self.lock();
        for key in keys {
            state.entries.remove(key);
            // The flight may not know yet whether the text is cut.
            state.entries.remove(&key.whole());
        }
    }

    /// Forgets all keys of a namespace, or with `None` all keys.
    pub(crate) fn forget_all(&self, namespace: Option<&Namespace>) {
        self.lock().entries.retain(|key, _| namespace.is_some_and(|namespace| key.namespace() != namespace));
    }

    fn lock(&self) -> MutexGuard<'_, FlightTable> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outcome {
    /// Whether a row is valid for a caller with this truncation: it is of the whole text, was cut that way, or is an
    /// error that isn't about the length.
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

impl FlightEntry {
    /// `None` if all waiting callers were cancelled.
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
    /// For each key, whether its row is still wanted, that is, not [forgotten](Flights::forget).
    pub(crate) fn wanted(&self) -> Vec<bool> {
        let state = self.flights.lock();
        self.keys.iter().map(|key| state.belongs(key, self.id)).collect()
    }

    /// The flight has finished: from now on its good rows are returned at once, and a request for a failed one begins a
    /// new flight. `store` is called with, for each key, whether its row is still wanted; no row can be
    /// [forgotten](Flights::forget) meanwhile.
    pub(crate) fn finish(&self, outcome: &Arc<Outcome>, store: impl FnOnce(&[bool])) {
        let mut state = self.flights.lock();
        let mut wanted = Vec::with_capacity(self.keys.len());
        for (row, (key, kept)) in self.keys.iter().zip(&outcome.kept).enumerate() {
            if !state.belongs(key, self.id) {
                wanted.push(false);
                continue;
            }
            let good = outcome.response.row(row).is_ok();
            // The row of a cut text isn't valid for callers that allow no cut, or another one.
            if !good || kept != key {
                state.entries.remove(key);
            }
            let free = kept == key || !state.entries.contains_key(kept);
            if good && free {
                let progress = Progress::Done(Arc::clone(outcome));
                state.entries.insert(kept.clone(), FlightEntry { flight: self.id, row, progress });
            }
            wanted.push(free);
        }
        // A flight finishes only once.
        let _ = self.kept.set(outcome.kept.clone());
        store(&wanted);
    }

    /// Drops the entries that were [forgotten](Flights::forget) since the flight finished.
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
