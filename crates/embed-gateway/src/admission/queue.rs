//! A bounded queue that is fair between callers, as a state machine without clock or lock.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// Permits and waiters. A released permit goes to the next caller in turn, so a caller with a thousand waiting requests
/// gets no more than one with two.
///
/// `C` is a caller; `W` is how a waiter is woken.
#[derive(Debug)]
pub(crate) struct Queue<C, W> {
    free: usize,
    /// The number of waiters that may be refused; those of requests in flight aren't counted.
    bounded: usize,
    bound: usize,
    waiting: usize,
    lines: HashMap<C, VecDeque<Waiter<W>>>,
    /// The callers that have a line, the next one first.
    turns: VecDeque<C>,
    last_ticket: u64,
}

#[derive(Debug)]
struct Waiter<W> {
    ticket: u64,
    bounded: bool,
    wake: W,
}

/// A place in a line.
#[derive(Debug)]
pub(crate) struct Queued<W> {
    pub(crate) ticket: u64,
    /// The waiter that was displaced: the last one of the longest line.
    pub(crate) displaced: Option<W>,
}

impl<C: Copy + Eq + Hash, W> Queue<C, W> {
    pub(crate) fn new(permits: usize, bound: usize) -> Self {
        Self {
            free: permits,
            bounded: 0,
            bound,
            waiting: 0,
            lines: HashMap::new(),
            turns: VecDeque::new(),
            last_ticket: 0,
        }
    }

    /// Takes a permit if one is free; then nobody waits.
    pub(crate) fn take(&mut self) -> bool {
        let taken = self.free > 0;
        self.free -= usize::from(taken);
        taken
    }

    /// Waits at the end of the caller's line.
    ///
    /// A full queue makes room for a caller whose line is shorter than the longest one by two or more, so that one caller's
    /// flood doesn't keep others out; `None` is a refusal. A waiter that isn't `bounded` is never refused or displaced.
    pub(crate) fn wait(&mut self, caller: C, bounded: bool, wake: W) -> Option<Queued<W>> {
        let mut displaced = None;
        if bounded && self.bounded >= self.bound {
            displaced = Some(self.displace(self.line(caller))?);
        }
        self.last_ticket += 1;
        let ticket = self.last_ticket;
        let line = self.lines.entry(caller).or_default();
        if line.is_empty() {
            self.turns.push_back(caller);
        }
        line.push_back(Waiter { ticket, bounded, wake });
        self.waiting += 1;
        self.bounded += usize::from(bounded);
        Some(Queued { ticket, displaced })
    }

    /// Removes the last waiter that may be refused from the longest line, if that is longer than `line` by at least two.
    fn displace(&mut self, line: usize) -> Option<W> {
        let (caller, length) = self
            .lines
            .iter()
            .map(|(caller, line)| (*caller, line.len()))
            .max_by_key(|(_, length)| *length)?;
        if length < line + 2 {
            return None;
        }
        let ticket = self.lines.get(&caller)?.iter().rev().find(|waiter| waiter.bounded)?.ticket;
        self.remove(caller, ticket)
    }

    /// Leaves the line; false if the waiter isn't in it any more.
    pub(crate) fn leave(&mut self, caller: C, ticket: u64) -> bool {
        self.remove(caller, ticket).is_some()
    }

    fn remove(&mut self, caller: C, ticket: u64) -> Option<W> {
        let line = self.lines.get_mut(&caller)?;
        let at = line.iter().position(|waiter| waiter.ticket == ticket)?;
        let waiter = line.remove(at)?;
        if line.is_empty() {
            self.lines.remove(&caller);
            self.turns.retain(|turn| *turn != caller);
        }
        self.waiting -= 1;
        self.bounded -= usize::from(waiter.bounded);
        Some(waiter.wake)
    }

    /// Releases a permit: the next waiter gets it, or it is free.
    pub(crate) fn give_back(&mut self) -> Option<W> {
        let next = self.turns.pop_front().and_then(|caller| {
            let line = self.lines.get_mut(&caller)?;
            let waiter = line.pop_front()?;
            if line.is_empty() {
                self.lines.remove(&caller);
            } else {
                self.turns.push_back(caller);
            }
            self.waiting -= 1;
            self.bounded -= usize::from(waiter.bounded);
            Some(waiter.wake)
        });
        self.free += usize::from(next.is_none());
        next
    }

    pub(crate) fn free(&self) -> usize {
        self.free
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// How many waiters would be served before a new one of this caller.
    pub(crate) fn ahead(&self, caller: C) -> usize {
        let length = self.line(caller);
        let callers = self.lines.len() + usize::from(length == 0);
        // Each other caller gets at most one turn for each turn of this one.
        self.waiting.min(length + (length + 1) * (callers - 1))
    }

    fn line(&self, caller: C) -> usize {
        self.lines.get(&caller).map_or(0, VecDeque::len)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Arrive { caller: u8, bounded: bool },
        Leave(usize),
        GiveBack,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..4_u8, prop::bool::weighted(0.8)).prop_map(|(caller, bounded)| Step::Arrive { caller, bounded }),
            1 => any::<usize>().prop_map(Step::Leave),
            3 => Just(Step::GiveBack),
        ]
    }

    proptest! {
        /// Permits are neither lost nor created, the bound holds, and no waiter waits while a permit is free.
        #[test]
        fn permits_are_kept_and_the_bound_holds(steps in prop::collection::vec(step(), 1..200)) {
            const PERMITS: usize = 2;
            const BOUND: usize = 5;
            let mut queue = Queue::new(PERMITS, BOUND);
            let mut out = 0_usize;
            let mut waiting: Vec<(u8, bool, u64)> = Vec::new();
            for step in steps {
                match step {
                    Step::Arrive { caller, bounded } if queue.take() => { out += 1; let _ = (caller, bounded); }
                    Step::Arrive { caller, bounded } => {
                        let number = queue.last_ticket + 1;
                        match queue.wait(caller, bounded, number) {
                            Some(place) => {
                                if let Some(lost) = place.displaced {
                                    let at = waiting.iter().position(|(_, _, ticket)| *ticket == lost).unwrap();
                                    prop_assert!(waiting.remove(at).1, "a waiter that may not be refused was");
                                }
                                waiting.push((caller, bounded, place.ticket));
                            }
                            None => prop_assert!(bounded, "only a bounded waiter is refused"),
                        }
                    }
                    Step::Leave(at) if !waiting.is_empty() => {
                        let (caller, _, ticket) = waiting.remove(at % waiting.len());
                        prop_assert!(queue.leave(caller, ticket));
                        prop_assert!(!queue.leave(caller, ticket), "it left once");
                    }
                    Step::GiveBack if out > 0 => match queue.give_back() {
                        Some(ticket) => {
                            let at = waiting.iter().position(|(_, _, waits)| *waits == ticket).unwrap();
                            let (caller, ..) = waiting.remove(at);
                            let earlier = waiting.iter().any(|(c, _, t)| *c == caller && *t < ticket);
                            prop_assert!(!earlier, "a caller's own requests go in order");
                        }
                        None => out -= 1,
                    },
                    Step::Leave(_) | Step::GiveBack => {}
                }
                prop_assert_eq!(queue.free + out, PERMITS);
                prop_assert_eq!(queue.waiting, waiting.len());
                prop_assert_eq!(queue.bounded, waiting.iter().filter(|(_, bounded, _)| *bounded).count());
                prop_assert!(queue.bounded <= BOUND);
                prop_assert!(queue.free == 0 || queue.waiting == 0);
                prop_assert_eq!(queue.lines.len(), queue.turns.len());
            }
        }

        /// While two callers wait, neither gets two turns more than the other.
        #[test]
        fn turns_go_round(lines in prop::collection::vec(1..40_usize, 2..6)) {
            let mut queue = Queue::new(1, 1_000);
            prop_assert!(queue.take());
            for (caller, &length) in lines.iter().enumerate() {
                for _ in 0..length {
                    queue.wait(caller, true, caller);
                }
            }
            let mut served = vec![0_usize; lines.len()];
            while let Some(caller) = queue.give_back() {
                served[caller] += 1;
                let still = (0..lines.len()).filter(|&c| served[c] < lines[c]).map(|c| served[c]);
                let (low, high) = (still.clone().min(), served.iter().max());
                if let (Some(low), Some(&high)) = (low, high) {
                    prop_assert!(high <= low + 1, "served {:?} of {:?}", served, lines);
                }
            }
            prop_assert_eq!(served, lines);
        }
    }

    #[test]
    fn a_flood_makes_room_for_others() {
        let mut queue = Queue::new(0, 4);
        for number in 0..4 {
            assert!(queue.wait("flood", true, number).is_some());
        }
        assert!(queue.wait("flood", true, 4).is_none(), "the flood itself is refused");
        assert_eq!(queue.wait("other", true, 5).unwrap().displaced, Some(3));
        assert_eq!(queue.wait("other", true, 6).unwrap().displaced, Some(2));
        assert!(queue.wait("other", true, 7).is_none(), "now both have two");
        assert_eq!(queue.ahead("other"), 4);
        assert_eq!(queue.ahead("third"), 2, "one of each");
    }
}
