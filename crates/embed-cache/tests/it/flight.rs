//! Single-flight: a text is computed once, whichever callers request it or are cancelled.

use std::sync::Arc;
use std::time::Duration;

use embed_cache::{Cached, Tier};
use embed_core::{EmbedRequest, Embedder, EmbedderExt, Error, ErrorKind, Role, TraceContext};
use embed_testkit::{Scripted, VirtualTime};
use futures::future::FutureExt;
use tokio::time::Instant;

use crate::double::{MapTier, cache, documents, right};

const TEXTS: [&str; 10] = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];

fn each_seen_once(service: &Scripted) {
    for text in TEXTS {
        assert_eq!(service.seen(text, Role::Document), 1, "{text}");
    }
}

/// Half of a thousand callers, including the first, are cancelled while the back end works.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_callers_and_half_of_them_leave() {
    for tiers in [vec![MapTier::local("memory")], vec![MapTier::remote("redis")], vec![]] {
        let service = Arc::new(Cached::new(Scripted::new("e5", 8), cache(&tiers.iter().collect::<Vec<_>>())));
        service.inner().hold();
        let mut tasks = Vec::new();
        for index in 0..1000_usize {
            let service = Arc::clone(&service);
            // Each requests all texts, in a different order.
            let mut texts = TEXTS;
            texts.rotate_left(index % TEXTS.len());
            tasks.push(tokio::spawn(async move { right(&service, &texts).await }));
        }
        // A leader that is cancelled before others have joined would end the flight, so wait until half of them have.
        while service.stats().await.joined < 5_000 {
            tokio::task::yield_now().await;
        }
        assert_eq!(service.inner().calls(), 1);
        tasks[0].abort();
        // Some are cancelled before the back end answers, some around that time, depending on the scheduler.
        for task in tasks.iter().skip(1).step_by(2).take(250) {
            task.abort();
        }
        service.inner().release();
        for task in tasks.iter().skip(501).step_by(2) {
            task.abort();
        }
        for (index, task) in tasks.into_iter().enumerate() {
            match task.await {
                Ok(_) => {}
                Err(error) if error.is_cancelled() => {
                    assert!(index == 0 || index % 2 == 1, "task {index} shouldn't be cancelled")
                }
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            }
        }
        // Without a tier, a caller that comes after the flight has finished begins another one.
        if !tiers.is_empty() {
            each_seen_once(service.inner());
        }
    }
}

/// A call that serves several callers is in the trace of the first, and the others get its rows nevertheless.
#[tokio::test]
async fn a_flight_is_in_the_trace_of_its_leader() {
    let service = Cached::new(Scripted::new("e5", 8), cache(&[&MapTier::local("memory")]));
    service.inner().hold();
    let trace = |id: &str| TraceContext::new().with_request_id(id);
    let ask = |id: &str| service.embed(EmbedRequest::new(["zero"], Role::Document).with_trace(trace(id)));
    let (mut first, mut second) = (ask("first"), ask("second"));
    assert!(first.as_mut().now_or_never().is_none());
    assert!(second.as_mut().now_or_never().is_none());
    service.inner().release();
    let (first, second) = futures::join!(first, second);
    assert_eq!(first.unwrap().into_complete().unwrap().len(), 1);
    assert_eq!(second.unwrap().into_complete().unwrap().len(), 1);
    assert_eq!(service.inner().traces(), [trace("first")]);
    // The trace isn't part of the key.
    ask("third").await.unwrap().into_complete().unwrap();
    assert_eq!(service.inner().calls(), 1);
}

/// The leader is cancelled after the back end was called; a waiter takes over, and the back end isn't called again.
#[tokio::test]
async fn a_waiter_takes_over_from_the_leader() {
    let service = Cached::new(Scripted::new("e5", 8), cache(&[&MapTier::local("memory")]));
    service.inner().hold();
    let mut leader = Box::pin(service.embed(documents(TEXTS)));
    assert!(leader.as_mut().now_or_never().is_none());
    let mut waiter = Box::pin(right(&service, &TEXTS[3..]));
    assert!(waiter.as_mut().now_or_never().is_none());
    assert_eq!(service.inner().calls(), 1);
    drop(leader);
    service.inner().release();
    waiter.await;
    each_seen_once(service.inner());
    assert_eq!(service.stats().await.joined, 7);
}

#[tokio::test]
async fn when_all_leave_the_call_ends_and_the_next_one_begins_anew() {
    let service = Cached::new(Scripted::new("e5", 8), cache(&[&MapTier::local("memory")]));
    service.inner().hold();
    for _ in 0..3 {
        assert!(service.embed(documents(TEXTS)).now_or_never().is_none());
    }
    assert_eq!(service.inner().calls(), 3);
    service.inner().release();
    right(&service, &TEXTS).await;
    assert!(format!("{:?}", service).contains("Cached"));
}

/// A text that is in one request twice.
#[tokio::test]
async fn duplicates_are_computed_once() {
    let service = Cached::new(Scripted::new("e5", 8), cache(&[]));
    let twice: Vec<&str> = TEXTS.iter().chain(&TEXTS).copied().collect();
    right(&service, &twice).await;
    each_seen_once(service.inner());
    let stats = service.stats().await;
    assert_eq!((stats.computed, stats.joined), (10, 10));
}

#[tokio::test]
async fn a_failure_reaches_all_waiters_and_is_not_stored() {
    let tier = MapTier::local("memory");
    let service = Cached::new(Scripted::new("e5", 8), cache(&[&tier]));
    service.inner().fail_calls(Some(Error::new(ErrorKind::Unavailable, "gone").temporary()));
    service.inner().hold();
    let (one, other, ()) =
        futures::join!(service.embed(documents(TEXTS)), service.encode_document("zero"), async {
            service.inner().release()
        });
    assert_eq!(one.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(other.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!((service.inner().calls(), tier.len()), (1, 0));
    service.inner().fail_calls(None);
    right(&service, &TEXTS).await;
}

/// Cached rows are returned while the back end is down; the call fails only if there are none.
#[tokio::test]
async fn cached_rows_are_served_while_the_back_end_is_down() {
    let service = Cached::new(Scripted::new("e5", 8), cache(&[&MapTier::local("memory")]));
    right(&service, &TEXTS[..5]).await;
    service.inner().fail_calls(Some(Error::new(ErrorKind::Unavailable, "gone").temporary()));
    right(&service, &TEXTS[..5]).await;
    let response = service.embed(documents(TEXTS)).await.unwrap();
    let failed: Vec<_> = response.errors().map(|(row, error)| (row, error.kind())).collect();
    assert_eq!(failed, [5, 6, 7, 8, 9].map(|row| (row, ErrorKind::Unavailable)));
    let error = service.embed(documents(["ten"])).await.unwrap_err();
    assert!(error.is_temporary());
}

/// A caller with an earlier deadline than the leader's gives up at its own; one with a later deadline begins another call
/// if the leader's was too early.
#[tokio::test(start_paused = true)]
async fn each_caller_has_its_own_deadline() {
    let service = Cached::new(Scripted::new("e5", 8), cache(&[&MapTier::local("memory")]));
    let within = |seconds| {
        let deadline = Instant::now() + Duration::from_secs(seconds);
        service.embed(documents(["zero"]).with_deadline(deadline.into_std()))
    };
    service.inner().hold();
    let time = VirtualTime::start().await;
    let patient = async {
        let response = within(60).await.unwrap();
        assert_eq!(response.row(0).unwrap().vector(), service.inner().vector("zero", Role::Document));
    };
    let hasty = async {
        // The last of the callers, so that it can only join.
        let error = within(1).await.unwrap_err();
        assert_eq!((error.kind(), time.passed()), (ErrorKind::Timeout, Duration::from_secs(1)));
    };
    let (leader, (), (), ()) = futures::join!(within(5), patient, hasty, async {
        tokio::time::sleep(Duration::from_secs(10)).await;
        service.inner().release();
    });
    assert_eq!(leader.unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!(service.inner().calls(), 2);
}

/// Until a row is stored in the slow tier, its flight serves it.
#[tokio::test(start_paused = true)]
async fn a_row_that_waits_to_be_stored_is_not_computed_again() {
    let tier = MapTier::remote("redis");
    tier.set(crate::double::Mood::Well, crate::double::Mood::Hangs);
    let service = Cached::new(Scripted::new("e5", 8), cache(&[&tier]));
    right(&service, &TEXTS).await;
    right(&service, &TEXTS).await;
    each_seen_once(service.inner());
    // The write is given up after its budget, and nothing remains.
    service.cache().flush(Duration::from_secs(60)).await.unwrap();
    right(&service, &TEXTS).await;
    assert_eq!(service.inner().calls(), 2);
}

/// A row that is invalidated while it is computed reaches its caller and isn't stored; the next one computes it.
#[tokio::test]
async fn an_invalidated_row_is_not_stored_by_a_call_under_way() {
    let (memory, remote) = (MapTier::local("memory"), MapTier::remote("redis"));
    let service = Cached::new(Scripted::new("e5", 8), cache(&[&memory, &remote]));
    for all in [false, true] {
        service.inner().hold();
        let mut call = Box::pin(right(&service, &TEXTS));
        assert!(call.as_mut().now_or_never().is_none());
        if all {
            service.clear_cache().await.unwrap();
        } else {
            service.invalidate(&TEXTS[..9]).await.unwrap();
        }
        service.inner().release();
        call.await;
        service.cache().flush(Duration::from_secs(5)).await.unwrap();
        let kept = usize::from(!all);
        assert_eq!((memory.len(), remote.len()), (kept, kept));
    }
    right(&service, &TEXTS).await;
    service.invalidate(&["zero"]).await.unwrap();
    service.cache().flush(Duration::from_secs(5)).await.unwrap();
    assert_eq!((memory.stats().await.unwrap().entries, remote.len()), (Some(9), 9));
}

#[tokio::test]
async fn a_panic_of_the_back_end_is_an_error_of_the_call() {
    #[derive(Debug)]
    struct Panics(Scripted);
    #[embed_core::async_trait]
    impl Embedder for Panics {
        fn model(&self) -> &embed_core::ModelInfo {
            self.0.model()
        }
        async fn embed(&self, _: EmbedRequest) -> embed_core::Result<embed_core::EmbedResponse> {
            panic!("told to")
        }
        async fn health(&self) -> embed_core::Health {
            embed_core::Health::ready()
        }
    }
    let service = Cached::new(Panics(Scripted::new("e5", 8)), cache(&[]));
    let (one, other) = futures::join!(service.encode_query("a"), service.encode_query("a"));
    assert_eq!(one.unwrap_err().kind(), ErrorKind::Internal);
    assert_eq!(other.unwrap_err().kind(), ErrorKind::Internal);
}
