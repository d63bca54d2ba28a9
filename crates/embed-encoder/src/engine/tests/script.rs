//! A scripted model and tokenizer, and an engine around them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, MutexGuard};

use embed_core::{Normalisation, Role, TokenCount, Truncation};

use super::super::*;
use crate::preempt;
use crate::tokenizer::{TokenisedText, Window};

/// Bytes of a window here; a byte is a token.
pub(super) const WINDOW: usize = 256;

/// Vectors of a worker's own model, and of the one on all cores.
pub(super) const OWN: [f32; 2] = [1.0, 0.0];
pub(super) const ALL_CORE: [f32; 2] = [0.0, 1.0];

/// A tokenizer whose ids are the bytes of the text, in windows of [`WINDOW`] if they are asked for.
pub(super) struct Bytes;

/// What models and the test share.
pub(super) struct Script {
    pub(super) opened: AtomicUsize,
    /// Models that open before the next ones fail.
    pub(super) opens: AtomicUsize,
    /// Models that aren't closed.
    pub(super) sessions: AtomicUsize,
    entered: Mutex<Sender<()>>,
    release: Mutex<Receiver<()>>,
    /// Models open one after the other, and not while the test holds this.
    opening: Mutex<()>,
    opens_now: Mutex<Sender<()>>,
    noted: Mutex<Vec<String>>,
    pub(super) on_all_cores: AtomicUsize,
    all_core: AllCore,
    ragged: bool,
}

/// What the model on all cores does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum AllCore {
    Missing,
    Runs,
    Fails,
    Panics,
    /// It waits for the test while it is opened.
    OpensLate,
}

/// A model that does what a text says: `panic` panics, `wait` waits for the test and then has a point; all of them are noted.
pub(super) struct ScriptedModel {
    script: Arc<Script>,
    threads: usize,
}

/// The test's ends of the script's channels.
pub(super) struct Hand {
    pub(super) script: Arc<Script>,
    entered: Receiver<()>,
    release: Sender<()>,
    opens_now: Receiver<()>,
}

impl Tokenise for Bytes {
    type Text = (Arc<str>, Truncation, usize);

    fn begin(&self, text: Arc<str>, _role: Role, truncation: Truncation) -> Result<Self::Text, Error> {
        assert_ne!(&*text, "panic at the tokenizer", "as the test says");
        if &*text == "no token" {
            return Err(Error::new(ErrorKind::InvalidInput, "as the script says"));
        }
        Ok((text, truncation, 0))
    }

    fn advance(&self, text: &mut Self::Text, bytes: usize) -> Result<Option<TokenisedText>, Error> {
        let (text, truncation, so_far) = text;
        *so_far += bytes;
        if *so_far < text.len() {
            return Ok(None);
        }
        let size = if *truncation == Truncation::ChunkMean { WINDOW } else { text.len() };
        let windows = text
            .as_bytes()
            .chunks(size)
            .map(|part| Window { ids: part.iter().copied().map(u32::from).collect(), weight: part.len() });
        let tokens = TokenCount { used: text.len(), total: text.len() };
        Ok(Some(TokenisedText { windows: windows.collect(), tokens }))
    }
}

impl EngineModel for ScriptedModel {
    fn run(&mut self, batch: &Ragged<'_>) -> Result<Vec<Vec<f32>>, Error> {
        let name = |ids: &&[u32]| ids.iter().filter_map(|&id| char::from_u32(id)).collect::<String>();
        let names: Vec<_> = batch.windows.iter().map(name).collect();
        let vector = if self.threads > 1 {
            self.script.on_all_cores.fetch_add(1, Ordering::SeqCst);
            match self.script.all_core {
                AllCore::Fails => return Err(Error::new(ErrorKind::Internal, "as the test says")),
                AllCore::Panics => panic!("as the test says"),
                _ => ALL_CORE,
            }
        } else {
            OWN
        };
        self.script.noted.lock().unwrap().push(names.join("+"));
        if names.iter().any(|text| text.starts_with("wait")) {
            self.script.entered.lock().unwrap().send(()).unwrap();
            self.script.release.lock().unwrap().recv().unwrap();
            preempt::point();
        }
        assert!(!names.iter().any(|text| text == "panic"), "as the script says");
        let vector = |name: &String| {
            let known = name.bytes().all(|byte| byte.is_ascii_digit());
            if known { name.bytes().map(f32::from).take(2).collect() } else { vector.to_vec() }
        };
        Ok(names.iter().map(vector).collect())
    }

    fn ragged(&self) -> bool {
        self.script.ragged
    }
}

impl Drop for ScriptedModel {
    fn drop(&mut self) {
        self.script.sessions.fetch_sub(1, Ordering::SeqCst);
    }
}

/// How an engine differs from one with a worker that runs each text alone.
pub(super) struct Options {
    pub(super) threads: usize,
    pub(super) max_waiting_calls: usize,
    pub(super) opens: usize,
    pub(super) all_core: AllCore,
    pub(super) ragged: bool,
    pub(super) keep_alive: Option<Duration>,
    /// What all models may count for, and what this one does.
    pub(super) budget: Option<u64>,
    pub(super) bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            threads: 1,
            max_waiting_calls: 8,
            opens: 99,
            all_core: AllCore::Missing,
            ragged: false,
            keep_alive: None,
            budget: None,
            bytes: 1,
        }
    }
}

/// The threads that the options ask for.
pub(super) fn threads(options: &Options) -> Arc<Threads<Bytes>> {
    let workers = NonZeroUsize::new(options.threads).unwrap();
    let limits = QueueLimits { calls: options.max_waiting_calls, bytes: 1 << 20 };
    Arc::new(Threads::start(workers, limits, options.budget).unwrap())
}

pub(super) fn try_start(options: &Options) -> (Result<Engine<Bytes>, Error>, Hand) {
    try_start_on(&threads(options), options)
}

/// A model on threads that others may use, too.
pub(super) fn try_start_on(
    threads: &Arc<Threads<Bytes>>,
    options: &Options,
) -> (Result<Engine<Bytes>, Error>, Hand) {
    let (entered_sender, entered) = channel();
    let (release, release_receiver) = channel();
    let (opens_sender, opens_now) = channel();
    let script = Arc::new(Script {
        opened: AtomicUsize::new(0),
        opens: AtomicUsize::new(options.opens),
        entered: Mutex::new(entered_sender),
        sessions: AtomicUsize::new(0),
        release: Mutex::new(release_receiver),
        opening: Mutex::new(()),
        opens_now: Mutex::new(opens_sender),
        noted: Mutex::default(),
        on_all_cores: AtomicUsize::new(0),
        all_core: options.all_core,
        ragged: options.ragged,
    });
    let opening = Arc::clone(&script);
    let open = move |threads: NonZeroUsize| -> Result<Box<dyn EngineModel>, Error> {
        let _ = opening.opens_now.lock().unwrap().send(());
        let one_by_one = opening.opening.lock().unwrap();
        if threads.get() > 1 {
            drop(one_by_one);
            if opening.all_core == AllCore::OpensLate {
                opening.release.lock().unwrap().recv().unwrap();
            }
        } else if opening.opened.fetch_add(1, Ordering::SeqCst) >= opening.opens.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Config, "no model"));
        }
        opening.sessions.fetch_add(1, Ordering::SeqCst);
        Ok(Box::new(ScriptedModel { script: Arc::clone(&opening), threads: threads.get() }))
    };
    let setup = Setup {
        normalisation: Normalisation::L2,
        keep_alive: options.keep_alive,
        bytes: options.bytes,
        all_core: (options.all_core != AllCore::Missing).then_some(NonZeroUsize::new(2).unwrap()),
        max_windows: 1000,
        open: Box::new(open),
        counters: Arc::default(),
    };
    (Engine::start(setup, Arc::new(Bytes), threads), Hand { script, entered, release, opens_now })
}

pub(super) fn start_on(threads: &Arc<Threads<Bytes>>, options: &Options) -> (Engine<Bytes>, Hand) {
    let (engine, hand) = try_start_on(threads, options);
    (engine.unwrap(), hand)
}

pub(super) fn start(options: &Options) -> (Engine<Bytes>, Hand) {
    let (engine, hand) = try_start(options);
    (engine.unwrap(), hand)
}

/// An engine whose texts share runs.
pub(super) fn sharing() -> (Engine<Bytes>, Hand) {
    start(&Options { ragged: true, ..Options::default() })
}

pub(super) fn submit(engine: &Engine<Bytes>, texts: &[&str]) -> Result<Submitted<Bytes>, Error> {
    engine.submit(&EmbedRequest::new(texts.iter().copied(), Role::Query))
}

/// A text in windows.
pub(super) fn submit_long(engine: &Engine<Bytes>, text: &str) -> Submitted<Bytes> {
    let request = EmbedRequest::new([text], Role::Query).with_truncation(Truncation::ChunkMean);
    engine.submit(&request).unwrap()
}

pub(super) fn wait_for(mut call: Submitted<Bytes>) -> Vec<Result<EngineRow, Error>> {
    futures::executor::block_on(call.finished());
    call.take_rows().into_iter().map(Option::unwrap).collect()
}

pub(super) fn embed(engine: &Engine<Bytes>, texts: &[&str]) -> Vec<Result<EngineRow, Error>> {
    wait_for(submit(engine, texts).unwrap())
}

/// Waits for something that no channel tells of.
pub(super) fn until(mut is_so: impl FnMut() -> bool) {
    while !is_so() {
        thread::yield_now();
    }
}

/// A row as wide as a window, that begins so.
pub(super) fn window(begin: &str) -> String {
    format!("{begin:x<WINDOW$}")
}

impl Hand {
    pub(super) fn noted(&self) -> Vec<String> {
        self.script.noted.lock().unwrap().clone()
    }

    pub(super) fn wait_until_entered(&self) {
        self.entered.recv().unwrap();
    }

    /// Lets no model open until this is dropped.
    pub(super) fn hold_opening(&self) -> MutexGuard<'_, ()> {
        while self.opens_now.try_recv().is_ok() {}
        self.script.opening.lock().unwrap()
    }

    /// Waits until a model begins to open, since they were last held.
    pub(super) fn wait_until_opening(&self) {
        self.opens_now.recv().unwrap();
    }

    pub(super) fn release(&self) {
        self.release.send(()).unwrap();
    }
}
