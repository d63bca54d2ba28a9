//! The bytes of keys and values stay the same, so that stored entries stay valid.
//!
//! The expected bytes were computed by another program (Python with `hashlib`, `struct` and `xxhash`) from the
//! documentation of `Key::to_bytes` and `Value`.

use embed_cache::{CacheConfig, Cached, Element, Key, Namespace};
use embed_core::{
    EmbedRequest, EmbedResponse, Embedder, Health, ModelInfo, Result, Role, RowInfo, Space, TokenCount,
    Truncation, Variant, async_trait,
};
use proptest::prelude::*;

use crate::double::{MapTier, with_config};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_key_has_these_bytes() {
    let space = Space::builder("all-minilm", 384).build();
    let variant = Variant::new(space, [("digest", "1b226e2802db"), ("server", "0.5.4")]);
    let key = Key::new(&Namespace::new(&variant), Role::Query, Truncation::ChunkMean, "富士山");
    let expected = [
        // The schema, and a variant of 61 bytes.
        "01",
        "3d000000",
        &hex(b"all-minilm/mean/plain/l2/384;digest=1b226e2802db;server=0.5.4"),
        "05000000",
        &hex(b"query"),
        "0a000000",
        &hex(b"chunk-mean"),
        // `printf 富士山 | sha256sum`
        "20000000",
        "e294ab9d429f9a9a2678d996e5dbd40cbf62363a5ed417f654c5f0ba861e4200",
    ]
    .concat();
    assert_eq!(hex(&key.to_bytes()), expected);
}

/// One vector for every text, of which it reads two of four tokens.
#[derive(Debug)]
struct Fixed(ModelInfo);

#[async_trait]
impl Embedder for Fixed {
    fn model(&self) -> &ModelInfo {
        &self.0
    }

    async fn embed(&self, request: EmbedRequest) -> Result<EmbedResponse> {
        let mut rows = EmbedResponse::builder(request.texts().len(), 4);
        for row in 0..request.texts().len() {
            let info = RowInfo::new(self.0.clone()).with_tokens(TokenCount { used: 2, total: 4 });
            rows.put(row, &[0.5, -0.5, 0.5, 0.5], info);
        }
        Ok(rows.build())
    }

    async fn health(&self) -> Health {
        Health::ready()
    }
}

#[tokio::test]
async fn a_value_has_these_bytes() {
    let variant = Variant::new(Space::builder("tiny", 4).build(), [("v", "1")]);
    for (element, expected) in [
        (Element::F32, "0101030004000000020000000400000021f18cba2401fad20000003f000000bf0000003f0000003f"),
        (Element::F16, "01020300040000000200000004000000864796eb833b14b3003800b800380038"),
    ] {
        let tier = MapTier::local("map");
        let cache = with_config(CacheConfig::default().with_element(element), &[&tier]);
        let service = Cached::new(Fixed(ModelInfo::builder("test", "tiny", variant.clone()).build()), cache);
        let request =
            EmbedRequest::new(["Mount Fuji is high"], Role::Document).with_truncation(Truncation::End);
        let computed = service.embed(request.clone()).await.unwrap();
        let mut stored = Vec::new();
        tier.tamper(|_, value| {
            stored.push(hex(value.as_bytes()));
            Some(value.clone())
        });
        assert_eq!(stored, [expected]);

        let read = service.embed(request).await.unwrap();
        assert_eq!(read.row(0).unwrap().vector(), computed.row(0).unwrap().vector());
        let info = read.row(0).unwrap().info();
        assert_eq!(info.tier.as_deref(), Some("map"));
        assert_eq!(info.tokens, Some(TokenCount { used: 2, total: 4 }));
        assert!(info.truncated);
    }
}

/// Parts of keys that are easily confused: separators, prefixes of one another, the empty string, the neighbours of the
/// surrogates (which no text can contain), and long ones.
fn part() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        Just("\0".to_owned()),
        "[;=:/|\\x00\\x01\\x20{}]{0,4}",
        "(query|document|error|end|start|chunk-mean){1,3}",
        Just("\u{d7ff}".to_owned()),
        Just("\u{e000}\u{d7ff}".to_owned()),
        Just("\u{fffd}".to_owned()),
        Just("a".repeat(1 << 20)),
        Just("a".repeat((1 << 20) + 1)),
        any::<String>(),
    ]
}

fn inputs() -> impl Strategy<Value = (String, Role, Truncation, String)> {
    let role = prop_oneof![Just(Role::Query), Just(Role::Document)];
    (part(), role, proptest::sample::select(&Truncation::ALL[..]), part())
}

proptest! {
    /// Two keys are equal, as values and as bytes, if and only if all their parts are.
    #[test]
    fn keys_never_collide(one in inputs(), other in inputs()) {
        let key = |(variant, role, truncation, text): &(String, Role, Truncation, String)| {
            Key::new(&Namespace::named(variant.as_str()), *role, *truncation, text)
        };
        prop_assert_eq!(key(&one) == key(&other), one == other);
        prop_assert_eq!(key(&one).to_bytes() == key(&other).to_bytes(), one == other);
    }

    /// A prefix belongs to one namespace only, so that clearing one leaves the others intact.
    #[test]
    fn no_key_begins_with_the_prefix_of_another_namespace(one in inputs(), other in part()) {
        let (variant, role, truncation, text) = one;
        let bytes = Key::new(&Namespace::named(variant.as_str()), role, truncation, &text).to_bytes();
        prop_assert_eq!(bytes.starts_with(&Namespace::named(other.as_str()).prefix()), variant == other);
    }

    #[test]
    fn debug_shows_no_text(text in "[a-z]{12,30}") {
        let key = Key::new(&Namespace::named("v"), Role::Query, Truncation::Error, &text);
        let debug = format!("{key:?}");
        prop_assert!(!debug.contains(&text));
    }
}
