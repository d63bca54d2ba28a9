//! The schedule alone: everything is handed out once, in fair order, and runs are packed.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use embed_core::{EmbedRequest, Normalisation, Role, TokenCount, Truncation};
use proptest::prelude::*;

use super::super::entry::BYTES_OF_A_STEP;
use super::super::job::pieces;
use super::*;
use crate::stats::Counters;
use crate::tokenizer::{TokenisedText, Window};

const LIMITS: QueueLimits = QueueLimits { calls: 1000, bytes: 1 << 30 };
/// Tokens of a window here; a byte is a token.
const WINDOW: usize = 500;

/// Bytes that are tokenised.
type Schedule = super::Schedule<usize>;

const MODEL: ModelId = ModelId(0);
const OTHER_MODEL: ModelId = ModelId(1);

/// A schedule for workers that each have a session of one model.
fn schedule(limits: QueueLimits, workers: usize, ragged: bool) -> Schedule {
    let mut schedule = Schedule::new(limits, workers);
    schedule.set_sessions(MODEL, workers, Some(ragged));
    schedule
}

fn call(lengths: &[usize]) -> Arc<EngineCall> {
    call_until(lengths, None)
}

fn call_until(lengths: &[usize], deadline: Option<Instant>) -> Arc<EngineCall> {
    call_of(MODEL, lengths, deadline)
}

fn call_of(model: ModelId, lengths: &[usize], deadline: Option<Instant>) -> Arc<EngineCall> {
    let texts: Vec<_> = lengths.iter().map(|&length| "x".repeat(length)).collect();
    let mut request = EmbedRequest::new(texts, Role::Document).with_truncation(Truncation::ChunkMean);
    if let Some(deadline) = deadline {
        request = request.with_deadline(deadline);
    }
    EngineCall::new(&request, model, Normalisation::L2, &Arc::new(Counters::default())).0
}

fn tokens_of(text: &str) -> TokenisedText {
    let windows = text
        .as_bytes()
        .chunks(WINDOW)
        .map(|part| Window { ids: part.iter().copied().map(u32::from).collect(), weight: part.len() });
    let tokens = TokenCount { used: text.len(), total: text.len() };
    TokenisedText { windows: windows.collect(), tokens }
}

/// Does what a worker does with texts.
fn tokenise(schedule: &mut Schedule, model: ModelId, texts: Vec<Untokenised<usize>>) {
    let taken = texts.len();
    let (mut done, mut begun) = (Vec::new(), Vec::new());
    for mut text in texts {
        let so_far = text.state.unwrap_or(0) + BYTES_OF_A_STEP;
        if so_far >= text.slot.text().len() {
            let tokens = tokens_of(text.slot.text());
            done.extend(pieces(text.slot, tokens));
        } else {
            text.state = Some(so_far);
            begun.push(text);
        }
    }
    drop(schedule.tokenised((model, taken), done, begun));
}

/// The next run; texts are tokenised on the way.
fn next_run(schedule: &mut Schedule) -> Option<ModelRun> {
    loop {
        match schedule.take()? {
            Work::Tokenise(model, texts) => tokenise(schedule, model, texts),
            Work::Run(run) => return Some(run),
        }
    }
}

fn end(schedule: &mut Schedule, run: ModelRun) {
    schedule.ran(run.model);
    run.pieces.into_iter().for_each(|piece| piece.answer(Ok(vec![1.0])));
}

fn is_of(piece: &Piece, call: &Arc<EngineCall>) -> bool {
    Arc::ptr_eq(piece.call(), call)
}

/// What happens to a schedule.
#[derive(Debug, Clone)]
enum Event {
    Push(ModelId, Vec<usize>),
    /// So many sessions of a model work from now on.
    Sessions(ModelId, usize),
    Take,
    TakeAhead(usize),
    EndRun(usize),
    Cancel(usize),
    Fail(usize),
}

fn model() -> impl Strategy<Value = ModelId> {
    prop_oneof![Just(MODEL), Just(OTHER_MODEL)]
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let length = prop_oneof![4 => 1..300_usize, 2 => 300..3000_usize, 1 => 3000..20_000_usize];
    let event = prop_oneof![
        3 => (model(), prop::collection::vec(length, 0..8)).prop_map(|(of, lengths)| Event::Push(of, lengths)),
        1 => (model(), 0..5_usize).prop_map(|(of, sessions)| Event::Sessions(of, sessions)),
        8 => Just(Event::Take),
        4 => any::<usize>().prop_map(Event::TakeAhead),
        6 => any::<usize>().prop_map(Event::EndRun),
        1 => any::<usize>().prop_map(Event::Cancel),
        1 => any::<usize>().prop_map(Event::Fail),
    ];
    prop::collection::vec(event, 0..50)
}

proptest! {
    #[test]
    fn every_window_runs_once_and_every_row_is_answered(
        events in events(), workers in 1..5_usize, ragged: bool,
    ) {
        let mut schedule = schedule(LIMITS, workers, ragged);
        schedule.set_sessions(OTHER_MODEL, workers, Some(ragged));
        let mut calls = Vec::new();
        let mut runs: Vec<ModelRun> = Vec::new();
        let mut seen = HashSet::new();
        let mut check = |run: &ModelRun| {
            let tokens: usize = run.pieces.iter().map(Piece::tokens).sum();
            assert!(!run.pieces.is_empty(), "a run is never empty");
            assert!(run.pieces.len() == 1 || (ragged && tokens <= TOKENS_OF_A_RUN), "{tokens} tokens");
            assert!(run.pieces.len() == 1 || run.pieces.iter().all(|piece| !piece.solo));
            assert!(run.pieces.iter().all(|piece| piece.call().model == run.model), "of one model");
            for piece in &run.pieces {
                let window = (Arc::as_ptr(piece.call()), piece.place(), piece.solo);
                assert!(piece.tokens() <= WINDOW && seen.insert(window));
            }
        };
        for event in events {
            match event {
                Event::Push(_, lengths) if lengths.is_empty() => {}
                Event::Sessions(of, sessions) => schedule.set_sessions(of, sessions.min(workers), None),
                Event::Push(of, lengths) => {
                    let call = call_of(of, &lengths, None);
                    schedule.push(Arc::clone(&call)).unwrap();
                    calls.push((call, lengths.len(), false));
                }
                Event::Take if runs.len() < workers => match schedule.take() {
                    Some(Work::Tokenise(model, texts)) => tokenise(&mut schedule, model, texts),
                    Some(Work::Run(run)) => {
                        check(&run);
                        let model = &schedule.models[&run.model];
                        assert!(model.running <= model.sessions, "a run without a session");
                        runs.push(run);
                    }
                    None => {}
                },
                Event::TakeAhead(which) if !runs.is_empty() => {
                    let of: Vec<_> = runs[which % runs.len()].pieces.iter().map(|piece| Arc::clone(piece.call())).collect();
                    match schedule.take_ahead(&of, |_| true) {
                        Some(Work::Tokenise(model, texts)) => tokenise(&mut schedule, model, texts),
                        Some(Work::Run(run)) => {
                            check(&run);
                            let model = &schedule.models[&run.model];
                            assert!(runs.len() == workers || model.running >= model.sessions, "a worker was free");
                            assert!(!run.pieces.iter().any(|piece| of.iter().any(|call| is_of(piece, call))));
                            run.pieces.into_iter().for_each(|piece| piece.answer(Ok(vec![1.0])));
                        }
                        None => {}
                    }
                }
                Event::EndRun(which) if !runs.is_empty() => {
                    let run = runs.swap_remove(which % runs.len());
                    end(&mut schedule, run);
                }
                Event::Fail(which) if !runs.is_empty() => {
                    let run = runs.swap_remove(which % runs.len());
                    schedule.ran(run.model);
                    if run.pieces.len() > 1 {
                        drop(schedule.put_back(run.pieces));
                    } else {
                        let error = Error::new(ErrorKind::Internal, "as the test says");
                        run.pieces.into_iter().for_each(|piece| piece.answer(Err(error.clone())));
                    }
                }
                Event::Cancel(which) if !calls.is_empty() => {
                    let index = which % calls.len();
                    calls[index].0.end();
                    calls[index].2 = true;
                    drop(schedule.remove(&calls[index].0));
                }
                _ => {}
            }
        }
        runs.into_iter().for_each(|run| end(&mut schedule, run));
        for model in [MODEL, OTHER_MODEL] {
            schedule.set_sessions(model, workers, None);
        }
        while let Some(run) = next_run(&mut schedule) {
            check(&run);
            end(&mut schedule, run);
        }
        assert!(!schedule.has_work());
        let tokenising: usize = schedule.models.values().map(|model| model.tokenising).sum();
        assert_eq!((schedule.bytes, tokenising, schedule.running()), (0, 0, 0));
        for (call, texts, cancelled) in calls {
            let rows = call.take_rows();
            assert_eq!(rows.len(), texts);
            assert!(cancelled || rows.iter().all(Option::is_some), "a row was not answered");
        }
    }

    /// Whatever waits, and whatever it was served: a query goes ahead of all but one turn of each other call.
    #[test]
    fn a_query_waits_for_no_call_twice(
        lengths in prop::collection::vec((model(), prop::collection::vec(1..40_000_usize, 1..4)), 1..6),
        of in model(),
        workers in 1..4_usize,
        before in 0..40_usize,
        ragged: bool,
    ) {
        let mut schedule = schedule(LIMITS, workers, ragged);
        schedule.set_sessions(OTHER_MODEL, workers, Some(ragged));
        let others: Vec<_> = lengths.iter().map(|(of, lengths)| call_of(*of, lengths, None)).collect();
        for other in &others {
            schedule.push(Arc::clone(other)).unwrap();
        }
        let mut running: VecDeque<ModelRun> = VecDeque::new();
        for _ in 0..before {
            if running.len() == workers {
                let run = running.pop_front().unwrap();
                end(&mut schedule, run);
            }
            running.extend(next_run(&mut schedule));
        }
        let query = call_of(of, &[10], None);
        schedule.push(Arc::clone(&query)).unwrap();
        let mut turns = HashMap::new();
        loop {
            if running.len() == workers {
                let run = running.pop_front().unwrap();
                end(&mut schedule, run);
            }
            let run = next_run(&mut schedule).unwrap();
            if run.pieces.iter().any(|piece| is_of(piece, &query)) {
                break;
            }
            let turns = turns.entry(Arc::as_ptr(run.pieces[0].call())).or_insert(0);
            *turns += 1;
            assert!(*turns < 2, "a call had its second turn before the query");
            running.push_back(run);
        }
    }
}

#[test]
fn a_query_comes_second_behind_a_text_of_a_thousand_windows() {
    let mut schedule = schedule(LIMITS, 1, true);
    let (long, query) = (call(&[1000 * WINDOW]), call(&[10]));
    schedule.push(Arc::clone(&long)).unwrap();
    for _ in 0..3 {
        let run = next_run(&mut schedule).unwrap();
        end(&mut schedule, run);
    }
    let run = next_run(&mut schedule).unwrap();
    assert!(is_of(&run.pieces[0], &long));
    schedule.push(Arc::clone(&query)).unwrap();
    end(&mut schedule, run);
    assert!(is_of(&next_run(&mut schedule).unwrap().pieces[0], &query));
}

#[test]
fn a_query_is_between_two_steps_of_a_text_that_is_tokenised() {
    let mut schedule = schedule(LIMITS, 1, true);
    let (long, query) = (call(&[1 << 20]), call(&[10]));
    schedule.push(Arc::clone(&long)).unwrap();
    let Some(Work::Tokenise(model, step)) = schedule.take() else { panic!("a step") };
    schedule.push(Arc::clone(&query)).unwrap();
    tokenise(&mut schedule, model, step);
    assert!(is_of(&next_run(&mut schedule).unwrap().pieces[0], &query));
}

#[test]
fn queries_without_end_starve_no_long_text() {
    let mut schedule = schedule(LIMITS, 1, true);
    let long = call(&[20 * WINDOW]);
    schedule.push(Arc::clone(&long)).unwrap();
    let mut windows = 0;
    for _ in 0..4000 {
        schedule.push(call(&[10])).unwrap();
        let run = next_run(&mut schedule).unwrap();
        windows += usize::from(is_of(&run.pieces[0], &long));
        end(&mut schedule, run);
    }
    assert!(windows >= 20, "{windows} windows in the time of 4000 queries");
}

#[test]
fn the_windows_of_a_text_go_to_all_workers_in_order() {
    let mut schedule = schedule(LIMITS, 3, true);
    schedule.push(call(&[6 * WINDOW])).unwrap();
    let runs: Vec<_> = (0..3).map(|_| next_run(&mut schedule).unwrap()).collect();
    let windows = runs.iter().map(|run| run.pieces[0].place().1);
    assert_eq!(windows.collect::<Vec<_>>(), [0, 1, 2]);
    assert!(runs.iter().all(|run| !run.alone));
}

/// The sizes of the runs that free workers take one after the other while the others are busy.
fn shares(workers: usize, busy: usize, lengths: &[usize]) -> Vec<usize> {
    let mut schedule = schedule(LIMITS, workers, true);
    schedule.push(call(&vec![WINDOW; busy])).unwrap();
    let busy: Vec<_> = (0..busy).map(|_| next_run(&mut schedule).unwrap()).collect();
    schedule.push(call(lengths)).unwrap();
    let runs = (busy.len()..workers).map(|_| next_run(&mut schedule).map_or(0, |run| run.pieces.len()));
    runs.collect()
}

#[test]
fn free_workers_share_what_waits_and_busy_ones_are_not_waited_for() {
    assert_eq!(shares(2, 0, &[10; 4]), [2, 2], "half for each of two");
    assert_eq!(shares(2, 1, &[10; 4]), [4], "the only free one takes all");
    assert_eq!(shares(4, 1, &[10; 9]), [3, 3, 3]);
    assert_eq!(shares(1, 0, &[80; 4]), [2], "192 tokens at most");
}

#[test]
fn a_run_is_packed_with_the_longest_that_fit() {
    let mut schedule = schedule(LIMITS, 1, true);
    schedule.push(call(&[90, 40, 191, 30, 80, 70])).unwrap();
    let mut next = || {
        let run = next_run(&mut schedule)?;
        let lengths: Vec<_> = run.pieces.iter().map(Piece::tokens).collect();
        end(&mut schedule, run);
        Some(lengths)
    };
    assert_eq!(next(), Some(vec![191]));
    assert_eq!(next(), Some(vec![90, 80]));
    assert_eq!(next(), Some(vec![70, 40, 30]));
    assert_eq!(next(), None);
}

#[test]
fn calls_and_bytes_that_wait_are_bounded() {
    let mut schedule = schedule(QueueLimits { calls: 2, bytes: 1000 }, 1, false);
    let large = call(&[4000]);
    schedule.push(Arc::clone(&large)).unwrap();
    let error = schedule.push(call(&[1])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Overloaded);
    assert!(error.is_temporary() && error.to_string().contains("max_waiting_bytes"), "{error}");
    drop(schedule.remove(&large));
    schedule.push(call(&[400])).unwrap();
    schedule.push(call(&[400])).unwrap();
    let error = schedule.push(call(&[1])).unwrap_err();
    assert!(error.is_temporary() && error.to_string().contains("max_waiting_calls"), "{error}");
    drop(next_run(&mut schedule));
    schedule.push(call(&[400])).unwrap();
}

#[test]
fn a_deadline_takes_out_its_call_alone() {
    let mut schedule = schedule(LIMITS, 1, true);
    let now = Instant::now();
    let (early, late) = (now + Duration::from_secs(1), now + Duration::from_secs(2));
    let first = call_until(&[10], Some(early));
    schedule.push(call_until(&[10], Some(late))).unwrap();
    schedule.push(Arc::clone(&first)).unwrap();
    schedule.push(call(&[10])).unwrap();
    assert_eq!(schedule.next_deadline(), Some(early));
    assert!(schedule.expire(now).is_empty());
    let expired = schedule.expire(early);
    assert!(matches!(&expired[..], [removed] if Arc::ptr_eq(&removed.call, &first)));
    assert_eq!(schedule.next_deadline(), Some(late));
    assert_eq!(next_run(&mut schedule).unwrap().pieces.len(), 2);
}

#[test]
fn calls_of_a_model_without_sessions_wait_and_save_up_no_turns() {
    let mut schedule = schedule(LIMITS, 1, true);
    schedule.set_sessions(OTHER_MODEL, 0, Some(true));
    let (loaded, unloaded) = (call(&[1000 * WINDOW]), call_of(OTHER_MODEL, &[100 * WINDOW], None));
    schedule.push(Arc::clone(&unloaded)).unwrap();
    assert!(!schedule.has_work() && schedule.is_asked(OTHER_MODEL) && !schedule.is_idle(OTHER_MODEL));
    schedule.push(Arc::clone(&loaded)).unwrap();
    for _ in 0..500 {
        let run = next_run(&mut schedule).unwrap();
        assert!(is_of(&run.pieces[0], &loaded));
        end(&mut schedule, run);
    }
    schedule.set_sessions(OTHER_MODEL, 1, None);
    let mut of_unloaded = 0;
    for _ in 0..10 {
        let run = next_run(&mut schedule).unwrap();
        of_unloaded += usize::from(is_of(&run.pieces[0], &unloaded));
        end(&mut schedule, run);
    }
    assert!((4..=6).contains(&of_unloaded), "{of_unloaded} of 10 turns");
}
