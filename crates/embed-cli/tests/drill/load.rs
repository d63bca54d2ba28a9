//! A bounded load: a few callers who ask for one text after the other, at a pace, and compare every row.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use embed_testkit::ollama::OllamaDouble;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::balancer::Balancer;
use crate::http::{Connection, ask, until};
use crate::serving::Serving;
use crate::texts::{Known, Texts, embedding};

const CALLERS: usize = 4;
/// Of each caller.
const PACE: Duration = Duration::from_millis(10);
/// Who has not answered by then never will.
const REQUEST_LIMIT: Duration = Duration::from_secs(20);

/// What the callers were answered.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    right: AtomicU64,
    right_english: AtomicU64,
    wrong: AtomicU64,
    /// By status, or `broken` for a connection that broke, or `silent` for a request that wasn't answered.
    refusals: Mutex<BTreeMap<String, u64>>,
    /// The first wrong row: its text, status and space.
    first_wrong: Mutex<Option<String>>,
}

#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) balancer: Arc<Balancer>,
    pub(crate) tally: Arc<Tally>,
    /// Ends with the load.
    _callers: JoinSet<()>,
}

impl Load {
    /// Starts the callers, who send this key if there is one.
    pub(crate) fn start(urls: &[&str], texts: Texts, key: Option<&'static str>) -> Self {
        let (balancer, tally) = (Balancer::new(urls), Arc::<Tally>::default());
        let (texts, numbers) = (Arc::new(texts), Arc::<AtomicU64>::default());
        let mut callers = JoinSet::new();
        for _ in 0..CALLERS {
            let caller = Caller {
                balancer: Arc::clone(&balancer),
                tally: Arc::clone(&tally),
                texts: Arc::clone(&texts),
                numbers: Arc::clone(&numbers),
                key,
            };
            callers.spawn(caller.call());
        }
        Self { balancer, tally, _callers: callers }
    }

    /// Waits until so many more rows came that are right.
    pub(crate) async fn answers(&self, count: u64) {
        let wanted = self.tally.right() + count;
        until("texts are embedded", async || self.tally.right() >= wanted).await;
    }

    /// Waits until so many more requests were refused.
    pub(crate) async fn refusals(&self, count: u64) {
        let wanted = self.tally.refused() + count;
        until("callers are refused", async || self.tally.refused() >= wanted).await;
    }
}

impl Tally {
    pub(crate) fn right(&self) -> u64 {
        self.right.load(Ordering::Relaxed)
    }

    pub(crate) fn right_english(&self) -> u64 {
        self.right_english.load(Ordering::Relaxed)
    }

    pub(crate) fn wrong(&self) -> u64 {
        self.wrong.load(Ordering::Relaxed)
    }

    pub(crate) fn first_wrong(&self) -> Option<String> {
        self.first_wrong.lock().unwrap().clone()
    }

    pub(crate) fn refused(&self) -> u64 {
        self.refusals.lock().unwrap().values().sum()
    }

    /// How many there were, by status.
    pub(crate) fn refusals(&self) -> BTreeMap<String, u64> {
        self.refusals.lock().unwrap().clone()
    }

    fn refuse(&self, why: String) {
        *self.refusals.lock().unwrap().entry(why).or_default() += 1;
    }
}

struct Caller {
    balancer: Arc<Balancer>,
    tally: Arc<Tally>,
    texts: Arc<Texts>,
    numbers: Arc<AtomicU64>,
    key: Option<&'static str>,
}

impl Caller {
    async fn call(self) {
        // As balancers do, a connection to each process is kept.
        let mut connections: BTreeMap<String, Connection> = BTreeMap::new();
        let mut turns = interval(PACE);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            turns.tick().await;
            // Nobody is ready, so nobody is asked.
            let Some(instance) = self.balancer.choose() else { continue };
            let known = self.texts.number(self.numbers.fetch_add(1, Ordering::Relaxed));
            let url = instance.url();
            let connection = match connections.remove(&url) {
                Some(connection) => Ok(connection),
                None => Connection::open(&url).await,
            };
            let Ok(mut connection) = connection else {
                // No request was sent: a balancer takes another instance.
                instance.broke();
                continue;
            };
            if self.ask(&mut connection, &known).await {
                connections.insert(url, connection);
            } else {
                instance.broke();
            }
        }
    }

    /// Whether the connection held.
    async fn ask(&self, connection: &mut Connection, known: &Known) -> bool {
        let mut request = embedding(self.texts.model, &known.text);
        if let Some(key) = self.key {
            request.headers_mut().insert("x-api-key", key.parse().unwrap());
        }
        let reply = match timeout(REQUEST_LIMIT, connection.send(request)).await {
            Ok(Ok(reply)) => reply,
            failed => {
                self.tally.refuse(if failed.is_err() { "silent" } else { "broken" }.to_owned());
                return false;
            }
        };
        if reply.status != 200 {
            self.tally.refuse(reply.status.as_u16().to_string());
        } else if known.is(&reply) {
            self.tally.right.fetch_add(1, Ordering::Relaxed);
            self.tally.right_english.fetch_add(u64::from(known.is_english()), Ordering::Relaxed);
        } else {
            self.tally.wrong.fetch_add(1, Ordering::Relaxed);
            let what = format!("{:?} in the space {:?}", known.text, reply.header("x-embed-space"));
            self.tally.first_wrong.lock().unwrap().get_or_insert(what);
        }
        reply.header("connection") != "close"
    }
}

/// A drill that never finds anything would be none.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_of_another_text_or_space_is_noticed() {
    let ollama = OllamaDouble::start("0.9.3").await;
    let serving = Serving::start(
        &["--service", "ollama"],
        &[("TMWS_OLLAMA_API_BASE", &*ollama.url()), ("TMWS_CACHE", "off")],
    );
    let load = Load::start(&[serving.url()], Texts::of_double(), None);
    load.answers(20).await;
    assert_eq!(load.tally.wrong(), 0, "{:?}", load.tally.first_wrong());
    ollama.change(|script| script.drift = 0.1);
    until("wrong rows are noticed", async || load.tally.wrong() > 20).await;
    let reply = ask(serving.url(), embedding("all-minilm", "the depth of lake 1")).await.unwrap();
    assert_eq!(reply.status, 200);
    assert!(!Texts::of_double().number(3).is(&reply));
    ollama.change(|script| script.drift = 0.0);
    let mut reply = ask(serving.url(), embedding("all-minilm", "the depth of lake 1")).await.unwrap();
    assert!(Texts::of_double().number(3).is(&reply));
    reply.headers.insert("x-embed-space", "another/mean/plain/l2/384".parse().unwrap());
    assert!(!Texts::of_double().number(3).is(&reply));
}
