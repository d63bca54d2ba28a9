//! The scheduler: a state machine without threads, locks or a clock.
//!
//! Calls share the engine by the tokens that they cost (weighted fair queueing). Each has a *virtual time* up to which it
//! was served, and the call whose next piece of work would end first is next. A new call begins at the global virtual
//! time, so a query goes before the next window of a call that has had its turn, however many windows are left. A call
//! that is passed over falls behind the global virtual time, so it is never passed over for long. A long window can't be
//! stopped, but while no worker is free, short texts whose turn it is run in the middle of it.
//!
//! Within a call, long texts go first, so that no thread is left with a long one at the end; the windows of a text go in
//! order. Short texts are tokenised in advance, a few kilobytes at a time, so that runs can be packed.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use embed_core::{Error, ErrorKind};

use super::job::{EngineCall, Piece, TextSlot, Untokenised};

/// Tokens of a run of several windows. More gain nothing: products are fastest from a hundred rows on, and the data
/// between them should stay in the core's private cache.
pub(super) const TOKENS_OF_A_RUN: usize = 192;
/// A text of more bytes is not tokenised in advance: it usually has more than a hundred tokens and fills a run alone.
pub(super) const SHORT_BYTES: usize = 1024;
/// Bytes of short texts that are tokenised at a time: a dozen runs, a few milliseconds.
pub(super) const BYTES_AHEAD: usize = 8 << 10;
/// Bytes of a long text that are tokenised at a time.
pub(super) const BYTES_OF_A_STEP: usize = 16 << 10;
/// Bytes that take as long to tokenise as one token takes in the model.
const BYTES_OF_A_TOKEN: usize = 512;
/// How many calls are searched for further texts for a run.
const CALLS_AHEAD: usize = 64;
/// The resolution of virtual time: fractions of a token.
const PARTS: u64 = 1 << 10;
/// The memory that a waiting text takes in addition to its bytes.
const BYTES_BESIDE_A_TEXT: usize = 64;

/// How much may wait.
#[derive(Debug, Clone, Copy)]
pub(crate) struct QueueLimits {
    /// Calls.
    pub(crate) calls: usize,
    /// Bytes of texts that aren't tokenised yet.
    pub(crate) bytes: usize,
}

/// What a worker does next.
#[derive(Debug)]
pub(super) enum Work<S> {
    /// Tokenise these: several short texts, or one step of a long one.
    Tokenise(Vec<Untokenised<S>>),
    /// Run the model.
    Run(ModelRun),
}

/// Windows that a model runs at once.
#[derive(Debug)]
pub(super) struct ModelRun {
    pub(super) pieces: Vec<Piece>,
    /// Whether this is one short text and there is nothing else to do.
    pub(super) alone: bool,
}

/// A call that was removed from the schedule. It must be dropped while no lock is held, because dropping a slot answers.
#[derive(Debug)]
#[must_use]
pub(super) struct Removed<S> {
    pub(super) call: Arc<EngineCall>,
    _pieces: Vec<Piece>,
    _texts: VecDeque<Untokenised<S>>,
}

/// Everything that waits. `S` is the state of a text between two steps of the tokenizer.
pub(super) struct Schedule<S> {
    /// The calls whose callers wait, in the order of their arrival.
    entries: Vec<ScheduledCall<S>>,
    limits: QueueLimits,
    now: u64,
    bytes: usize,
    /// Texts that workers are tokenising.
    tokenising: usize,
    /// Workers that are running a model.
    running: usize,
    /// Workers that have a model.
    workers: usize,
}

struct ScheduledCall<S> {
    call: Arc<EngineCall>,
    served: u64,
    /// Texts that aren't begun, the shortest first, so that the next one is at the end.
    raw: Vec<usize>,
    /// Long texts between two steps.
    begun: VecDeque<Untokenised<S>>,
    /// Windows of long texts, and those that run alone.
    long: VecDeque<Piece>,
    /// Short texts by their tokens; of those with equally many, the first ones of the call come first.
    short: BTreeMap<(usize, Reverse<u64>), Piece>,
    short_tokens: usize,
    shorts_so_far: u64,
    /// Bytes of the texts that aren't tokenised.
    bytes: usize,
}

/// The next work of a call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum NextWork {
    Window(usize),
    Step,
    Short(usize),
    RawShort(usize),
}

impl<S> Schedule<S> {
    pub(super) fn new(limits: QueueLimits, workers: usize) -> Self {
        Self { entries: Vec::new(), limits, now: 0, bytes: 0, tokenising: 0, running: 0, workers }
    }

    /// Enqueues a call.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Overloaded`] if the queue is full. A single call may have any size: refusing it would gain nothing, since
    /// its texts are in memory already.
    pub(super) fn push(&mut self, call: Arc<EngineCall>) -> Result<(), Error> {
        let refused = |what: &str, limit: usize| {
            Err(Error::new(ErrorKind::Overloaded, what).with_context("limit", limit).temporary())
        };
        let waiting = self.entries.iter().filter(|entry| entry.waits()).count();
        if waiting >= self.limits.calls {
            return refused(
                "the engine has as many calls waiting as it may; try again later or raise max_waiting_calls",
                self.limits.calls,
            );
        }
        let bytes = call.texts.iter().map(|text| bytes_of(text)).sum::<usize>();
        if self.bytes > 0 && self.bytes.saturating_add(bytes) > self.limits.bytes {
            return refused(
                "the engine has as much text waiting as it may; try again later or raise max_waiting_bytes",
                self.limits.bytes,
            );
        }
        self.bytes += bytes;
        let mut raw: Vec<_> = (0..call.texts.len()).rev().collect();
        raw.sort_by_key(|&place| call.texts[place].len());
        self.entries.push(ScheduledCall {
            call,
            served: self.now,
            raw,
            begun: VecDeque::new(),
            long: VecDeque::new(),
            short: BTreeMap::new(),
            short_tokens: 0,
            shorts_so_far: 0,
            bytes,
        });
        Ok(())
    }

    /// The next work for a worker. `ragged` says whether its model takes windows of several texts in a run.
    pub(super) fn take(&mut self, ragged: bool) -> Option<Work<S>> {
        loop {
            let order = self.in_turn(if ragged { CALLS_AHEAD } else { 1 });
            let &first = order.first()?;
            match self.entries[first].head()? {
                NextWork::Window(_) if self.entries[first].drop_void() => continue,
                NextWork::Window(_) => return Some(Work::Run(self.take_run(&order, ragged))),
                NextWork::Step => return Some(self.take_step(first)),
                NextWork::RawShort(_) | NextWork::Short(_) => return Some(self.take_short(&order, ragged)),
            }
        }
    }

    /// Work that goes before the rest of a long run of these calls: short texts of other calls whose turn it is, while no
    /// worker is free for them.
    pub(super) fn take_ahead(&mut self, of: &[Arc<EngineCall>], ragged: bool) -> Option<Work<S>> {
        if self.running < self.workers {
            return None;
        }
        let mut order = self.in_turn(if ragged { CALLS_AHEAD } else { 1 });
        let goes_ahead = |index: usize| {
            let entry = &self.entries[index];
            let is_short = matches!(entry.head(), Some(NextWork::RawShort(_) | NextWork::Short(_)));
            is_short && !of.iter().any(|call| Arc::ptr_eq(call, &entry.call))
        };
        if !goes_ahead(*order.first()?) {
            return None;
        }
        order.retain(|&index| goes_ahead(index));
        Some(self.take_short(&order, ragged))
    }

    /// Short texts: a run of them, or, if too few are tokenised to fill one, texts to tokenise.
    fn take_short(&mut self, order: &[usize], ragged: bool) -> Work<S> {
        let entries = || order.iter().map(|&index| &self.entries[index]);
        let is_ready = entries().next().is_some_and(|first| !first.short.is_empty());
        let fills_a_run = || entries().map(|entry| entry.short_tokens).sum::<usize>() >= TOKENS_OF_A_RUN;
        if !is_ready || (ragged && !fills_a_run() && entries().any(ScheduledCall::has_raw_short)) {
            return self.take_texts(order, ragged);
        }
        Work::Run(self.take_run(order, ragged))
    }

    /// A worker that took a run has ended it.
    pub(super) fn ran(&mut self) {
        self.running -= 1;
    }

    /// A worker returns the pieces of the texts that it took, and the texts that aren't done; the others have been answered.
    /// Pieces and texts of calls that nobody waits for any more are returned.
    pub(super) fn tokenised(
        &mut self,
        taken: usize,
        pieces: Vec<Piece>,
        begun: Vec<Untokenised<S>>,
    ) -> (Vec<Piece>, Vec<Untokenised<S>>) {
        self.tokenising -= taken;
        let mut late = (Vec::new(), Vec::new());
        for piece in pieces {
            match self.entry(piece.call()) {
                Some(entry) => entry.add(piece),
                None => late.0.push(piece),
            }
        }
        for text in begun {
            match self.entry(text.slot.call()) {
                Some(entry) => entry.begun.push_back(text),
                None => late.1.push(text),
            }
        }
        late
    }

    /// Windows that failed together run again, each alone. Those that nobody waits for any more are returned.
    pub(super) fn put_back(&mut self, pieces: Vec<Piece>) -> Vec<Piece> {
        let mut late = Vec::new();
        for mut piece in pieces.into_iter().rev() {
            piece.solo = true;
            match self.entry(piece.call()) {
                Some(entry) => entry.long.push_front(piece),
                None => late.push(piece),
            }
        }
        late
    }

    /// Removes a call that nobody waits for any more.
    pub(super) fn remove(&mut self, call: &Arc<EngineCall>) -> Option<Removed<S>> {
        let index = self.entries.iter().position(|entry| Arc::ptr_eq(&entry.call, call))?;
        Some(self.remove_at(index))
    }

    /// Removes the calls whose deadline is over.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<Removed<S>> {
        self.remove_if(|call| call.deadline.is_over(now))
    }

    /// Removes all calls.
    pub(super) fn clear(&mut self) -> Vec<Removed<S>> {
        self.remove_if(|_| true)
    }

    /// The earliest deadline.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.entries.iter().filter_map(|entry| entry.call.deadline.instant()).min()
    }

    /// Sets how many workers have a model.
    pub(super) fn set_workers(&mut self, workers: usize) {
        self.workers = workers;
    }

    /// Whether there is anything to do.
    pub(super) fn has_work(&self) -> bool {
        self.entries.iter().any(ScheduledCall::waits)
    }

    /// The indices of calls with work, the next one first, at most `most`.
    fn in_turn(&self, most: usize) -> Vec<usize> {
        let ends = |(index, entry): (usize, &ScheduledCall<S>)| {
            Some((entry.served + entry.head()?.cost() * PARTS, index))
        };
        let mut order: Vec<_> = self.entries.iter().enumerate().filter_map(ends).collect();
        if order.len() > most {
            order.select_nth_unstable(most);
            order.truncate(most);
        }
        order.sort_unstable();
        order.into_iter().map(|(_, index)| index).collect()
    }

    /// Charges a call for work of this many tokens.
    fn charge(&mut self, index: usize, tokens: u64) {
        let sharers = self.entries.iter().filter(|entry| entry.waits()).count().max(1) as u64;
        let entry = &mut self.entries[index];
        // At each turn half of the deficit of a call that was passed over is forgotten. Otherwise long calls would save up
        // turns and go before new ones.
        let behind = self.now.saturating_sub(entry.served);
        entry.served += behind / 2 + tokens * PARTS;
        self.now += tokens * PARTS / sharers;
    }

    fn take_step(&mut self, index: usize) -> Work<S> {
        let entry = &mut self.entries[index];
        let text = match entry.begun.pop_front() {
            Some(text) => text,
            None => self.take_raw(index),
        };
        self.tokenising += 1;
        self.charge(index, NextWork::Step.cost());
        Work::Tokenise(vec![text])
    }

    /// Short texts of these calls, in their order, up to the worker's share.
    fn take_texts(&mut self, order: &[usize], ragged: bool) -> Work<S> {
        let waiting = order.iter().map(|&index| self.entries[index].raw_shorts()).sum::<usize>();
        let share = if ragged { waiting.div_ceil(self.free_workers()) } else { 1 };
        let mut texts = Vec::new();
        let mut room = BYTES_AHEAD;
        for &index in order {
            let before = room;
            while texts.len() < share && room > 0 && self.entries[index].has_raw_short() {
                let text = self.take_raw(index);
                room = room.saturating_sub(bytes_of(text.slot.text()));
                texts.push(text);
            }
            if before > room {
                self.charge(index, ((before - room).div_ceil(BYTES_OF_A_TOKEN)) as u64);
            }
        }
        self.tokenising += texts.len();
        Work::Tokenise(texts)
    }

    /// The next text of a call that isn't begun. There must be one.
    fn take_raw(&mut self, index: usize) -> Untokenised<S> {
        let entry = &mut self.entries[index];
        let place = entry.raw.pop().unwrap_or_default();
        let slot = TextSlot::new(&entry.call, place);
        let bytes = bytes_of(slot.text());
        entry.bytes -= bytes;
        self.bytes -= bytes;
        Untokenised { slot, state: None }
    }

    /// The first call's next window, and others with it as long as there is room, up to the worker's share of what waits.
    fn take_run(&mut self, order: &[usize], ragged: bool) -> ModelRun {
        let waiting = order.iter().map(|&index| self.entries[index].texts()).sum::<usize>() + self.tokenising;
        let most = if ragged { waiting.div_ceil(self.free_workers()) } else { 1 };
        let mut pieces = Vec::new();
        let mut room = None;
        for &index in order {
            let mut tokens = 0;
            while pieces.len() < most.max(1)
                && let Some(piece) = self.entries[index].take_piece(room)
            {
                tokens += piece.tokens();
                let left = room.unwrap_or(if piece.solo { 0 } else { TOKENS_OF_A_RUN });
                room = Some(left.saturating_sub(piece.tokens()));
                pieces.push(piece);
            }
            if tokens > 0 {
                self.charge(index, tokens as u64);
            }
        }
        let is_one_text = |piece: &Piece| piece.is_whole_text() && piece.call().texts.len() == 1;
        let alone = self.running == 0
            && self.tokenising == 0
            && !self.has_work()
            && matches!(&pieces[..], [piece] if is_one_text(piece));
        self.running += 1;
        ModelRun { pieces, alone }
    }

    /// Workers that run nothing: they are free, or will be soon.
    fn free_workers(&self) -> usize {
        self.workers.saturating_sub(self.running).max(1)
    }

    /// The entry of a call to which work is returned.
    fn entry(&mut self, call: &Arc<EngineCall>) -> Option<&mut ScheduledCall<S>> {
        let now = self.now;
        let entry = self.entries.iter_mut().find(|entry| Arc::ptr_eq(&entry.call, call))?;
        if !entry.waits() {
            // It missed no turns while it had no work.
            entry.served = entry.served.max(now);
        }
        Some(entry)
    }

    fn remove_if(&mut self, is_over: impl Fn(&EngineCall) -> bool) -> Vec<Removed<S>> {
        let mut removed = Vec::new();
        for index in (0..self.entries.len()).rev() {
            if is_over(&self.entries[index].call) {
                removed.push(self.remove_at(index));
            }
        }
        removed
    }

    fn remove_at(&mut self, index: usize) -> Removed<S> {
        let entry = self.entries.remove(index);
        self.bytes -= entry.bytes;
        let pieces = entry.long.into_iter().chain(entry.short.into_values()).collect();
        Removed { call: entry.call, _pieces: pieces, _texts: entry.begun }
    }
}

impl<S> ScheduledCall<S> {
    fn waits(&self) -> bool {
        !(self.raw.is_empty() && self.begun.is_empty() && self.long.is_empty() && self.short.is_empty())
    }

    fn head(&self) -> Option<NextWork> {
        if let Some(piece) = self.long.front() {
            return Some(NextWork::Window(piece.tokens()));
        }
        if !self.begun.is_empty() {
            return Some(NextWork::Step);
        }
        let raw = self.raw.last().map(|&place| self.call.texts[place].len());
        if raw.is_some_and(|bytes| bytes > SHORT_BYTES) {
            return Some(NextWork::Step);
        }
        let ready = self.short.last_key_value().map(|(&(tokens, _), _)| NextWork::Short(tokens));
        ready.or(raw.map(NextWork::RawShort))
    }

    /// Texts and windows that no worker has.
    fn texts(&self) -> usize {
        self.raw.len() + self.begun.len() + self.long.len() + self.short.len()
    }

    fn has_raw_short(&self) -> bool {
        self.raw.last().is_some_and(|&place| self.call.texts[place].len() <= SHORT_BYTES)
    }

    /// How many texts can be tokenised in advance. The longest is at the end, so it is all of them or none.
    fn raw_shorts(&self) -> usize {
        if self.has_raw_short() { self.raw.len() } else { 0 }
    }

    fn add(&mut self, piece: Piece) {
        let tokens = piece.tokens();
        if tokens >= TOKENS_OF_A_RUN || !piece.is_whole_text() {
            self.long.push_back(piece);
        } else {
            self.short_tokens += tokens;
            self.shorts_so_far += 1;
            self.short.insert((tokens, Reverse(self.shorts_so_far)), piece);
        }
    }

    /// Drops windows at the front if another window of the same text failed. Their text is answered already, so no caller is
    /// woken. Returns whether there were any.
    fn drop_void(&mut self) -> bool {
        let before = self.long.len();
        while self.long.front().is_some_and(Piece::is_void) {
            self.long.pop_front();
        }
        self.long.len() < before
    }

    /// The next window, or, if `room` is limited, the longest one that fits.
    fn take_piece(&mut self, room: Option<usize>) -> Option<Piece> {
        let fits = |piece: &Piece| room.is_none_or(|room| !piece.solo && piece.tokens() <= room);
        if self.long.front().is_some_and(fits) {
            return self.long.pop_front();
        }
        if room.is_none() && !self.long.is_empty() {
            return None;
        }
        let most = (room.unwrap_or(usize::MAX), Reverse(0));
        let key = *self.short.range(..=most).next_back()?.0;
        let piece = self.short.remove(&key)?;
        self.short_tokens -= piece.tokens();
        Some(piece)
    }
}

impl NextWork {
    /// Its approximate cost in tokens.
    fn cost(self) -> u64 {
        let tokens = match self {
            Self::Window(tokens) | Self::Short(tokens) => tokens,
            Self::Step => BYTES_OF_A_STEP / BYTES_OF_A_TOKEN,
            Self::RawShort(bytes) => bytes / 4 + 1,
        };
        tokens as u64
    }
}

fn bytes_of(text: &str) -> usize {
    text.len() + BYTES_BESIDE_A_TEXT
}

#[cfg(test)]
mod tests;
