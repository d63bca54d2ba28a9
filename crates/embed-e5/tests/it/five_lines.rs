//! A program of somebody else's that depends on two crates of this workspace and nothing more.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::home;

const MANIFEST: &str = r#"
[package]
name = "five-lines"
version = "0.0.0"
edition = "2024"

[dependencies]
embed-core = { path = "CRATES/embed-core" }
embed-e5 = { path = "CRATES/embed-e5" }

[workspace]
"#;

/// `block_on` is somebody else's five lines in most programs; here std's waker is enough.
const PROGRAM: &str = r#"
use embed_core::EmbedderExt;
fn main() -> Result<(), embed_core::Error> {
    let e5 = embed_e5::E5Embedder::load_blocking(embed_e5::E5Config::default())?;
    let vector = block_on(e5.encode_query("富士山の高さ"))?;
    println!("{} {}", vector.vector().len(), vector.space());
    Ok(())
}

fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = std::sync::Arc::new(Unpark(std::thread::current())).into();
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut std::task::Context::from_waker(&waker)) {
            std::task::Poll::Ready(output) => return output,
            std::task::Poll::Pending => std::thread::park(),
        }
    }
}
"#;

#[test]
fn a_program_of_its_own_needs_core_and_e5_alone() {
    let Some(_) = home() else { return };
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let folder = TempDir::new().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    fs::create_dir(folder.path().join("src")).unwrap();
    write("Cargo.toml", &MANIFEST.replace("CRATES", crates.to_str().unwrap()));
    write("src/main.rs", PROGRAM);
    // The lock file of the workspace, so that the versions are those that are on the disk already.
    fs::copy(crates.parent().unwrap().join("Cargo.lock"), folder.path().join("Cargo.lock")).unwrap();
    let output = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--offline"])
        .current_dir(folder.path())
        .env("CARGO_TARGET_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join("five-lines"))
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{err}");
    assert_eq!(out.trim(), "384 multilingual-e5-small/mean/query-passage/l2/384");
}
