//! Connection slots: a limit for all connections, a share for each address, and closing of half-open connections when slots
//! run out.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

use super::connection::{Connection, GRACE};
use crate::caller::Caller;

/// The connections of a listener.
#[derive(Debug)]
pub(crate) struct Slots {
    limit: usize,
    share: usize,
    table: Mutex<SlotTable>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct SlotTable {
    /// The oldest first.
    open: BTreeMap<u64, (Caller, Arc<Connection>)>,
    by_address: HashMap<Caller, usize>,
    last: u64,
}

/// A slot for a connection, released on drop.
#[derive(Debug)]
pub(crate) struct Slot {
    slots: Arc<Slots>,
    id: u64,
    pub(crate) connection: Arc<Connection>,
}

/// Why there is no slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoSlot {
    /// The address uses all of its share.
    Share,
    /// All slots are in use; one may be free or half-open after [`GRACE`].
    All,
}

impl Slots {
    pub(crate) fn new(limit: usize, share: usize) -> Arc<Self> {
        Arc::new(Self { limit, share, table: Mutex::default(), freed: Notify::new() })
    }

    /// A slot for a connection of this address. If none is free, the oldest half-open connection is closed: of this address
    /// if its share is used up, else of the address with the most half-open ones.
    pub(crate) fn take(self: &Arc<Self>, address: Caller) -> Result<Slot, NoSlot> {
        let mut table = lock(&self.table);
        let now = Instant::now();
        if table.by_address.get(&address).is_some_and(|count| *count >= self.share) {
            let oldest = table.half_open(now).find(|(_, of)| *of == address).map(|(id, _)| id);
            table.close(oldest.ok_or(NoSlot::Share)?);
        }
        if table.open.len() >= self.limit {
            let mut counts = HashMap::<Caller, (usize, u64)>::new();
            for (id, of) in table.half_open(now) {
                counts.entry(of).or_insert((0, id)).0 += 1;
            }
            let most = counts.into_values().max_by_key(|(count, id)| (*count, u64::MAX - id));
            table.close(most.ok_or(NoSlot::All)?.1);
        }
        table.last += 1;
        let (id, connection) = (table.last, Arc::new(Connection::new(now)));
        table.open.insert(id, (address, Arc::clone(&connection)));
        *table.by_address.entry(address).or_default() += 1;
        Ok(Slot { slots: Arc::clone(self), id, connection })
    }

    /// Waits until another attempt may succeed.
    pub(crate) async fn freed(&self) {
        // A connection that becomes half-open doesn't notify.
        let _ = tokio::time::timeout(GRACE, self.freed.notified()).await;
    }

    /// The number of open connections.
    pub(crate) fn open(&self) -> usize {
        lock(&self.table).open.len()
    }

    /// The most connections that may be open.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }
}

impl SlotTable {
    /// The half-open connections, the oldest first.
    fn half_open(&self, now: Instant) -> impl Iterator<Item = (u64, Caller)> {
        let may_go = move |connection: &Connection| connection.is_half_open(now);
        self.open.iter().filter(move |(_, (_, c))| may_go(c)).map(|(id, (of, _))| (*id, *of))
    }

    fn close(&mut self, id: u64) {
        if let Some(connection) = self.remove(id) {
            connection.close();
        }
    }

    fn remove(&mut self, id: u64) -> Option<Arc<Connection>> {
        let (address, connection) = self.open.remove(&id)?;
        if let Some(count) = self.by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&address);
            }
        }
        Some(connection)
    }
}

impl Slot {
    /// Whether slots are nearly used up, in total or for this address, so that idle connections should be closed.
    pub(crate) fn is_scarce(&self) -> bool {
        let nearly = |count: usize, most: usize| count > most - most / 8;
        let table = lock(&self.slots.table);
        let of_address = table.open.get(&self.id).and_then(|(address, _)| table.by_address.get(address));
        nearly(table.open.len(), self.slots.limit)
            || of_address.is_some_and(|count| nearly(*count, self.slots.share))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        lock(&self.slots.table).remove(self.id);
        self.slots.freed.notify_one();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while the lock is held.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;
    use crate::limits::Limits;

    const ONE: Caller = Caller::Key(1);
    const OTHER: Caller = Caller::Key(2);

    fn half_open(slots: &Arc<Slots>, of: Caller, count: usize) -> Vec<Slot> {
        let open: Vec<_> = (0..count).map(|_| slots.take(of).unwrap()).collect();
        open.iter().for_each(|slot| slot.connection.starved());
        open
    }

    #[tokio::test(start_paused = true)]
    async fn half_open_connections_give_way_and_busy_ones_do_not() {
        let slots = Slots::new(4, 4);
        let open = half_open(&slots, ONE, 4);
        let _busy = open[0].connection.busy();
        assert_eq!(slots.take(OTHER).unwrap_err(), NoSlot::All, "they may still send their head");
        tokio::time::advance(GRACE).await;
        let _other = slots.take(OTHER).unwrap();
        assert_eq!(slots.open(), 4);
        // The oldest half-open connection was closed.
        let limits = Limits::default();
        assert!(open[1].connection.expired(&limits).now_or_never().is_some());
        assert!(open[0].connection.expired(&limits).now_or_never().is_none());
        assert!(open[2].connection.expired(&limits).now_or_never().is_none());
        drop(open);
        assert_eq!(slots.open(), 1, "a slot that was taken away isn't released twice");
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_has_its_share_and_no_more() {
        let slots = Slots::new(8, 2);
        let open = half_open(&slots, ONE, 2);
        let busy: Vec<_> = open.iter().map(|slot| slot.connection.busy()).collect();
        tokio::time::advance(GRACE).await;
        assert_eq!(slots.take(ONE).unwrap_err(), NoSlot::Share);
        let _other = slots.take(OTHER).unwrap();
        assert!(open[0].is_scarce() == open[1].is_scarce());
        // An idle connection isn't closed; one whose next request has begun but doesn't come is.
        drop(busy);
        assert_eq!(slots.take(ONE).unwrap_err(), NoSlot::Share);
        open[0].connection.received();
        open[0].connection.starved();
        tokio::time::advance(GRACE).await;
        let _next = slots.take(ONE).unwrap();
        assert!(open[0].connection.expired(&Limits::default()).now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn of_many_half_open_ones_those_of_the_address_with_most_go() {
        let slots = Slots::new(4, 4);
        let few = half_open(&slots, OTHER, 1);
        let many = half_open(&slots, ONE, 3);
        tokio::time::advance(GRACE).await;
        let _new = slots.take(Caller::Key(3)).unwrap();
        assert!(many[0].connection.expired(&Limits::default()).now_or_never().is_some());
        assert!(few[0].connection.expired(&Limits::default()).now_or_never().is_none());
    }
}
