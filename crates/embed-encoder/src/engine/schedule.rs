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
//!
//! Calls of all models take turns in the same way, and a run has windows of one model. A model can run as often at a time as
//! it has sessions; calls of a model without any wait, and the others go on as if they weren't there.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use embed_core::{Error, ErrorKind};

use super::entry::{BYTES_OF_A_TOKEN, NextWork, ScheduledCall, TOKENS_OF_A_RUN, bytes_of, bytes_of_call};
use super::job::{EngineCall, ModelId, Piece, Untokenised};

/// Bytes of short texts that are tokenised at a time: a dozen runs, a few milliseconds.
const BYTES_AHEAD: usize = 8 << 10;
/// How many calls are searched for further texts for a run.
const CALLS_AHEAD: usize = 64;
/// The resolution of virtual time: fractions of a token.
const PARTS: u64 = 1 << 10;

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
    /// Tokenise these texts of one model: several short ones, or one step of a long one.
    Tokenise(ModelId, Vec<Untokenised<S>>),
    /// Run a model.
    Run(ModelRun),
}

/// Windows that a model runs at once.
#[derive(Debug)]
pub(super) struct ModelRun {
    pub(super) model: ModelId,
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
    models: BTreeMap<ModelId, ScheduledModel>,
    limits: QueueLimits,
    now: u64,
    bytes: usize,
    workers: usize,
}

/// What a model can do at a time, and does.
#[derive(Default)]
struct ScheduledModel {
    /// Sessions that work.
    sessions: usize,
    /// Workers that run it.
    running: usize,
    /// Texts that workers are tokenising.
    tokenising: usize,
    /// Whether windows of several texts can share a run.
    ragged: bool,
}

impl<S> Schedule<S> {
    pub(super) fn new(limits: QueueLimits, workers: usize) -> Self {
        Self { entries: Vec::new(), models: BTreeMap::new(), limits, now: 0, bytes: 0, workers }
    }

    /// Sets how many sessions of a model work, and whether windows of several texts can share a run of it, if that is known.
    pub(super) fn set_sessions(&mut self, id: ModelId, sessions: usize, ragged: Option<bool>) {
        let model = self.models.entry(id).or_default();
        let begins = model.sessions == 0 && sessions > 0;
        model.sessions = sessions;
        model.ragged = ragged.unwrap_or(model.ragged);
        if begins {
            // They missed no turns while nothing could run them; otherwise they would now have many in a row.
            let of_model = self.entries.iter_mut().filter(|entry| entry.call.model == id);
            of_model.for_each(|entry| entry.served = entry.served.max(self.now));
        }
    }

    /// Forgets a model that nobody runs any more, and removes its calls.
    pub(super) fn forget(&mut self, id: ModelId) -> Vec<Removed<S>> {
        self.models.remove(&id);
        self.clear(id)
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
        let bytes = bytes_of_call(&call);
        if self.bytes > 0 && self.bytes.saturating_add(bytes) > self.limits.bytes {
            return refused(
                "the engine has as much text waiting as it may; try again later or raise max_waiting_bytes",
                self.limits.bytes,
            );
        }
        self.bytes += bytes;
        self.entries.push(ScheduledCall::new(call, self.now));
        Ok(())
    }

    /// The next work for a worker.
    pub(super) fn take(&mut self) -> Option<Work<S>> {
        loop {
            let order = self.in_turn(|model, _| model.running < model.sessions);
            let &first = order.first()?;
            match self.entries[first].head()? {
                NextWork::Window(_) if self.entries[first].drop_void() => continue,
                NextWork::Window(_) => return Some(Work::Run(self.take_run(&order))),
                NextWork::Step => return Some(self.take_step(first)),
                NextWork::RawShort(_) | NextWork::Short(_) => return Some(self.take_short(&order)),
            }
        }
    }

    /// Work that goes before the rest of a long run of these calls: short texts of other calls whose turn it is, while no
    /// worker is free for them. `can_run` says which models have a further session for that. The run needn't be
    /// [ended](Self::ran).
    pub(super) fn take_ahead(
        &mut self,
        of: &[Arc<EngineCall>],
        can_run: impl Fn(ModelId) -> bool,
    ) -> Option<Work<S>> {
        let all_run = self.running() >= self.workers;
        let mut order = self.in_turn(|model, id| {
            let is_waited_for = all_run || model.running >= model.sessions;
            model.sessions > 0 && is_waited_for && can_run(id)
        });
        let goes_ahead = |index: usize| {
            let entry = &self.entries[index];
            let is_short = matches!(entry.head(), Some(NextWork::RawShort(_) | NextWork::Short(_)));
            is_short && !of.iter().any(|call| Arc::ptr_eq(call, &entry.call))
        };
        if !goes_ahead(*order.first()?) {
            return None;
        }
        order.retain(|&index| goes_ahead(index));
        let work = self.take_short(&order);
        if let Work::Run(run) = &work {
            self.ran(run.model);
        }
        Some(work)
    }

    /// Short texts: a run of them, or, if too few are tokenised to fill one, texts to tokenise.
    fn take_short(&mut self, order: &[usize]) -> Work<S> {
        let entries = || order.iter().map(|&index| &self.entries[index]);
        let is_ready = entries().next().is_some_and(|first| !first.short.is_empty());
        let ragged = entries().next().is_some_and(|first| self.is_ragged(first.call.model));
        let fills_a_run = || entries().map(|entry| entry.short_tokens).sum::<usize>() >= TOKENS_OF_A_RUN;
        if !is_ready || (ragged && !fills_a_run() && entries().any(ScheduledCall::has_raw_short)) {
            return self.take_texts(order);
        }
        Work::Run(self.take_run(order))
    }

    /// A worker that took a run of this model has ended it. Returns whether a worker may wait for that, because there are more
    /// workers than sessions.
    pub(super) fn ran(&mut self, model: ModelId) -> bool {
        let Some(model) = self.models.get_mut(&model) else { return false };
        model.running -= 1;
        model.sessions < self.workers && model.running + 1 == model.sessions
    }

    /// A worker returns the pieces of the texts that it took, and the texts that aren't done; the others have been answered.
    /// Pieces and texts of calls that nobody waits for any more are returned.
    pub(super) fn tokenised(
        &mut self,
        (model, taken): (ModelId, usize),
        pieces: Vec<Piece>,
        begun: Vec<Untokenised<S>>,
    ) -> (Vec<Piece>, Vec<Untokenised<S>>) {
        if let Some(model) = self.models.get_mut(&model) {
            model.tokenising -= taken;
        }
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

    /// Removes all calls of a model.
    pub(super) fn clear(&mut self, model: ModelId) -> Vec<Removed<S>> {
        self.remove_if(|call| call.model == model)
    }

    /// The earliest deadline.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.entries.iter().filter_map(|entry| entry.call.deadline.instant()).min()
    }

    /// Whether there is anything to do for a model that has sessions.
    pub(super) fn has_work(&self) -> bool {
        self.entries.iter().any(|entry| self.contends(entry))
    }

    /// Whether there is anything to do for a model, whether or not it has sessions.
    pub(super) fn is_asked(&self, model: ModelId) -> bool {
        self.entries.iter().any(|entry| entry.call.model == model && entry.waits())
    }

    /// Whether nobody waits for a model and no worker runs it.
    pub(super) fn is_idle(&self, model: ModelId) -> bool {
        let runs = self.models.get(&model).is_some_and(|model| model.running > 0);
        !runs && !self.entries.iter().any(|entry| entry.call.model == model)
    }

    /// Whether a call has work that somebody could do.
    fn contends(&self, entry: &ScheduledCall<S>) -> bool {
        entry.waits() && self.models.get(&entry.call.model).is_some_and(|model| model.sessions > 0)
    }

    /// Workers that are running a model.
    fn running(&self) -> usize {
        self.models.values().map(|model| model.running).sum()
    }

    fn is_ragged(&self, model: ModelId) -> bool {
        self.models.get(&model).is_some_and(|model| model.ragged)
    }

    /// The indices of calls with work, the next one first: all of one model, which is one of those picked, and at most as many
    /// as can share a run.
    fn in_turn(&self, picked: impl Fn(&ScheduledModel, ModelId) -> bool) -> Vec<usize> {
        let picked: Vec<_> =
            self.models.iter().filter(|(id, model)| picked(model, **id)).map(|(id, _)| *id).collect();
        let ends = |(index, entry): (usize, &ScheduledCall<S>)| {
            let model = entry.call.model;
            let end = entry.served + entry.head()?.cost() * PARTS;
            picked.contains(&model).then_some((end, index, model))
        };
        let mut order: Vec<_> = self.entries.iter().enumerate().filter_map(ends).collect();
        let Some(&(_, _, next)) = order.iter().min() else { return Vec::new() };
        order.retain(|(_, _, model)| *model == next);
        let most = if self.is_ragged(next) { CALLS_AHEAD } else { 1 };
        if order.len() > most {
            order.select_nth_unstable(most);
            order.truncate(most);
        }
        order.sort_unstable();
        order.into_iter().map(|(_, index, _)| index).collect()
    }

    /// Charges a call for work of this many tokens.
    fn charge(&mut self, index: usize, tokens: u64) {
        let sharers = self.entries.iter().filter(|entry| self.contends(entry)).count().max(1) as u64;
        let entry = &mut self.entries[index];
        // At each turn half of the deficit of a call that was passed over is forgotten. Otherwise long calls would save up
        // turns and go before new ones.
        let behind = self.now.saturating_sub(entry.served);
        entry.served += behind / 2 + tokens * PARTS;
        self.now += tokens * PARTS / sharers;
    }

    fn take_step(&mut self, index: usize) -> Work<S> {
        let text = match self.entries[index].begun.pop_front() {
            Some(text) => text,
            None => self.take_raw(index),
        };
        self.charge(index, NextWork::Step.cost());
        self.take_to_tokenise(index, vec![text])
    }

    /// Short texts of these calls, in their order, up to the worker's share.
    fn take_texts(&mut self, order: &[usize]) -> Work<S> {
        let waiting = order.iter().map(|&index| self.entries[index].raw_shorts()).sum::<usize>();
        let share = self.share(order, waiting);
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
        self.take_to_tokenise(order[0], texts)
    }

    /// Texts of the model of the call at this index, for a worker that tokenises them.
    fn take_to_tokenise(&mut self, index: usize, texts: Vec<Untokenised<S>>) -> Work<S> {
        let id = self.entries[index].call.model;
        self.models.entry(id).or_default().tokenising += texts.len();
        Work::Tokenise(id, texts)
    }

    /// The next text of a call that isn't begun. There must be one.
    fn take_raw(&mut self, index: usize) -> Untokenised<S> {
        let (text, bytes) = self.entries[index].take_raw();
        self.bytes -= bytes;
        text
    }

    /// The first call's next window, and others with it as long as there is room, up to the worker's share of what waits.
    fn take_run(&mut self, order: &[usize]) -> ModelRun {
        let id = self.entries[order[0]].call.model;
        let tokenising = self.models.get(&id).map_or(0, |model| model.tokenising);
        let waiting = order.iter().map(|&index| self.entries[index].texts()).sum::<usize>() + tokenising;
        let most = self.share(order, waiting).max(1);
        let mut pieces = Vec::new();
        let mut room = None;
        for &index in order {
            let mut tokens = 0;
            while pieces.len() < most
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
        let alone = self.models.values().all(|model| model.running == 0 && model.tokenising == 0)
            && !self.has_work()
            && matches!(&pieces[..], [piece] if is_one_text(piece));
        self.models.entry(id).or_default().running += 1;
        ModelRun { model: id, pieces, alone }
    }

    /// The share of one worker in this many texts of the model of these calls, counted among the workers that run nothing: they
    /// are free, or will be soon.
    fn share(&self, order: &[usize], texts: usize) -> usize {
        match self.models.get(&self.entries[order[0]].call.model) {
            Some(model) if model.ragged => {
                let free = self.workers.saturating_sub(self.running());
                texts.div_ceil(free.min(model.sessions.saturating_sub(model.running)).max(1))
            }
            _ => 1,
        }
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

#[cfg(test)]
mod tests;
