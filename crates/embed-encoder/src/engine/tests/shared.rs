//! Several models on one set of threads: turns, unloading and loading again, failures that stay with their model.

use super::*;

/// Two models on the same threads, which both share runs among their texts.
fn two(options: &Options) -> [(Engine<Bytes>, Hand); 2] {
    let threads = threads(options);
    [(); 2].map(|()| start_on(&threads, options))
}

fn idle(threads: usize) -> Options {
    Options { threads, ragged: true, keep_alive: Some(Duration::from_secs(60)), ..Options::default() }
}

/// As if this much time had passed.
fn pass(engine: &Engine<Bytes>, seconds: u64) {
    engine.pool.expire(Instant::now() + Duration::from_secs(seconds));
}

fn stats(engine: &Engine<Bytes>) -> crate::EncoderStats {
    engine.counters.read()
}

fn opened(hand: &Hand) -> usize {
    hand.script.opened.load(Ordering::SeqCst)
}

#[test]
fn two_models_take_turns_and_never_share_a_run() {
    let options = Options { ragged: true, ..Options::default() };
    let [(first, of_first), (second, of_second)] = two(&options);
    let running = submit(&first, &["wait for the others"]).unwrap();
    of_first.wait_until_entered();
    let calls = [
        submit(&first, &["aa", "b"]).unwrap(),
        submit(&second, &["cc", "d"]).unwrap(),
        submit(&first, &["e"]).unwrap(),
        submit(&second, &["f"]).unwrap(),
    ];
    of_first.release();
    for call in [running].into_iter().chain(calls) {
        assert!(wait_for(call).iter().all(Result::is_ok));
    }
    let runs = |hand: &Hand| {
        let run = |run: &String| {
            let mut texts: Vec<_> = run.split('+').map(str::to_owned).collect();
            texts.sort_unstable();
            texts
        };
        hand.noted().iter().map(run).collect::<Vec<_>>()
    };
    assert_eq!(runs(&of_first)[1..], [["aa", "b", "e"]]);
    assert_eq!(runs(&of_second), [["cc", "d", "f"]]);
}

#[test]
fn a_query_of_one_model_comes_second_behind_a_book_of_another() {
    let [(first, of_first), (second, of_second)] = two(&Options::default());
    let book = submit_long(&first, &(window("wait") + &window("").repeat(5) + &window("wait") + &window("")));
    of_first.wait_until_entered();
    let query = submit(&second, &["query"]).unwrap();
    of_first.release();
    wait_for(query)[0].as_ref().unwrap();
    of_first.wait_until_entered();
    assert_eq!(of_second.noted(), ["query"]);
    of_first.release();
    wait_for(book)[0].as_ref().unwrap();
}

#[test]
fn a_query_goes_ahead_inside_of_a_long_window_of_another_model() {
    let options = Options { threads: 2, ragged: true, all_core: AllCore::Runs, ..Options::default() };
    let [(first, of_first), (second, of_second)] = two(&options);
    until_all_core(&second, &of_second).unwrap();
    let long = submit_long(&first, &window("wait").repeat(4));
    of_first.wait_until_entered();
    of_first.wait_until_entered();
    let query = submit(&second, &["query"]).unwrap();
    of_first.release();
    assert_eq!(wait_for(query).remove(0).unwrap().vector, ALL_CORE);
    (0..3).for_each(|_| of_first.release());
    wait_for(long)[0].as_ref().unwrap();
}

#[test]
fn an_idle_model_is_unloaded_and_loaded_again_while_another_one_works() {
    let [(first, of_first), (second, of_second)] = two(&idle(2));
    embed(&first, &["text"])[0].as_ref().unwrap();
    let running = submit(&second, &["wait"]).unwrap();
    of_second.wait_until_entered();

    pass(&first, 59);
    assert!(first.is_loaded(), "not yet");
    pass(&first, 61);
    assert!(!first.is_loaded() && second.is_loaded(), "one is idle, the other one works");
    assert_eq!((stats(&first).loads, stats(&first).unloads), (1, 1));
    assert_eq!((first.broken_workers(), of_first.script.sessions.load(Ordering::SeqCst)), (0, 0));

    let hold = of_first.hold_opening();
    let waiting = submit(&first, &["again", "and again"]).unwrap();
    of_first.wait_until_opening();
    // While it is loaded, the other model works on.
    assert!(!first.is_loaded());
    embed(&second, &["meanwhile"])[0].as_ref().unwrap();
    drop(hold);
    assert!(wait_for(waiting).iter().all(Result::is_ok));
    assert_eq!((stats(&first).loads, stats(&first).unloads), (2, 1));
    until(|| opened(&of_first) == 4);
    of_second.release();
    wait_for(running)[0].as_ref().unwrap();
    assert_eq!(opened(&of_second), 2, "it was never closed");
}

#[test]
fn deadline_and_cancellation_hold_while_a_model_is_loaded() {
    let (engine, hand) = start(&idle(1));
    pass(&engine, 61);
    let hold = hand.hold_opening();
    let deadline = Instant::now() + Duration::from_secs(3600);
    let mut late = engine.submit(&EmbedRequest::new(["late"], Role::Query).with_deadline(deadline)).unwrap();
    let dropped = submit(&engine, &["dropped"]).unwrap();
    let waiting = submit(&engine, &["next"]).unwrap();
    hand.wait_until_opening();
    drop(dropped);
    engine.pool.expire(deadline);
    futures::executor::block_on(late.finished());
    assert!(matches!(&late.take_rows()[..], [None]));
    drop(hold);
    wait_for(waiting)[0].as_ref().unwrap();
    assert_eq!(hand.noted(), ["next"]);
}

#[test]
fn one_session_is_enough_to_begin() {
    let (engine, hand) = start(&idle(3));
    pass(&engine, 61);
    hand.script.opens.store(opened(&hand) + 1, Ordering::SeqCst);
    embed(&engine, &["text"])[0].as_ref().unwrap();
    // The others don't open; that is no error of a text, and they are tried again.
    until(|| engine.broken_workers() == 2);
    assert!(embed(&engine, &["a", "b", "c", "d"]).iter().all(Result::is_ok));
    hand.script.opens.store(99, Ordering::SeqCst);
    until(|| engine.broken_workers() == 0);
}

#[test]
fn a_load_that_fails_fails_the_calls_of_its_model_and_the_next_one_tries_again() {
    let [(first, of_first), (second, of_second)] = two(&idle(1));
    let running = submit(&second, &["wait"]).unwrap();
    of_second.wait_until_entered();
    pass(&first, 61);
    of_first.script.opens.store(1, Ordering::SeqCst);
    let other = submit(&second, &["other"]).unwrap();
    let failed = submit(&first, &["a", "b"]).unwrap();
    for row in wait_for(failed) {
        assert_eq!(row.unwrap_err().kind(), ErrorKind::Config);
    }
    assert!(!first.is_loaded());
    of_second.release();
    for call in [running, other] {
        wait_for(call)[0].as_ref().unwrap();
    }
    let tries = opened(&of_first);
    assert_eq!(embed(&first, &["d"])[0].as_ref().unwrap_err().kind(), ErrorKind::Config);
    assert_eq!(opened(&of_first), tries + 1);
    of_first.script.opens.store(99, Ordering::SeqCst);
    embed(&first, &["e"])[0].as_ref().unwrap();
    assert_eq!((stats(&first).loads, first.broken_workers()), (2, 0), "failed ones don't count");
}

#[test]
fn a_session_that_breaks_is_that_of_one_model_alone() {
    let [(first, of_first), (second, of_second)] = two(&Options { opens: 1, ..Options::default() });
    embed(&first, &["panic"])[0].as_ref().unwrap_err();
    until(|| opened(&of_first) >= 2);
    assert_eq!((first.broken_workers(), second.broken_workers()), (1, 0));
    embed(&second, &["text"])[0].as_ref().unwrap();
    of_first.script.opens.store(99, Ordering::SeqCst);
    until(|| first.broken_workers() == 0);
    embed(&first, &["text"])[0].as_ref().unwrap();
    assert_eq!(opened(&of_second), 1);
}

#[test]
fn over_the_budget_the_model_that_was_used_least_recently_is_unloaded() {
    let options = Options { budget: Some(20), bytes: 10, ..Options::default() };
    let threads = threads(&options);
    let [first, second] = [(); 2].map(|()| start_on(&threads, &options));
    embed(&second.0, &["text"])[0].as_ref().unwrap();
    embed(&first.0, &["text"])[0].as_ref().unwrap();
    let third = start_on(&threads, &options);
    let loaded = |engines: [&Engine<Bytes>; 3]| engines.map(Engine::is_loaded);
    let all = [&first.0, &second.0, &third.0];
    assert_eq!(loaded(all), [true, false, true], "the second was used least recently");

    embed(&third.0, &["text"])[0].as_ref().unwrap();
    embed(&second.0, &["text"])[0].as_ref().unwrap();
    assert_eq!(loaded(all), [false, true, true]);
}

#[test]
fn a_model_that_is_needed_is_loaded_whatever_the_budget() {
    let options = Options { threads: 2, budget: Some(15), bytes: 10, ..Options::default() };
    let [(first, of_first), (second, of_second)] = two(&options);
    assert!(!first.is_loaded() && second.is_loaded());
    // Both are in use.
    let running = [submit(&first, &["wait"]).unwrap(), submit(&second, &["wait"]).unwrap()];
    of_first.wait_until_entered();
    of_second.wait_until_entered();
    assert!(first.is_loaded() && second.is_loaded());
    of_first.release();
    let [of_one, of_other] = running;
    wait_for(of_one)[0].as_ref().unwrap();
    until(|| first.is_loaded());
    of_second.release();
    wait_for(of_other)[0].as_ref().unwrap();
    // Now the first one is idle, and the budget holds again.
    until(|| !first.is_loaded());
    assert!(second.is_loaded());
}

#[test]
fn a_model_above_the_budget_stays_while_it_is_used_last() {
    let (engine, hand) = start(&Options { budget: Some(5), bytes: 10, ..Options::default() });
    for _ in 0..3 {
        embed(&engine, &["text"])[0].as_ref().unwrap();
    }
    assert_eq!(opened(&hand), 1);
}

#[test]
fn unloading_by_hand_ends_no_run_and_loses_no_call() {
    let (engine, hand) = start(&Options::default());
    let running = submit(&engine, &["wait for it", "then"]).unwrap();
    hand.wait_until_entered();
    engine.unload();
    hand.release();
    assert!(wait_for(running).iter().all(Result::is_ok));
    until(|| engine.is_loaded());
    assert_eq!((stats(&engine).loads, stats(&engine).unloads), (2, 1));
    engine.unload();
    engine.unload();
    assert_eq!((engine.is_loaded(), stats(&engine).unloads), (false, 2));
    assert_eq!(hand.script.sessions.load(Ordering::SeqCst), 0, "all sessions are closed");
    embed(&engine, &["text"])[0].as_ref().unwrap();
}

#[test]
fn a_shared_run_that_fails_after_unloading_is_tried_again_by_the_next_load() {
    let (engine, hand) = sharing();
    let call = submit(&engine, &["wait", "panic"]).unwrap();
    hand.wait_until_entered();
    engine.unload();
    hand.release();
    hand.release();
    let rows = wait_for(call);
    assert!(rows[0].is_ok() && rows[1].is_err());
}

#[test]
fn dropping_one_model_ends_its_calls_and_leaves_the_other_ones() {
    let [(first, of_first), (second, of_second)] = two(&Options { threads: 2, ..Options::default() });
    let running = submit(&first, &["wait"]).unwrap();
    of_first.wait_until_entered();
    let other = submit(&second, &["wait for it", "d", "e"]).unwrap();
    of_second.wait_until_entered();
    let mut waiting = submit(&first, &["b", "c"]).unwrap();
    let dropped = thread::spawn(move || drop(first));
    // What waits ends before the run does.
    futures::executor::block_on(waiting.finished());
    of_first.release();
    dropped.join().unwrap();
    assert_eq!(of_first.script.sessions.load(Ordering::SeqCst), 0, "its sessions are closed");
    of_second.release();
    assert!(wait_for(other).iter().all(Result::is_ok));
    assert_eq!(of_first.noted(), ["wait"]);
    drop((running, waiting));
    embed(&second, &["text"])[0].as_ref().unwrap();
}

#[test]
fn threads_end_with_the_last_that_holds_them() {
    let options = Options::default();
    let threads = threads(&options);
    let (engine, _hand) = start_on(&threads, &options);
    let ended = Arc::downgrade(&threads);
    drop(threads);
    embed(&engine, &["text"])[0].as_ref().unwrap();
    drop(engine);
    assert!(ended.upgrade().is_none());
}

#[test]
fn a_model_that_does_not_open_leaves_the_others_alone() {
    let options = Options { threads: 2, ..Options::default() };
    let threads = threads(&options);
    let (engine, _hand) = start_on(&threads, &options);
    let (failed, _its_hand) = try_start_on(&threads, &Options { opens: 1, ..options });
    assert_eq!(failed.unwrap_err().kind(), ErrorKind::Config);
    embed(&engine, &["text"])[0].as_ref().unwrap();
}
