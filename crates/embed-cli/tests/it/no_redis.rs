//! A build without the feature `redis`: whoever asks for Redis is told in one sentence what to do.

use crate::config::Setup;

#[test]
fn without_the_feature_redis_is_refused_in_words() {
    let setup = Setup::new();
    let url = ("TMWS_REDIS_URL", "redis://127.0.0.1:6379");
    for (variables, args) in [
        (&[url][..], &["encode", "a river"][..]),
        (&[url], &["serve"]),
        (&[url], &["cache", "stats", "--json"]),
        (&[], &["encode", "--redis-url", url.1, "a river"]),
        (&[("TMWS_CACHE", "redis")], &["encode", "a river"]),
        (&[("TMWS_CACHE", "both")], &["serve"]),
        (&[], &["cache", "stats"]),
        (&[], &["cache", "clear", "--all"]),
    ] {
        let error = setup.refused(variables, args);
        for words in ["built without Redis", "--features redis", "leave this out"] {
            assert!(error.contains(words), "{args:?}: {error}");
        }
        assert!(!error.contains("6379"), "an address may have a password: {error}");
    }
    // What needs none goes on.
    assert_eq!(setup.run(&[("TMWS_CACHE", "memory")], &["config", "check"]).code, Some(0));
    assert!(setup.run(&[], &["--version"]).out.contains("no Redis"));
}
