//! A worker: takes work from the [pool](super::pool), tokenises texts and runs models.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use embed_core::{Error, ErrorKind};

use super::entry::{BYTES_OF_A_STEP, TOKENS_OF_A_RUN};
use super::job::{EngineCall, Piece, Untokenised, pieces};
use super::model::{EngineModel, Ragged, Tokenise, WorkFailure, caught};
use super::pool::Pool;
use super::schedule::ModelRun;
use super::sessions::Lent;
use super::state::{Job, PooledModel};
use crate::preempt;
use crate::tokenizer::TokenisedText;

/// The main function of a worker: works until the pool is closed.
pub(super) fn work<T: Tokenise>(pool: &Arc<Pool<T>>, number: usize) {
    while let Some(job) = pool.next(number) {
        match job {
            Job::Tokenise(model, texts) => tokenise(pool, &model, texts),
            Job::Run(model, job, lent) => run(pool, &model, job, lent),
        }
    }
}

/// Tokenises texts: short ones completely, a long one by one step.
fn tokenise<T: Tokenise>(pool: &Pool<T>, model: &PooledModel<T>, texts: Vec<Untokenised<T::Text>>) {
    let taken = texts.len();
    let (mut done, mut begun) = (Vec::new(), Vec::new());
    for mut text in texts.into_iter().filter(|text| !text.slot.call().is_over()) {
        match caught(|| step(model, &mut text)).map_err(WorkFailure::into_error) {
            Ok(Some(tokens)) => done.extend(pieces(text.slot, tokens)),
            Ok(None) => begun.push(text),
            Err(error) => text.slot.answer(Err(error)),
        }
    }
    pool.tokenised((model.id, taken), done, begun);
}

fn step<T: Tokenise>(
    model: &PooledModel<T>,
    text: &mut Untokenised<T::Text>,
) -> Result<Option<TokenisedText>, Error> {
    let state = match &mut text.state {
        Some(state) => state,
        state => {
            let call = text.slot.call();
            let begun = model.tokenizer.begin(Arc::clone(text.slot.text()), call.role, call.truncation)?;
            state.insert(begun)
        }
    };
    let tokens = model.tokenizer.advance(state, BYTES_OF_A_STEP)?;
    match &tokens {
        Some(tokens) if tokens.windows.is_empty() => {
            Err(Error::new(ErrorKind::Internal, "a text was cut into no windows"))
        }
        Some(tokens) if tokens.windows.len() > model.max_windows => {
            let what = "the text has more windows than it may; split it, or raise max_windows";
            Err(Error::new(ErrorKind::InputTooLong, what)
                .with_context("windows", tokens.windows.len())
                .with_context("limit", model.max_windows))
        }
        _ => Ok(tokens),
    }
}

/// Runs windows in the session on all cores, if nothing else is to be done and that is sooner, or else in one of one thread.
fn run<T: Tokenise>(pool: &Arc<Pool<T>>, model: &PooledModel<T>, run: ModelRun, mut lent: Lent) {
    let pieces = run.pieces;
    let tokens = pieces.iter().map(Piece::tokens).sum();
    let choice = lent.session.is_some() && lent.all_core.is_some();
    let on_all = !choice || model.pace().takes_all(tokens);
    let started = Instant::now();
    let means = if on_all { run_on_all_cores(&mut lent, &pieces) } else { None };
    // If it fails on all cores, it is tried again on one.
    let failed = matches!(means, Some(Err(_)));
    let means = means.and_then(Result::ok);
    let means = means.map_or_else(|| run_giving_way(pool, &mut lent, &pieces), Ok);
    if choice && !failed && means.is_ok() {
        model.pace().took(on_all, tokens, started.elapsed());
    }
    // After a panic, the state of a session can't be trusted.
    let broken = if matches!(means, Err(WorkFailure::Panicked)) { lent.session.take() } else { None };
    // Before the answer is given, because the caller's next text may come before this worker sleeps.
    pool.ran(model.id, lent);
    match means {
        Ok(means) => answer(pieces, means),
        // One of them may have caused the failure of the others.
        Err(_) if pieces.len() > 1 => pool.put_back(model.id, pieces),
        Err(fault) => {
            let error = fault.into_error();
            pieces.into_iter().for_each(|piece| piece.answer(Err(error.clone())));
        }
    }
    drop(broken);
}

/// Runs windows. During a long run, short texts of other calls go first if no worker is free for them.
fn run_giving_way<T: Tokenise>(
    pool: &Arc<Pool<T>>,
    lent: &mut Lent,
    pieces: &[Piece],
) -> Result<Vec<Vec<f32>>, WorkFailure> {
    let Some(session) = lent.session.as_deref_mut() else {
        let error = Error::new(ErrorKind::Internal, "a worker was given a run without a session");
        return Err(WorkFailure::Failed(error));
    };
    if pieces.iter().map(Piece::tokens).sum::<usize>() <= TOKENS_OF_A_RUN {
        return run_on(session, pieces);
    }
    let calls: Vec<_> = pieces.iter().map(|piece| Arc::clone(piece.call())).collect();
    let pool = Arc::clone(pool);
    preempt::with_points(Rc::new(move || give_way(&pool, &calls)), || run_on(session, pieces))
}

/// Runs short texts during a long run of these calls, in the sessions on all cores, which are idle while all workers are busy.
fn give_way<T: Tokenise>(pool: &Pool<T>, calls: &[Arc<EngineCall>]) {
    while let Some(job) = pool.next_ahead(calls) {
        match job {
            Job::Tokenise(model, texts) => tokenise(pool, &model, texts),
            Job::Run(model, run, mut lent) => {
                let means = run_on_all_cores(&mut lent, &run.pieces);
                pool.ran(model.id, lent);
                match means {
                    Some(Ok(means)) => answer(run.pieces, means),
                    // It is tried again on one core.
                    _ => pool.put_back(model.id, run.pieces),
                }
                return;
            }
        }
    }
}

/// Runs windows in the session on all cores, if there is one, which is given up after a panic.
fn run_on_all_cores(lent: &mut Lent, pieces: &[Piece]) -> Option<Result<Vec<Vec<f32>>, WorkFailure>> {
    let means = run_on(lent.all_core.as_deref_mut()?, pieces);
    if matches!(means, Err(WorkFailure::Panicked)) {
        lent.all_core = None;
    }
    Some(means)
}

fn run_on(model: &mut dyn EngineModel, pieces: &[Piece]) -> Result<Vec<Vec<f32>>, WorkFailure> {
    caught(|| {
        let batch = Ragged { windows: pieces.iter().map(|piece| &*piece.ids).collect() };
        let means = model.run(&batch)?;
        if means.len() == pieces.len() {
            return Ok(means);
        }
        Err(Error::new(ErrorKind::Internal, "a run gave another number of vectors than it has windows"))
    })
}

fn answer(pieces: Vec<Piece>, means: Vec<Vec<f32>>) {
    pieces.into_iter().zip(means).for_each(|(piece, mean)| piece.answer(Ok(mean)));
}
