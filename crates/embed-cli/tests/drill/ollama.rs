//! Scenes about Ollama: it answers nonsense, it isn't there, it is killed.

use embed_testkit::ollama::{Fault, OllamaDouble, rig};

use crate::drill::Drill;
use crate::http::{get, until};
use crate::load::Load;
use crate::serving::{NO_ENGLISH_MODEL, Serving};
use crate::texts::Texts;

const VERSION: &str = "0.9.3";
/// While the one back end is down. The gateway tries again, but says so before callers leave.
const MAY_REFUSE: &[&str] = &["502", "503", "504"];

#[tokio::test(flavor = "multi_thread")]
async fn the_back_end_answers_502() {
    let mut drill = Drill::begin("the back end answers 502").await;
    let ollama = OllamaDouble::start(VERSION).await;
    let serving = Serving::start(&["--service", "ollama"], &[("TMWS_OLLAMA_API_BASE", &ollama.url())]);
    let load = Load::start(&[serving.url()], Texts::of_double(), None);
    while drill.goes_on() {
        load.answers(50).await;
        ollama.fail(std::iter::repeat_n(Fault::Error(502, "bad gateway".into()), 100_000));
        until("it isn't ready", async || !load.balancer.all_ready()).await;
        ollama.heal();
        drill.well(&load, "it is ready again without a request", async || true).await;
        drill.weigh(&[&serving]);
    }
    drill.take(load, MAY_REFUSE);
    drill.write();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_back_end_is_gone() {
    let mut drill = Drill::begin("the back end dies and comes back").await;
    let mut ollama = OllamaDouble::start(VERSION).await;
    let port = ollama.port();
    let serving = Serving::start(&["--service", "ollama"], &[("TMWS_OLLAMA_API_BASE", &ollama.url())]);
    let load = Load::start(&[serving.url()], Texts::of_double(), None);
    while drill.goes_on() {
        load.answers(50).await;
        drop(ollama);
        until("it isn't ready", async || !load.balancer.all_ready()).await;
        ollama = OllamaDouble::start_at(VERSION, port).await;
        drill.well(&load, "it is ready again without a request", async || true).await;
        drill.weigh(&[&serving]);
    }
    drill.take(load, MAY_REFUSE);
    drill.write();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_back_end_is_absent_at_the_start() {
    let mut drill = Drill::begin("the back end is absent at the start").await;
    let Some(e5) = Texts::of_e5().await else { return };
    while drill.goes_on() {
        let ollama = OllamaDouble::start(VERSION).await;
        let (url, port) = (ollama.url(), ollama.port());
        drop(ollama);
        let serving =
            Serving::start(&["--service", "hybrid"], &[("TMWS_OLLAMA_API_BASE", &url), NO_ENGLISH_MODEL]);
        let load = Load::start(&[serving.url()], Texts::of_double().and(e5.clone()), None);
        // What isn't English is served, and the rest refused: a row of E5's would be a wrong one.
        load.answers(20).await;
        load.refusals(20).await;
        assert_eq!(load.tally.right_english(), 0);
        let _ollama = OllamaDouble::start_at(VERSION, port).await;
        let healed = async || load.tally.right_english() > 0;
        drill.well(&load, "English is embedded in its space", healed).await;
        load.answers(20).await;
        drill.weigh(&[&serving]);
        drill.take(load, &["503"]);
    }
    drill.write();
}

/// The real one, where a script starts it.
#[tokio::test(flavor = "multi_thread")]
async fn a_real_ollama_is_killed() {
    let Some(ollama) = rig::require_exclusive("0.5.4") else { return };
    let mut drill = Drill::begin("a real Ollama is killed").await;
    let variables = [("TMWS_OLLAMA_API_BASE", ollama.url())];
    let texts = {
        let before = Serving::start(&["--service", "ollama"], &[variables[0], ("TMWS_CACHE", "off")]);
        Texts::of_gateway(&before, "all-minilm", |number| format!("the depth of lake {number}")).await
    };
    let serving = Serving::start(&["--service", "ollama"], &[variables[0], ("TMWS_CACHE", "off")]);
    let load = Load::start(&[serving.url()], texts, None);
    while drill.goes_on() {
        load.answers(20).await;
        ollama.signal_server("KILL").unwrap();
        // It may have died with its server.
        let _ = ollama.signal_runner("KILL");
        until("it isn't ready", async || get(serving.url(), "/readyz").await.status == 503).await;
        ollama.up().unwrap();
        drill.well(&load, "it is ready again without a request", async || true).await;
        drill.weigh(&[&serving]);
    }
    drill.take(load, MAY_REFUSE);
    drill.write();
}
