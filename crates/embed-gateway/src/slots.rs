//! Which connections there are, and which goes when there are too many: a bound for all, a share for each address,
//! and a way to close those whose request hasn't come.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::auth::Caller;
use crate::config::Limits;

/// How long a connection may be without the head of a request before another one may take its place. A request that
/// is under way arrives in less; half-open sockets have all the time in the world.
pub(crate) const GRACE: Duration = Duration::from_millis(20);

/// The connections of a listener.
#[derive(Debug)]
pub(crate) struct Slots {
    limit: usize,
    share: usize,
    table: Mutex<Table>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct Table {
    /// The oldest first.
    open: BTreeMap<u64, (Caller, Arc<Connection>)>,
    by_address: HashMap<Caller, usize>,
    last: u64,
}

/// One of the connections that there may be, given back on drop.
#[derive(Debug)]
pub(crate) struct Slot {
    slots: Arc<Slots>,
    id: u64,
    pub(crate) connection: Arc<Connection>,
}

/// Why there is no slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoSlot {
    /// The address has its share, and uses it.
    Share,
    /// All are in use; one may be free, or in use for nothing, after [`GRACE`].
    All,
}

/// What is done when an answer is with the network; dropped without a call if it never gets there.
pub(crate) type AtEnd = Box<dyn FnOnce() + Send>;

/// What a connection is doing.
pub(crate) struct Connection {
    phase: Mutex<Phase>,
    closing: Notify,
    /// Answers that are made and not yet with the network.
    ending: Mutex<Vec<AtEnd>>,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    /// The head of a request is awaited or has begun; `starved` if all that has come of it was read.
    Head { since: Instant, starved: bool },
    /// Between two requests.
    Idle { since: Instant },
    /// A request is being answered.
    Busy,
}

impl Slots {
    pub(crate) fn new(limit: usize, share: usize) -> Arc<Self> {
        Arc::new(Self { limit, share, table: Mutex::default(), freed: Notify::new() })
    }

    /// A slot for a connection of this address. If there is none, the oldest connection without a request gives its
    /// own up: of this address if that has its share, else of the address that has most of those.
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

    /// Waits until it is worthwhile to try again.
    pub(crate) async fn freed(&self) {
        // Whoever became half-open since then doesn't say so.
        let _ = tokio::time::timeout(GRACE, self.freed.notified()).await;
    }

    /// Connections that are open.
    pub(crate) fn open(&self) -> usize {
        lock(&self.table).open.len()
    }

    /// The most that may be open.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }
}

impl Table {
    /// Those without a request that have had their time, the oldest first.
    fn half_open(&self, now: Instant) -> impl Iterator<Item = (u64, Caller)> {
        let may_go = move |connection: &Connection| connection.is_half_open(now);
        self.open.iter().filter(move |(_, (_, c))| may_go(c)).map(|(id, (of, _))| (*id, *of))
    }

    fn close(&mut self, id: u64) {
        if let Some(connection) = self.remove(id) {
            connection.closing.notify_one();
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
    /// Whether idle connections would soon keep new ones out, of all addresses or of this one.
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

impl Connection {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            phase: Mutex::new(Phase::Head { since: now, starved: false }),
            closing: Notify::new(),
            ending: Mutex::default(),
        }
    }

    fn is_half_open(&self, now: Instant) -> bool {
        match *lock(&self.phase) {
            Phase::Head { since, starved } => starved && now.duration_since(since) >= GRACE,
            _ => false,
        }
    }

    /// Bytes of a request came.
    pub(crate) fn received(&self) {
        let mut phase = lock(&self.phase);
        match &mut *phase {
            Phase::Idle { .. } => *phase = Phase::Head { since: Instant::now(), starved: false },
            Phase::Head { starved, .. } => *starved = false,
            Phase::Busy => {}
        }
    }

    /// More was wanted than had come.
    pub(crate) fn starved(&self) {
        if let Phase::Head { starved, .. } = &mut *lock(&self.phase) {
            *starved = true;
        }
    }

    /// A request is whole up to its body.
    pub(crate) fn busy(self: &Arc<Self>) -> Busy {
        *lock(&self.phase) = Phase::Busy;
        Busy(Arc::clone(self))
    }

    /// Does this once the answer is with the network.
    pub(crate) fn at_end(&self, end: AtEnd) {
        lock(&self.ending).push(end);
    }

    /// All that was to be sent is with the network.
    pub(crate) fn flushed(&self) {
        let ended = std::mem::take(&mut *lock(&self.ending));
        ended.into_iter().for_each(|end| end());
    }

    /// Waits until the connection has to go: its head or its next request takes too long, or another one needs the
    /// slot.
    pub(crate) async fn expired(&self, limits: &Limits) {
        let look = limits.header_timeout.min(limits.idle_timeout);
        loop {
            let due = match *lock(&self.phase) {
                Phase::Head { since, .. } => Some(since + limits.header_timeout),
                Phase::Idle { since } => Some(since + limits.idle_timeout),
                Phase::Busy => None,
            };
            let now = Instant::now();
            if due.is_some_and(|due| due <= now) {
                return;
            }
            let wake = due.unwrap_or(now + look).min(now + look);
            tokio::select! {
                () = tokio::time::sleep_until(wake) => {}
                () = self.closing.notified() => return,
            }
        }
    }
}

/// A request is being answered until this is dropped.
#[derive(Debug)]
pub(crate) struct Busy(Arc<Connection>);

impl Drop for Busy {
    fn drop(&mut self) {
        *lock(&self.0.phase) = Phase::Idle { since: Instant::now() };
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("phase", &self.phase).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing in here panics half-way.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use embed_testkit::VirtualTime;
    use futures::FutureExt;

    use super::*;

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
        // The oldest without a request went.
        let limits = Limits::default();
        assert!(open[1].connection.expired(&limits).now_or_never().is_some());
        assert!(open[0].connection.expired(&limits).now_or_never().is_none());
        assert!(open[2].connection.expired(&limits).now_or_never().is_none());
        drop(open);
        assert_eq!(slots.open(), 1, "a slot that was taken away isn't given back twice");
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
        // One that is idle is the client's to use again; one whose next request has begun and stays away isn't.
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

    /// Each time-out is of its own phase, whatever the other one is.
    #[tokio::test(start_paused = true)]
    async fn a_head_and_an_idle_connection_have_times_of_their_own() {
        for (header, idle) in [(30, 75), (75, 30)] {
            let (header, idle) = (Duration::from_secs(header), Duration::from_secs(idle));
            let limits = Limits { header_timeout: header, idle_timeout: idle, ..Limits::default() };
            let time = VirtualTime::start().await;
            let fresh = Connection::new(time.started());
            fresh.expired(&limits).await;
            assert_eq!(time.passed(), header);

            let used = Arc::new(Connection::new(Instant::now()));
            let busy = used.busy();
            tokio::time::advance(header + idle).await;
            assert!(used.expired(&limits).now_or_never().is_none(), "a request may take its time");
            drop(busy);
            let time = VirtualTime::start().await;
            used.expired(&limits).await;
            assert_eq!(time.passed(), idle);

            drop(used.busy());
            let almost = idle.checked_sub(Duration::from_secs(1)).unwrap();
            tokio::time::advance(almost).await;
            used.received();
            let time = VirtualTime::start().await;
            used.expired(&limits).await;
            assert_eq!(time.passed(), header);
        }
    }
}
