//! The engine with a scripted encoder: panics, cancelled callers, turns, limits, the end.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use embed_core::{EmbedRequest, ErrorKind, Role, TokenCount, Truncation};

use super::*;
use crate::tokenizer::{TokenisedText, Window};

/// An encoder that does what the text says: `panic` panics, `wait` waits for the test, everything else is
/// noted. A text has as many tokens as bytes, and they are its ids.
struct Script {
    opened: AtomicUsize,
    /// Models that open before the next ones fail.
    opens: AtomicUsize,
    entered: Mutex<Sender<()>>,
    release: Mutex<Receiver<()>>,
    noted: Mutex<Vec<String>>,
    /// What is opened as the model on all threads, if anything.
    wide: Mutex<Option<Box<dyn Encoder>>>,
    /// Whether texts may share a run.
    share: bool,
}

/// The test's ends of the script's channels.
struct Hand {
    script: Arc<Script>,
    entered: Receiver<()>,
    release: Sender<()>,
}

/// A model of a thread's own.
struct Own {
    share: bool,
}

impl Encoder for Own {
    fn encode(&mut self, texts: &[&[i64]]) -> Result<Vec<Vec<f32>>, Error> {
        Ok(vec![vec![1.0]; texts.len()])
    }

    fn shares_runs(&self) -> bool {
        self.share
    }
}

/// The model on all threads: it notes each use, and panics if it is told so.
struct OnAll {
    uses: Arc<AtomicUsize>,
    panics: bool,
}

impl Encoder for OnAll {
    fn encode(&mut self, texts: &[&[i64]]) -> Result<Vec<Vec<f32>>, Error> {
        self.uses.fetch_add(1, Ordering::SeqCst);
        assert!(!self.panics, "as the test says");
        Ok(vec![vec![2.0]; texts.len()])
    }

    fn shares_runs(&self) -> bool {
        true
    }
}

impl EncodeText for Script {
    fn open(&self) -> Result<Box<dyn Encoder>, Error> {
        if self.opened.fetch_add(1, Ordering::SeqCst) >= self.opens.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Config, "no model"));
        }
        Ok(Box::new(Own { share: self.share }))
    }

    fn open_wide(&self) -> Option<Box<dyn Encoder>> {
        self.wide.lock().unwrap().take()
    }

    fn tokenise(&self, text: &str, _role: Role, _truncation: Truncation) -> Result<TokenisedText, Error> {
        if text == "no token" {
            return Err(Error::new(ErrorKind::InvalidInput, "as the script says"));
        }
        let ids = text.bytes().map(u32::from).collect();
        let tokens = TokenCount { used: text.len(), total: text.len() };
        Ok(TokenisedText { windows: vec![Window { ids, weight: 1 }], tokens })
    }

    fn encode(
        &self,
        encoder: &mut dyn Encoder,
        texts: &[(&str, &TokenisedText)],
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Vec<RowOutput>, Error> {
        let names: Vec<_> = texts.iter().map(|(text, _)| *text).collect();
        assert!(!names.contains(&"panic"), "as the script says");
        if names.iter().any(|text| text.starts_with("wait")) {
            self.entered.lock().unwrap().send(()).unwrap();
            self.release.lock().unwrap().recv().unwrap();
        }
        if !cancelled() {
            self.noted.lock().unwrap().push(names.join("+"));
        }
        let ids: Vec<Vec<i64>> = texts
            .iter()
            .filter_map(|(_, text)| text.only_window())
            .map(|ids| ids.iter().map(|&id| id.into()).collect())
            .collect();
        let ids: Vec<_> = ids.iter().map(Vec::as_slice).collect();
        let row = |(vector, (_, text)): (Vec<f32>, &(&str, &TokenisedText))| RowOutput {
            vector,
            tokens: text.tokens,
        };
        Ok(encoder.encode(&ids)?.into_iter().zip(texts).map(row).collect())
    }
}

fn engine(threads: usize, max_waiting_calls: usize, opens: usize) -> (Result<Engine, Error>, Hand) {
    engine_with(threads, max_waiting_calls, opens, None, false)
}

/// An engine whose texts share runs.
fn sharing(threads: usize) -> (Engine, Hand) {
    let (engine, hand) = engine_with(threads, 8, 99, None, true);
    (engine.unwrap(), hand)
}

fn engine_with(
    threads: usize,
    max_waiting_calls: usize,
    opens: usize,
    wide: Option<Box<dyn Encoder>>,
    share: bool,
) -> (Result<Engine, Error>, Hand) {
    let (entered_sender, entered) = channel();
    let (release, release_receiver) = channel();
    let script = Arc::new(Script {
        opened: AtomicUsize::new(0),
        opens: AtomicUsize::new(opens),
        entered: Mutex::new(entered_sender),
        release: Mutex::new(release_receiver),
        noted: Mutex::default(),
        wide: Mutex::new(wide),
        share,
    });
    let threads = NonZeroUsize::new(threads).unwrap();
    let engine = Engine::start(threads, max_waiting_calls, Arc::clone(&script) as _);
    (engine, Hand { script, entered, release })
}

fn submit(engine: &Engine, texts: &[&str]) -> Result<Submitted, Error> {
    engine.submit(&EmbedRequest::new(texts.iter().copied(), Role::Query))
}

fn wait_for(mut call: Submitted) -> Vec<Result<RowOutput, Error>> {
    futures::executor::block_on(call.finished());
    call.take_rows().into_iter().map(Option::unwrap).collect()
}

#[test]
fn a_panic_is_an_error_of_its_text_and_the_worker_is_replaced() {
    let (engine, hand) = engine(1, 8, 99);
    let engine = engine.unwrap();
    let rows = wait_for(submit(&engine, &["good", "panic", "fine"]).unwrap());
    let error = rows[1].as_ref().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.is_temporary());
    for good in [&rows[0], &rows[2]] {
        assert_eq!(good.as_ref().unwrap().vector, [1.0]);
    }
    assert_eq!(hand.script.opened.load(Ordering::SeqCst), 2);
    assert_eq!(engine.broken_workers(), (0, 1));
}

#[test]
fn a_worker_that_cannot_be_replaced_says_so_until_it_can() {
    let (engine, hand) = engine(1, 8, 1);
    let engine = engine.unwrap();
    wait_for(submit(&engine, &["panic"]).unwrap())[0].as_ref().unwrap_err();
    assert_eq!(engine.broken_workers(), (1, 1));
    let rows = wait_for(submit(&engine, &["text"]).unwrap());
    assert_eq!(rows[0].as_ref().unwrap_err().kind(), ErrorKind::Config);
    hand.script.opens.store(99, Ordering::SeqCst);
    wait_for(submit(&engine, &["text"]).unwrap())[0].as_ref().unwrap();
    assert_eq!(engine.broken_workers(), (0, 1));
}

#[test]
fn a_model_that_does_not_open_is_an_error_of_the_start() {
    let (engine, _hand) = engine(2, 8, 1);
    assert_eq!(engine.unwrap_err().kind(), ErrorKind::Config);
}

#[test]
fn what_a_caller_dropped_costs_nothing_further() {
    let (engine, hand) = engine(1, 8, 99);
    let engine = engine.unwrap();
    let call = submit(&engine, &["wait for it", "b", "c", "d"]).unwrap();
    hand.entered.recv().unwrap();
    drop(call);
    hand.release.send(()).unwrap();
    wait_for(submit(&engine, &["next"]).unwrap())[0].as_ref().unwrap();
    assert_eq!(*hand.script.noted.lock().unwrap(), ["next"]);
}

#[test]
fn calls_take_turns() {
    let (engine, hand) = engine(1, 8, 99);
    let engine = engine.unwrap();
    let first = submit(&engine, &["wait for the others"]).unwrap();
    hand.entered.recv().unwrap();
    let large = submit(&engine, &["1", "1", "1", "1", "1", "1"]).unwrap();
    let small = submit(&engine, &["2"]).unwrap();
    hand.release.send(()).unwrap();
    for call in [first, large, small] {
        wait_for(call);
    }
    let noted = hand.script.noted.lock().unwrap();
    assert_eq!(noted[1..3], ["1", "2"], "the small call waited for all of the large one");
}

#[test]
fn long_texts_go_first_and_rows_keep_their_places() {
    let (engine, hand) = engine(1, 8, 99);
    let engine = engine.unwrap();
    let rows = wait_for(submit(&engine, &["b", "cccc", "aa"]).unwrap());
    assert_eq!(*hand.script.noted.lock().unwrap(), ["cccc", "aa", "b"]);
    let lengths: Vec<_> = rows.iter().map(|row| row.as_ref().unwrap().tokens.used).collect();
    assert_eq!(lengths, [1, 4, 2]);
}

/// The runs after the one that the test held up.
fn later(hand: &Hand) -> Vec<String> {
    hand.script.noted.lock().unwrap().split_off(1)
}

#[test]
fn short_texts_share_a_run_whoever_asked_for_them() {
    let (engine, hand) = sharing(1);
    let first = submit(&engine, &["wait for the others"]).unwrap();
    hand.entered.recv().unwrap();
    let calls = [
        submit(&engine, &["aa", "b", "cc"]).unwrap(),
        submit(&engine, &["dd"]).unwrap(),
        submit(&engine, &["e", "no token"]).unwrap(),
    ];
    hand.release.send(()).unwrap();
    wait_for(first);
    let [of_three, of_one, of_two] = calls.map(wait_for);
    assert_eq!(later(&hand), ["aa+cc+b+dd+e"]);
    let lengths: Vec<_> = of_three.iter().map(|row| row.as_ref().unwrap().tokens.used).collect();
    assert_eq!(lengths, [2, 1, 2], "rows keep their places");
    assert_eq!(of_one[0].as_ref().unwrap().tokens.used, 2);
    assert_eq!(of_two[1].as_ref().unwrap_err().kind(), ErrorKind::InvalidInput);
    of_two[0].as_ref().unwrap();
}

#[test]
fn a_run_takes_the_longest_texts_that_it_has_room_for() {
    let (engine, hand) = sharing(1);
    let first = submit(&engine, &["wait for the others"]).unwrap();
    hand.entered.recv().unwrap();
    let texts = [90, 40, 200, 30, 80, 70].map(|length| "x".repeat(length));
    let call = submit(&engine, &texts.each_ref().map(String::as_str)).unwrap();
    hand.release.send(()).unwrap();
    wait_for(first);
    let rows = wait_for(call);
    let runs = later(&hand);
    let lengths = runs.iter().map(|run| run.split('+').map(str::len).collect::<Vec<_>>());
    assert_eq!(lengths.collect::<Vec<_>>(), [vec![200], vec![90, 80], vec![70, 40, 30]]);
    let used: Vec<_> = rows.iter().map(|row| row.as_ref().unwrap().tokens.used).collect();
    assert_eq!(used, [90, 40, 200, 30, 80, 70], "rows keep their places");
}

/// The sizes of the runs in which two threads embed the text so many times, the largest first: they are chosen one
/// after the other and shrink, but the threads end them in any order.
fn runs_of(text: &str, times: usize) -> Vec<usize> {
    let (engine, hand) = sharing(2);
    let first = submit(&engine, &["wait", "wait"]).unwrap();
    // Two texts on two threads: each has one.
    hand.entered.recv().unwrap();
    hand.entered.recv().unwrap();
    let call = submit(&engine, &vec![text; times]).unwrap();
    hand.release.send(()).unwrap();
    hand.release.send(()).unwrap();
    wait_for(first);
    wait_for(call);
    let noted = hand.script.noted.lock().unwrap();
    let of_text = noted.iter().filter(|run| run.starts_with(text));
    let mut sizes: Vec<_> = of_text.map(|run| run.split('+').count()).collect();
    sizes.sort_unstable_by(|a, b| b.cmp(a));
    sizes
}

#[test]
fn a_run_is_short_and_leaves_the_other_threads_their_share() {
    assert_eq!(runs_of(&"x".repeat(80), 8), [2, 2, 2, 1, 1], "192 tokens, then the share");
    assert_eq!(runs_of("y", 4), [2, 1, 1], "half of what waits, for each of two");
}

#[test]
fn a_text_that_panics_spoils_no_other_of_its_run() {
    let (engine, hand) = sharing(1);
    let first = submit(&engine, &["wait for the others"]).unwrap();
    hand.entered.recv().unwrap();
    let call = submit(&engine, &["12345", "panic", "abcde"]).unwrap();
    hand.release.send(()).unwrap();
    wait_for(first);
    let rows = wait_for(call);
    assert_eq!(rows[1].as_ref().unwrap_err().kind(), ErrorKind::Unavailable);
    for good in [&rows[0], &rows[2]] {
        good.as_ref().unwrap();
    }
    assert_eq!(later(&hand), ["12345", "abcde"], "each alone");
    assert_eq!(hand.script.opened.load(Ordering::SeqCst), 3, "the model was opened after each panic");
}

#[test]
fn a_full_queue_is_overloaded_and_empties() {
    let (engine, hand) = engine(1, 1, 99);
    let engine = engine.unwrap();
    let running = submit(&engine, &["wait"]).unwrap();
    hand.entered.recv().unwrap();
    let waiting = submit(&engine, &["a"]).unwrap();
    let error = submit(&engine, &["b"]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Overloaded);
    assert!(error.is_temporary() && error.to_string().contains("max_waiting_calls"));
    drop(waiting);
    let waiting = submit(&engine, &["c"]).unwrap();
    hand.release.send(()).unwrap();
    for (call, length) in [(running, 4), (waiting, 1)] {
        assert_eq!(wait_for(call)[0].as_ref().unwrap().tokens.used, length);
    }
}

#[test]
fn a_call_without_texts_is_done() {
    let (engine, _hand) = engine(1, 8, 99);
    assert!(wait_for(submit(&engine.unwrap(), &[]).unwrap()).is_empty());
}

/// Two threads, and a model on both that counts how often it is used.
fn wide_engine(panics: bool) -> (Engine, Hand, Arc<AtomicUsize>) {
    let uses = Arc::new(AtomicUsize::new(0));
    let wide = OnAll { uses: Arc::clone(&uses), panics };
    let (engine, hand) = engine_with(2, 8, 99, Some(Box::new(wide)), true);
    (engine.unwrap(), hand, uses)
}

/// Embeds texts one after the other until the model on all threads was used: it opens after the others.
fn until_wide(engine: &Engine, uses: &AtomicUsize) -> Result<RowOutput, Error> {
    loop {
        let row = wait_for(submit(engine, &["alone"]).unwrap()).remove(0);
        if uses.load(Ordering::SeqCst) > 0 {
            return row;
        }
    }
}

#[test]
fn a_text_alone_runs_on_all_threads_and_others_on_their_own() {
    let (engine, hand, uses) = wide_engine(false);
    assert_eq!(until_wide(&engine, &uses).unwrap().vector, [2.0]);

    let before = uses.load(Ordering::SeqCst);
    let rows = wait_for(submit(&engine, &["a", "b", "c"]).unwrap());
    assert!(
        rows.iter().all(|row| row.as_ref().unwrap().vector == [1.0]),
        "a batch keeps all cores busy itself"
    );
    let running = submit(&engine, &["wait", "wait"]).unwrap();
    hand.entered.recv().unwrap();
    hand.entered.recv().unwrap();
    let beside = submit(&engine, &["beside them"]).unwrap();
    hand.release.send(()).unwrap();
    assert_eq!(wait_for(beside)[0].as_ref().unwrap().vector, [1.0], "another thread was still at work");
    hand.release.send(()).unwrap();
    wait_for(running);
    assert_eq!(uses.load(Ordering::SeqCst), before);
}

#[test]
fn the_threads_do_without_the_model_on_all_of_them_once_it_panicked() {
    let (engine, hand, uses) = wide_engine(true);
    let error = until_wide(&engine, &uses).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(engine.broken_workers(), (0, 2));
    for _ in 0..3 {
        assert_eq!(wait_for(submit(&engine, &["alone"]).unwrap())[0].as_ref().unwrap().vector, [1.0]);
    }
    assert_eq!((uses.load(Ordering::SeqCst), hand.script.opened.load(Ordering::SeqCst)), (1, 2));
}
