//! What every embedder must do, whatever the server supports.

use std::sync::Arc;

use embed_core::Embedder;
use embed_testkit::contract::{Passthrough, check};
use embed_testkit::openai::{OpenAiDouble, Script, Support};

use crate::{connect, quick};

type Change = fn(&mut Script);

#[tokio::test]
async fn every_kind_of_server_keeps_the_contract() {
    let kinds: [(&str, Change); 9] = [
        ("as OpenAI's", |_| {}),
        ("as TEI", |script| (script.as_tei, script.max_rows) = (true, 32)),
        ("refuses base64", |script| script.base64 = Support::Refused),
        ("ignores base64", |script| script.base64 = Support::Ignored),
        ("few texts at once", |script| script.max_rows = 2),
        ("few tokens at once", |script| script.request_tokens = 520),
        ("another order", |script| script.shuffles = true),
        ("raw vectors", |script| script.norm = 7.0),
        ("cuts in silence", |script| script.cuts = true),
    ];
    for (name, change) in kinds {
        println!("{name}");
        let double = OpenAiDouble::start().await;
        double.change(change);
        // With the limit, the checks of long texts run, too.
        check(Arc::new(connect(quick(&double).with_max_tokens(512)).await)).await;
    }
}

#[tokio::test]
async fn a_decorator_over_a_trait_object_keeps_the_contract() {
    let double = OpenAiDouble::start().await;
    let erased: Arc<dyn Embedder> = Arc::new(connect(quick(&double)).await);
    check(Arc::new(Passthrough(Box::new(erased)))).await;
}
