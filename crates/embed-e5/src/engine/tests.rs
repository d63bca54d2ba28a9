//! The engine with a scripted encoder: panics, cancelled callers, turns, limits, the end.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use embed_core::{EmbedRequest, ErrorKind, Role, TokenCount, Truncation};

use super::*;

/// An encoder that does what the text says: `panic` panics, `wait` waits for the test, everything else is
/// noted.
struct Script {
    opened: AtomicUsize,
    /// Models that open before the next ones fail.
    opens: AtomicUsize,
    entered: Mutex<Sender<()>>,
    release: Mutex<Receiver<()>>,
    noted: Mutex<Vec<String>>,
    /// What is opened as the model on all threads, if anything.
    wide: Mutex<Option<Box<dyn Encoder>>>,
}

/// The test's ends of the script's channels.
struct Hand {
    script: Arc<Script>,
    entered: Receiver<()>,
    release: Sender<()>,
}

/// A model of a thread's own.
struct Own;

impl Encoder for Own {
    fn encode(&mut self, _ids: &[i64]) -> Result<Vec<f32>, Error> {
        Ok(vec![1.0])
    }
}

/// The model on all threads: it notes each use, and panics if it is told so.
struct OnAll {
    uses: Arc<AtomicUsize>,
    panics: bool,
}

impl Encoder for OnAll {
    fn encode(&mut self, _ids: &[i64]) -> Result<Vec<f32>, Error> {
        self.uses.fetch_add(1, Ordering::SeqCst);
        assert!(!self.panics, "as the test says");
        Ok(vec![2.0])
    }
}

impl EncodeText for Script {
    fn open(&self) -> Result<Box<dyn Encoder>, Error> {
        if self.opened.fetch_add(1, Ordering::SeqCst) >= self.opens.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Config, "no model"));
        }
        Ok(Box::new(Own))
    }

    fn open_wide(&self) -> Option<Box<dyn Encoder>> {
        self.wide.lock().unwrap().take()
    }

    fn encode_text(
        &self,
        encoder: &mut dyn Encoder,
        text: &str,
        _role: Role,
        _truncation: Truncation,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<RowOutput, Error> {
        assert!(text != "panic", "as the script says");
        if text.starts_with("wait") {
            self.entered.lock().unwrap().send(()).unwrap();
            self.release.lock().unwrap().recv().unwrap();
        }
        if !cancelled() {
            self.noted.lock().unwrap().push(text.to_owned());
        }
        let vector = encoder.encode(&[])?;
        Ok(RowOutput { vector, tokens: TokenCount { used: text.len(), total: text.len() } })
    }
}

fn engine(threads: usize, max_waiting_calls: usize, opens: usize) -> (Result<Engine, Error>, Hand) {
    engine_with(threads, max_waiting_calls, opens, None)
}

fn engine_with(
    threads: usize,
    max_waiting_calls: usize,
    opens: usize,
    wide: Option<Box<dyn Encoder>>,
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
    let (engine, hand) = engine_with(2, 8, 99, Some(Box::new(wide)));
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
