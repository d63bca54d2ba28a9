//! `embed serve` with settings that can't work: it ends before a model is looked for, and before it says that it serves.

use std::fs;
use std::net::TcpListener;

use tempfile::TempDir;

use crate::{Run, embed, path};

/// Flags, variables, and what is said of them.
type Case<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], &'a [&'a str]);

#[test]
fn settings_that_can_not_work_fail_first() {
    let folder = TempDir::new().unwrap();
    let file = |name: &str, text: &str| {
        let file = folder.path().join(name);
        fs::write(&file, text).unwrap();
        file
    };
    let comments = file("comments", "\u{feff}# nothing\n\n");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let some = &["--listen", "127.0.0.1:0"][..];
    let cases: [Case<'_>; 9] = [
        (
            &["--listen", "0.0.0.0:0"],
            &[],
            &["TMWS_GATEWAY_API_KEYS", "127.0.0.1", "TMWS_GATEWAY_PUBLIC_WITHOUT_KEY"],
        ),
        (some, &[("TMWS_GATEWAY_TLS_CERTIFICATE", "a"), ("TMWS_GATEWAY_TLS_KEY", "b")], &["tls.certificate"]),
        (some, &[("TMWS_GATEWAY_TLS_CERTIFICATE", "a")], &["gateway.tls_key", "missing"]),
        (some, &[("TMWS_GATEWAY_CORS_ORIGINS", "app.example.org")], &["cors_origins", "no scheme"]),
        (some, &[("TMWS_GATEWAY_CORS_ORIGINS", "https://a.example/path")], &["cors_origins"]),
        (some, &[("TMWS_GATEWAY_API_KEY_FILE", path(&comments))], &["has none", "comments"]),
        (&["--listen", &taken], &[], &["another program may have it", "--listen", &taken]),
        (
            &["--listen", "127.0.0.1:0", "--admin-listen", &taken],
            &[],
            &["another program may have it", "--admin-listen", &taken],
        ),
        (
            &["--listen", "127.0.0.1:39999", "--admin-listen", "127.0.0.1:39999"],
            &[],
            &["gateway.admin_listen", "choose another port"],
        ),
    ];
    for (args, variables, words) in cases {
        // There is no model, and nobody gets as far as to say so.
        let mut command = embed();
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("TMWS_")) {
            command.env_remove(name);
        }
        let command = command.args(["serve", "--service", "e5"]).args(args);
        let command = command.env("EMBED_HOME", folder.path()).envs(variables.iter().copied());
        let run: Run = command.env("XDG_CONFIG_HOME", folder.path()).output().unwrap().into();
        assert_eq!((run.code, run.out.as_str()), (Some(3), ""), "{run:?}");
        for word in words {
            assert!(run.error().contains(word), "{word}: {}", run.err);
        }
    }
}
