//! The engine with a scripted model: panics, cancelled callers, turns, deadlines, limits, the end.

mod script;
mod shared;

use std::pin::Pin;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use embed_core::{Normalisation, Role, TokenCount};

use self::script::*;
use super::*;
use crate::tokenizer::{TokenisedText, Window};

#[test]
fn a_panic_is_an_error_of_its_text_and_the_model_is_opened_anew() {
    let (engine, hand) = start(&Options::default());
    let rows = embed(&engine, &["good", "panic", "fine"]);
    let error = rows[1].as_ref().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.is_temporary());
    for good in [&rows[0], &rows[2]] {
        assert_eq!(good.as_ref().unwrap().vector, OWN);
    }
    embed(&engine, &["text"])[0].as_ref().unwrap();
    assert_eq!(hand.script.opened.load(Ordering::SeqCst), 2);
    assert_eq!((engine.broken_workers(), engine.workers()), (0, 1));
}

#[test]
fn a_worker_heals_without_a_further_text() {
    let (engine, hand) = start(&Options::default());
    embed(&engine, &["panic"])[0].as_ref().unwrap_err();
    until(|| engine.broken_workers() == 0);
    assert_eq!(hand.script.opened.load(Ordering::SeqCst), 2);
}

#[test]
fn a_worker_tries_again_until_its_model_opens() {
    let (engine, hand) = start(&Options { opens: 1, ..Options::default() });
    embed(&engine, &["panic"])[0].as_ref().unwrap_err();
    until(|| hand.script.opened.load(Ordering::SeqCst) >= 3);
    assert_eq!(engine.broken_workers(), 1);
    assert_eq!(submit(&engine, &["text"]).err().map(|error| error.kind()), Some(ErrorKind::Config));
    hand.script.opens.store(99, Ordering::SeqCst);
    until(|| engine.broken_workers() == 0);
    embed(&engine, &["text"])[0].as_ref().unwrap();
}

#[test]
fn what_waits_fails_when_no_worker_has_a_model() {
    let (engine, hand) = start(&Options { opens: 1, ..Options::default() });
    let first = submit(&engine, &["wait for it", "panic"]).unwrap();
    hand.wait_until_entered();
    let waiting = submit(&engine, &["a", "b"]).unwrap();
    hand.release();
    // The text that panics stands behind those of the other call or before them: all are answered.
    let kinds = wait_for(waiting).into_iter().filter_map(|row| row.err().map(|error| error.kind()));
    assert!(kinds.into_iter().all(|kind| kind == ErrorKind::Config));
    wait_for(first)[1].as_ref().unwrap_err();
}

#[test]
fn a_model_that_does_not_open_is_an_error_of_the_start() {
    let (engine, _hand) = try_start(&Options { threads: 2, opens: 1, ..Options::default() });
    assert_eq!(engine.unwrap_err().kind(), ErrorKind::Config);
}

#[test]
fn what_a_caller_dropped_costs_nothing_further() {
    let (engine, hand) = start(&Options::default());
    let call = submit(&engine, &["wait for it", "b", "c", "d"]).unwrap();
    hand.wait_until_entered();
    drop(call);
    hand.release();
    embed(&engine, &["next"])[0].as_ref().unwrap();
    assert_eq!(hand.noted(), ["wait for it", "next"]);
}

#[test]
fn the_windows_of_a_dropped_text_cost_nothing_further() {
    let (engine, hand) = start(&Options::default());
    let call = submit_long(&engine, &(window("wait") + &window("").repeat(99)));
    hand.wait_until_entered();
    drop(call);
    hand.release();
    embed(&engine, &["next"])[0].as_ref().unwrap();
    assert_eq!(hand.noted()[1..], ["next"]);
}

#[test]
fn calls_take_turns() {
    let (engine, hand) = start(&Options::default());
    let first = submit(&engine, &["wait for the others"]).unwrap();
    hand.wait_until_entered();
    let large = submit(&engine, &["1", "1", "1", "1", "1", "1"]).unwrap();
    let small = submit(&engine, &["2"]).unwrap();
    hand.release();
    for call in [first, large, small] {
        wait_for(call);
    }
    assert!(hand.noted()[1..3].contains(&"2".to_owned()), "the small call waited for all of the large one");
}

#[test]
fn a_query_comes_second_behind_a_text_of_a_thousand_windows() {
    let (engine, hand) = start(&Options::default());
    let long = submit_long(&engine, &(window("wait") + &window("").repeat(999)));
    hand.wait_until_entered();
    let query = submit(&engine, &["query"]).unwrap();
    hand.release();
    wait_for(query)[0].as_ref().unwrap();
    assert_eq!(hand.noted()[1], "query");
    wait_for(long)[0].as_ref().unwrap();
    assert_eq!(hand.noted().len(), 1001);
}

#[test]
fn the_windows_of_a_text_run_on_all_workers() {
    let (engine, hand) = start(&Options { threads: 2, ..Options::default() });
    let long = submit_long(&engine, &window("wait").repeat(4));
    // Two windows run at the same time: neither was released.
    hand.wait_until_entered();
    hand.wait_until_entered();
    (0..4).for_each(|_| hand.release());
    assert_eq!(wait_for(long)[0].as_ref().unwrap().tokens.used, 4 * WINDOW);
}

#[test]
fn a_long_text_is_the_mean_of_its_windows_in_their_order() {
    let (engine, _hand) = start(&Options { threads: 3, ..Options::default() });
    // Windows of digits are vectors; the last one is shorter, and weighs less.
    let parts: Vec<_> = (0..50).map(|n| format!("{:0<WINDOW$}", n * 7)).chain(["31".to_owned()]).collect();
    let mut mean = embed_core::vector::ChunkMean::default();
    for part in &parts {
        let vector: Vec<_> = part.bytes().take(2).map(f32::from).collect();
        mean.add(&vector, part.len()).unwrap();
    }
    let expected = mean.finish();
    for _ in 0..20 {
        let rows = wait_for(submit_long(&engine, &parts.concat()));
        assert_eq!(rows[0].as_ref().unwrap().vector, expected);
    }
}

#[test]
fn a_window_that_fails_fails_its_text_once() {
    let (engine, hand) = start(&Options::default());
    let rows = wait_for(submit_long(&engine, &(window("").repeat(3) + "panic")));
    assert_eq!(rows[0].as_ref().unwrap_err().kind(), ErrorKind::Unavailable);
    embed(&engine, &["text"])[0].as_ref().unwrap();
    assert_eq!(hand.noted().len(), 5);
}

#[test]
fn a_text_of_too_many_windows_is_refused() {
    let (engine, hand) = start(&Options::default());
    let error = wait_for(submit_long(&engine, &window("").repeat(1001))).remove(0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InputTooLong);
    assert!(error.to_string().contains("max_windows") && error.to_string().contains("1001"), "{error}");
    assert!(hand.noted().is_empty());
}

#[test]
fn long_texts_go_first_and_rows_keep_their_places() {
    let (engine, hand) = start(&Options::default());
    let rows = embed(&engine, &["b", "cccc", "aa"]);
    assert_eq!(hand.noted(), ["cccc", "aa", "b"]);
    let lengths: Vec<_> = rows.iter().map(|row| row.as_ref().unwrap().tokens.used).collect();
    assert_eq!(lengths, [1, 4, 2]);
}

#[test]
fn short_texts_share_a_run_whoever_asked_for_them() {
    let (engine, hand) = sharing();
    let first = submit(&engine, &["wait for the others"]).unwrap();
    hand.wait_until_entered();
    let calls = [
        submit(&engine, &["aa", "b", "cc"]).unwrap(),
        submit(&engine, &["dd"]).unwrap(),
        submit(&engine, &["e", "no token"]).unwrap(),
    ];
    hand.release();
    wait_for(first);
    let [of_three, of_one, of_two] = calls.map(wait_for);
    let noted = hand.noted();
    let mut run: Vec<_> = noted[1].split('+').collect();
    run.sort_unstable();
    assert_eq!((noted.len(), run), (2, vec!["aa", "b", "cc", "dd", "e"]));
    let lengths: Vec<_> = of_three.iter().map(|row| row.as_ref().unwrap().tokens.used).collect();
    assert_eq!(lengths, [2, 1, 2], "rows keep their places");
    assert_eq!(of_one[0].as_ref().unwrap().tokens.used, 2);
    assert_eq!(of_two[1].as_ref().unwrap_err().kind(), ErrorKind::InvalidInput);
    of_two[0].as_ref().unwrap();
}

#[test]
fn a_text_that_panics_spoils_no_other_of_its_run() {
    let (engine, hand) = sharing();
    let first = submit(&engine, &["wait for the others"]).unwrap();
    hand.wait_until_entered();
    let call = submit(&engine, &["12345", "panic", "abcde"]).unwrap();
    hand.release();
    wait_for(first);
    let rows = wait_for(call);
    assert_eq!(rows[1].as_ref().unwrap_err().kind(), ErrorKind::Unavailable);
    for good in [&rows[0], &rows[2]] {
        good.as_ref().unwrap();
    }
    assert_eq!(hand.noted()[1..], ["12345+panic+abcde", "12345", "panic", "abcde"], "then each alone");
    assert_eq!(hand.script.opened.load(Ordering::SeqCst), 3, "the model was opened after each panic");
}

#[test]
fn a_tokenizer_that_panics_fails_its_text_alone() {
    let (engine, _hand) = sharing();
    let rows = embed(&engine, &["fine", "panic at the tokenizer", "good"]);
    assert_eq!(rows[1].as_ref().unwrap_err().kind(), ErrorKind::Unavailable);
    for good in [&rows[0], &rows[2]] {
        assert_eq!(good.as_ref().unwrap().vector, OWN);
    }
}

#[test]
fn a_full_queue_is_overloaded_and_empties() {
    let (engine, hand) = start(&Options { max_waiting_calls: 1, ..Options::default() });
    let running = submit(&engine, &["wait"]).unwrap();
    hand.wait_until_entered();
    let waiting = submit(&engine, &["a"]).unwrap();
    let error = submit(&engine, &["b"]).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Overloaded);
    assert!(error.is_temporary() && error.to_string().contains("max_waiting_calls"));
    drop(waiting);
    let waiting = submit(&engine, &["c"]).unwrap();
    hand.release();
    for (call, length) in [(running, 4), (waiting, 1)] {
        assert_eq!(wait_for(call)[0].as_ref().unwrap().tokens.used, length);
    }
}

#[test]
fn a_call_without_texts_is_done() {
    let (engine, _hand) = start(&Options::default());
    assert!(embed(&engine, &[]).is_empty());
}

#[test]
fn a_deadline_ends_a_call_while_every_worker_is_busy() {
    let (engine, hand) = start(&Options::default());
    let running = submit(&engine, &["wait"]).unwrap();
    hand.wait_until_entered();
    let deadline = Instant::now() + Duration::from_millis(300);
    let request = EmbedRequest::new(["late"], Role::Query).with_deadline(deadline);
    let mut late = engine.submit(&request).unwrap();
    futures::executor::block_on(late.finished());
    assert!(matches!(&late.take_rows()[..], [None]));
    hand.release();
    wait_for(running)[0].as_ref().unwrap();
    embed(&engine, &["next"])[0].as_ref().unwrap();
    assert_eq!(hand.noted(), ["wait", "next"], "a call that nobody waits for costs nothing");
}

#[test]
fn a_deadline_keeps_the_rows_that_made_it() {
    let (engine, hand) = start(&Options::default());
    let deadline = Instant::now() + Duration::from_secs(3600);
    let request = EmbedRequest::new(["long text", "wait", "c"], Role::Query).with_deadline(deadline);
    let mut call = engine.submit(&request).unwrap();
    hand.wait_until_entered();
    engine.pool.expire(Instant::now());
    assert!(!call.call.is_over());
    engine.pool.expire(deadline);
    futures::executor::block_on(call.finished());
    let rows = call.take_rows();
    assert!(matches!(&rows[..], [Some(Ok(_)), None, None]), "{rows:?}");
    hand.release();
}

#[test]
fn a_deadline_that_is_over_is_refused() {
    let (engine, hand) = start(&Options::default());
    let request = EmbedRequest::new(["text"], Role::Query).with_deadline(Instant::now());
    let error = engine.submit(&request).err().unwrap();
    assert!(error.kind() == ErrorKind::Timeout && error.is_temporary());
    assert!(hand.noted().is_empty());
}

/// A waker that takes the rows in place, or panics.
struct InPlace {
    call: Arc<EngineCall>,
    rows: Mutex<usize>,
    panics: bool,
}

impl Wake for InPlace {
    fn wake(self: Arc<Self>) {
        *self.rows.lock().unwrap() = self.call.take_rows().len();
        assert!(!self.panics, "as the test says");
    }
}

#[test]
fn a_waker_may_run_anything_in_place_and_may_panic() {
    let (engine, hand) = sharing();
    for panics in [false, true] {
        let mut call = submit(&engine, &["wait", "b"]).unwrap();
        let waker = InPlace { call: Arc::clone(&call.call), rows: Mutex::new(0), panics };
        let waker = Arc::new(waker);
        let as_waker = Waker::from(Arc::clone(&waker));
        let polled = Pin::new(&mut call.done).poll(&mut Context::from_waker(&as_waker));
        assert!(matches!(polled, Poll::Pending));
        hand.wait_until_entered();
        hand.release();
        until(|| waker.rows.lock().map_or_else(|poisoned| *poisoned.into_inner(), |rows| *rows) == 2);
        // The worker is still there.
        embed(&engine, &["next"])[0].as_ref().unwrap();
    }
}

#[test]
fn what_is_dropped_without_an_answer_is_answered() {
    let request = EmbedRequest::new(["a", "b"], Role::Query);
    let (call, done) = EngineCall::new(&request, ModelId(0), Normalisation::L2, &Arc::default());
    drop(job::TextSlot::new(&call, 0));
    let text = TokenisedText {
        windows: [1, 2].map(|id| Window { ids: vec![id], weight: 1 }).into(),
        tokens: TokenCount { used: 2, total: 2 },
    };
    let mut pieces = job::pieces(job::TextSlot::new(&call, 1), text);
    pieces.remove(0).answer(Ok(OWN.to_vec()));
    drop(pieces);
    futures::executor::block_on(done).unwrap();
    for row in call.take_rows() {
        assert_eq!(row.unwrap().unwrap_err().kind(), ErrorKind::Unavailable);
    }
}

/// Two workers and a model on all cores.
fn with_all_core(all_core: AllCore) -> (Engine<Bytes>, Hand) {
    start(&Options { threads: 2, ragged: true, all_core, ..Options::default() })
}

/// Embeds texts one after the other until the model on all cores was used: it opens after the others.
fn until_all_core(engine: &Engine<Bytes>, hand: &Hand) -> Result<EngineRow, Error> {
    loop {
        let row = embed(engine, &["alone"]).remove(0);
        if hand.script.on_all_cores.load(Ordering::SeqCst) > 0 {
            return row;
        }
    }
}

#[test]
fn a_text_alone_runs_on_all_cores_and_others_on_their_own() {
    let (engine, hand) = with_all_core(AllCore::Runs);
    assert_eq!(until_all_core(&engine, &hand).unwrap().vector, ALL_CORE);

    let before = hand.script.on_all_cores.load(Ordering::SeqCst);
    let rows = embed(&engine, &["a", "b", "c"]);
    assert!(
        rows.iter().all(|row| row.as_ref().unwrap().vector == OWN),
        "a batch keeps all cores busy itself"
    );
    // One call, both of whose texts are with a worker: of two, the second could still wait for one, or not.
    let running = submit(&engine, &["wait", "wait"]).unwrap();
    hand.wait_until_entered();
    hand.wait_until_entered();
    let beside = submit(&engine, &["beside them"]).unwrap();
    hand.release();
    assert_eq!(wait_for(beside)[0].as_ref().unwrap().vector, OWN, "the other worker is still busy");
    hand.release();
    drop(wait_for(running));
    assert_eq!(hand.script.on_all_cores.load(Ordering::SeqCst), before);
}

#[test]
fn a_query_goes_ahead_inside_of_a_long_window() {
    for all_core in [AllCore::Runs, AllCore::Fails, AllCore::Panics] {
        let (engine, hand) = with_all_core(all_core);
        until_all_core(&engine, &hand).unwrap();
        let before = hand.noted().len();
        let long = submit_long(&engine, &window("wait").repeat(4));
        hand.wait_until_entered();
        hand.wait_until_entered();
        let query = submit(&engine, &["query"]).unwrap();
        hand.release();
        let row = wait_for(query).remove(0).unwrap();
        if all_core == AllCore::Runs {
            assert_eq!(row.vector, ALL_CORE);
            assert_eq!(hand.noted()[before + 2], "query", "before any other window");
        } else {
            assert_eq!(row.vector, OWN, "tried again on a worker");
        }
        (0..3).for_each(|_| hand.release());
        assert!(wait_for(long)[0].is_ok());
        assert_eq!(engine.broken_workers(), 0);
    }
}

#[test]
fn what_fails_on_all_cores_is_tried_again_on_one() {
    for all_core in [AllCore::Fails, AllCore::Panics] {
        let (engine, hand) = with_all_core(all_core);
        assert_eq!(until_all_core(&engine, &hand).unwrap().vector, OWN);
        assert_eq!(engine.broken_workers(), 0);
        embed(&engine, &["alone"])[0].as_ref().unwrap();
        // After a panic it is gone for good; an error may have been the text's.
        let uses = if all_core == AllCore::Panics { 1 } else { 2 };
        assert_eq!(hand.script.on_all_cores.load(Ordering::SeqCst), uses);
        assert_eq!(hand.script.opened.load(Ordering::SeqCst), 2);
    }
}

#[test]
fn no_worker_is_missing_while_the_model_on_all_cores_is_opened() {
    let (engine, hand) = with_all_core(AllCore::OpensLate);
    // Until it is released, it is being opened.
    let rows = embed(&engine, &["a", "b"]);
    assert!(rows.iter().all(Result::is_ok));
    assert_eq!(embed(&engine, &["alone"])[0].as_ref().unwrap().vector, OWN);
    hand.release();
    assert_eq!(until_all_core(&engine, &hand).unwrap().vector, ALL_CORE);
}
