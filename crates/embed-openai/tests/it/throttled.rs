//! Rate limits: no row is lost, and no 429 reaches a caller who has time.

use std::time::Duration;

use embed_core::{Embedder, EmbedderExt, ErrorKind, Retry};
use embed_testkit::VirtualTime;
use embed_testkit::ollama::Fault;
use embed_testkit::openai::{OpenAiDouble, Rate};
use futures::future::join_all;

use crate::{config, connect, request, rows_are_right, texts};

const MINUTE: Duration = Duration::from_secs(60);

fn rate(requests: f64, tokens: f64) -> Rate {
    Rate { requests, tokens, per: MINUTE, smooth: true, tells: true, retry_after: true }
}

/// Sixteen callers, whose texts have more tokens than three minutes allow.
async fn crowd(rate: Rate) -> (OpenAiDouble, embed_openai::OpenAiStats, Duration) {
    let double = OpenAiDouble::start().await;
    let client = connect(config(&double).with_max_batch_rows(20)).await;
    double.change(|script| script.rate = Some(rate));
    let time = VirtualTime::start().await;
    let deadline = (time.started() + 60 * MINUTE).into_std();
    let calls = (0..16).map(|task| {
        let texts: Vec<_> = (0..100).map(|i| format!("text {i} of the task {task}")).collect();
        let (client, double) = (&client, &double);
        async move {
            let response = client.embed(request(&texts).with_deadline(deadline)).await.unwrap();
            rows_are_right(double, &response, &texts);
        }
    });
    join_all(calls).await;
    let passed = time.passed();
    (double, client.stats(), passed)
}

#[tokio::test(start_paused = true)]
async fn who_is_told_the_limits_stays_below_them() {
    // 1600 texts of 8 tokens in 80 requests.
    for (requests, tokens) in [(20.0, 1e6), (1e6, 4000.0), (20.0, 4000.0)] {
        let (double, stats, passed) = crowd(rate(requests, tokens)).await;
        assert!(
            double.refused() <= 3,
            "{} refused by {requests} requests, {tokens} tokens",
            double.refused()
        );
        assert!(stats.paced > 0);
        // Nor is the limit left unused: 12800 tokens at 4000 in a minute, of which the first are there at once.
        assert!(
            passed > MINUTE && passed < 5 * MINUTE,
            "{passed:?} for {requests} requests, {tokens} tokens"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn limits_that_come_back_at_once_are_learnt() {
    let (double, _, passed) = crowd(Rate { smooth: false, ..rate(20.0, 1e6) }).await;
    assert!(double.refused() <= 16, "{} refused", double.refused());
    assert!(passed < 8 * MINUTE, "{passed:?}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_only_refuses_is_waited_for() {
    for retry_after in [true, false] {
        let (_, stats, passed) = crowd(Rate { tells: false, retry_after, ..rate(20.0, 1e6) }).await;
        assert!(stats.throttled > 0);
        assert!(passed < 60 * MINUTE, "{passed:?}");
    }
}

/// As TEI does, which says nothing of when.
#[tokio::test(start_paused = true)]
async fn a_server_that_takes_few_at_a_time_gets_few() {
    let double = OpenAiDouble::start().await;
    let client = connect(config(&double).with_max_batch_rows(10)).await;
    double.change(|script| (script.at_once, script.latency) = (3, Duration::from_millis(100)));
    let time = VirtualTime::start().await;
    let deadline = (time.started() + 10 * MINUTE).into_std();
    let calls = (0..16).map(|task| {
        let texts: Vec<_> = (0..100).map(|i| format!("text {i} of the task {task}")).collect();
        let (client, double) = (&client, &double);
        async move {
            let response = client.embed(request(&texts).with_deadline(deadline)).await.unwrap();
            rows_are_right(double, &response, &texts);
        }
    });
    join_all(calls).await;
    assert!(double.refused() <= 25, "{} of 160 requests refused", double.refused());
    assert!(time.passed() < MINUTE, "{:?}", time.passed());
}

#[tokio::test(start_paused = true)]
async fn a_request_of_more_tokens_than_a_minute_has_is_cut() {
    let double = OpenAiDouble::start().await;
    double.change(|script| script.rate = Some(Rate { per: Duration::from_secs(1), ..rate(1e6, 300.0) }));
    let client = connect(config(&double)).await;
    let texts = texts(200);
    rows_are_right(&double, &client.embed(request(&texts)).await.unwrap(), &texts);
}

#[tokio::test(start_paused = true)]
async fn another_server_is_asked_meanwhile() {
    let (first, second) = (OpenAiDouble::start().await, OpenAiDouble::start().await);
    let client = connect(config(&first).with_servers([first.url(), second.url()])).await;
    let throttled = || Fault::Answer {
        status: 429,
        body: "{}".into(),
        content_type: "application/json",
        retry_after: Some(60),
    };
    first.fail([throttled()]);
    let time = VirtualTime::start().await;
    for i in 0..10 {
        client.encode_query(&format!("text {i}")).await.unwrap();
    }
    assert!(time.passed() < Duration::from_secs(1), "{:?}", time.passed());
    assert!(client.servers()[0].throttled && !client.servers()[1].throttled);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_in_time_is_said_at_once() {
    let double = OpenAiDouble::start().await;
    let client = connect(config(&double)).await;
    let asks = |seconds| Fault::Answer {
        status: 429,
        body: "{}".into(),
        content_type: "application/json",
        retry_after: Some(seconds),
    };
    // Longer than the deadline, and longer than the settings allow.
    for (seconds, deadline) in [(30, Some(10)), (3600, None)] {
        double.fail([asks(seconds)]);
        let time = VirtualTime::start().await;
        let mut request = request(&["a text"]);
        if let Some(deadline) = deadline {
            request = request.with_deadline((time.started() + Duration::from_secs(deadline)).into_std());
        }
        let error = client.embed(request).await.unwrap_err();
        let after = Some(Duration::from_secs(seconds));
        assert_eq!((error.kind(), error.retry()), (ErrorKind::RateLimited, Retry::Temporary { after }));
        assert!(time.passed() < Duration::from_secs(1), "{:?}", time.passed());
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }
    // Without a deadline, a pause that the settings allow is waited for.
    double.fail([asks(90)]);
    let time = VirtualTime::start().await;
    client.encode_query("a text").await.unwrap();
    assert_eq!(time.passed().as_secs(), 90);
}

#[tokio::test(start_paused = true)]
async fn being_throttled_is_no_try() {
    let double = OpenAiDouble::start().await;
    let client = connect(config(&double)).await;
    double.fail(std::iter::repeat_n(Fault::Error(429, "slow down".into()), 5));
    client.encode_query("a text").await.unwrap();
    assert_eq!(client.stats().throttled, 5, "more often than a failure would be tried");
}
