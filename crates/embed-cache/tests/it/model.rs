//! After any sequence of requests, losses and failures, each row is the same as without a cache.

use embed_cache::Cached;
use embed_core::{EmbedRequest, Embedder, Error, ErrorKind, Role};
use embed_testkit::Scripted;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::double::{MapTier, Mood, cache};

#[derive(Debug, Clone)]
enum Step {
    /// Texts by number; every seventh is invalid.
    Ask(Vec<u8>, Role),
    /// A tier loses every n-th entry.
    Lose {
        tier: usize,
        every: usize,
    },
    Behave {
        tier: usize,
        reads: Mood,
        writes: Mood,
    },
    BackEnd {
        is_up: bool,
    },
    Flush,
    Invalidate(Vec<u8>),
    Clear,
}

fn mood() -> impl Strategy<Value = Mood> {
    prop_oneof![
        3 => Just(Mood::Well),
        1 => Just(Mood::Fails(ErrorKind::Unavailable)),
        1 => Just(Mood::Hangs),
        1 => Just(Mood::Miscounts),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let texts = || vec(0..30_u8, 0..12);
    prop_oneof![
        8 => (texts(), prop_oneof![Just(Role::Query), Just(Role::Document)]).prop_map(|(texts, role)| Step::Ask(texts, role)),
        2 => (0..2_usize, 1..4_usize).prop_map(|(tier, every)| Step::Lose { tier, every }),
        2 => (0..2_usize, mood(), mood()).prop_map(|(tier, reads, writes)| Step::Behave { tier, reads, writes }),
        1 => any::<bool>().prop_map(|is_up| Step::BackEnd { is_up }),
        2 => Just(Step::Flush),
        1 => texts().prop_map(Step::Invalidate),
        1 => Just(Step::Clear),
    ]
}

fn text(number: u8) -> String {
    if number % 7 == 3 { format!("bad {number}") } else { format!("text {number}") }
}

async fn play(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let tiers = [MapTier::local("memory"), MapTier::remote("redis")];
    let service = Cached::new(Scripted::new("e5", 8), cache(&[&tiers[0], &tiers[1]]));
    service.inner().fail_texts_with("bad", Error::new(ErrorKind::InvalidInput, "told to"));
    let mut is_up = true;
    for step in steps {
        match step {
            Step::Ask(numbers, role) => {
                let texts: Vec<String> = numbers.into_iter().map(text).collect();
                let response = service.embed(EmbedRequest::new(texts.iter().map(String::as_str), role)).await;
                let response = match response {
                    Ok(response) => response,
                    Err(error) => {
                        prop_assert!(!is_up && !texts.is_empty(), "{error}");
                        continue;
                    }
                };
                prop_assert_eq!(response.len(), texts.len());
                for (row, text) in response.rows().zip(&texts) {
                    match row {
                        Ok(row) => {
                            prop_assert!(!text.starts_with("bad"));
                            prop_assert_eq!(row.vector(), service.inner().vector(text, role));
                        }
                        Err(error) if is_up => {
                            prop_assert!(text.starts_with("bad"));
                            prop_assert_eq!(error.kind(), ErrorKind::InvalidInput);
                        }
                        Err(error) => prop_assert_eq!(error.kind(), ErrorKind::Unavailable),
                    }
                }
            }
            Step::Lose { tier, every } => {
                let mut number = 0;
                tiers[tier].tamper(|_, value| {
                    number += 1;
                    (number % every != 0).then(|| value.clone())
                });
            }
            Step::Behave { tier, reads, writes } => {
                // A local tier promises to answer at once, so it never hangs.
                let local = |mood| if tier == 0 && mood == Mood::Hangs { Mood::Well } else { mood };
                tiers[tier].set(local(reads), local(writes));
            }
            Step::BackEnd { is_up: up } => {
                is_up = up;
                let error = Error::new(ErrorKind::Unavailable, "told to").temporary();
                service.inner().fail_calls((!up).then_some(error));
            }
            Step::Flush => drop(service.cache().flush(std::time::Duration::from_secs(100)).await),
            Step::Invalidate(numbers) => {
                let texts: Vec<String> = numbers.into_iter().map(text).collect();
                service.invalidate(&texts).await.unwrap();
            }
            Step::Clear => service.clear_cache().await.unwrap(),
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn rows_are_what_the_back_end_gives(steps in vec(step(), 1..40)) {
        // Time is paused, so that a tier that hangs costs no time.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(play(steps))?;
    }
}
