//! Ten times as many requests as can be answered: how soon the others are told to come back, and what is left of it two
//! seconds later. That nothing is lost and nobody waits in vain, tests check.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use embed_testkit::data::udhr_in;
use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use serde_json::json;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use crate::figures::{Figure, report};
use crate::http::{Connection, Reply, request};
use crate::serving::Serving;
use crate::{Effort, load_average};

pub(crate) const SUITE: &str = "gateway/overload";
const TIMES: f64 = 10.0;
/// What each request gives itself.
const DEADLINE: Duration = Duration::from_secs(3);
/// After this, everything is as it was, counted from the last answer.
const RECOVERY: Duration = Duration::from_secs(2);

/// Times in ms, by status.
type Seen = BTreeMap<u16, Vec<f64>>;

/// In place of the status of an answer that didn't come.
const CLOSED: u16 = 0;

/// Measures it on a separate gateway without a cache, so that every text has to be embedded.
pub(crate) fn overload(runtime: &Runtime, effort: &Effort) {
    // Of the calls that are at the engine at once, two are worked on here: sixty-four, as it is by default, are half the
    // deadline of the last one on a slow machine.
    let bounds = [("TMWS_GATEWAY_CONCURRENCY", "8")];
    let serving = Serving::start(&["--service", "e5", "--cache", "off"], &bounds);
    let url: Arc<str> = serving.url().into();
    let mut before = Figure::baseline(SUITE, "embed serve, before", "answers/s");
    let mut after = Figure::against(&before, "embed serve, two seconds after", Some(0.6));
    let tail = format!("{SUITE}-latency");
    let mut p50 = Figure::baseline(&tail, "embed serve, refused, p50", "ms");
    let mut p99 = Figure::against(&p50, "embed serve, refused, p99", None);
    let mut last = Figure::against(&p50, "embed serve, answered, the last", None);
    let duration = Duration::from_secs(if effort.is_test { 1 } else { 5 * effort.seconds });
    for _ in 0..effort.rounds {
        let capacity = runtime.block_on(capacity(&url));
        before.samples.push(capacity);
        let seen = runtime.block_on(flood(&url, capacity * TIMES, duration));
        runtime.block_on(async { sleep(RECOVERY).await });
        after.samples.push(runtime.block_on(self::capacity(&url)));
        let refused: Vec<f64> =
            [429, 503].iter().filter_map(|status| seen.get(status)).flatten().copied().collect();
        p50.samples.push(quantile(&refused, 0.5));
        p99.samples.push(quantile(&refused, 0.99));
        last.samples.push(quantile(seen.get(&200).map_or(&[], Vec::as_slice), 1.0));
        after.note("answered", seen.get(&200).map_or(0, Vec::len) as f64);
        after.note("refused", refused.len() as f64);
        after.note("closed", seen.get(&CLOSED).map_or(0, Vec::len) as f64);
    }
    if !effort.is_test {
        let note = format!("{TIMES} times the rate before, for {} s; {}", duration.as_secs(), load_average());
        report(&[&before, &after], &note);
        report(&[&p50, &p99, &last], &note);
    }
}

/// Answers a second when a few callers ask one after the other.
async fn capacity(url: &Arc<str>) -> f64 {
    const CALLERS: usize = 8;
    let (began, time) = (Instant::now(), Duration::from_secs(2));
    let answers = Arc::new(AtomicUsize::new(0));
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (url, answers) = (Arc::clone(url), Arc::clone(&answers));
        callers.spawn(async move {
            let mut connection = Connection::open(&url).await.unwrap();
            while began.elapsed() < time {
                let reply = connection.send(asking()).await.unwrap();
                assert_eq!(reply.status, 200, "{}", reply.text());
                answers.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    callers.join_all().await;
    answers.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64()
}

/// Sends so many requests a second, whatever becomes of them.
async fn flood(url: &Arc<str>, rate: f64, duration: Duration) -> Seen {
    let seen = Arc::new(Mutex::new(Seen::default()));
    // The one that has been idle longest is next, so that none is so long that the server closes it.
    let idle = Arc::new(Mutex::new(VecDeque::<Connection>::new()));
    let mut requests = JoinSet::new();
    let mut ticks = interval(Duration::from_millis(5));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (began, mut sent) = (Instant::now(), 0_usize);
    while began.elapsed() < duration {
        ticks.tick().await;
        while (sent as f64) < began.elapsed().as_secs_f64() * rate {
            sent += 1;
            let (url, seen, idle) = (Arc::clone(url), Arc::clone(&seen), Arc::clone(&idle));
            requests.spawn(async move {
                let open = idle.lock().unwrap().pop_front();
                let began = Instant::now();
                let mut connection = match open {
                    Some(open) => open,
                    None => Connection::open(&url).await.unwrap(),
                };
                // A server at its limit of connections closes those that wait, also while a request is on its way.
                let Ok(reply) = connection.send(asking()).await else {
                    seen.lock().unwrap().entry(CLOSED).or_default().push(began.elapsed().as_secs_f64() * 1e3);
                    return;
                };
                let time = began.elapsed().as_secs_f64() * 1e3;
                check(&reply);
                seen.lock().unwrap().entry(reply.status.as_u16()).or_default().push(time);
                // A server with many connections closes those that are done.
                if reply.header("connection") != "close" {
                    idle.lock().unwrap().push_back(connection);
                }
            });
        }
        while let Some(done) = requests.try_join_next() {
            done.unwrap();
        }
    }
    requests.join_all().await;
    std::mem::take(&mut *seen.lock().unwrap())
}

/// So that no error path is measured.
fn check(reply: &Reply) {
    assert!([200, 429, 503, 504].contains(&reply.status.as_u16()), "{}: {}", reply.status, reply.text());
}

/// A text of about forty tokens, which takes milliseconds.
fn asking() -> Request<Full<Bytes>> {
    static BODY: LazyLock<Bytes> = LazyLock::new(|| {
        let text: String = udhr_in("en")[1].chars().take(200).collect();
        json!({ "model": "multilingual-e5-small", "input": text }).to_string().into()
    });
    let mut request = request("POST", "/v1/embeddings", BODY.clone());
    request.headers_mut().insert("x-request-timeout", DEADLINE.as_secs().into());
    request
}

fn quantile(times: &[f64], part: f64) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * part).round() as usize).copied().unwrap_or(0.0)
}
