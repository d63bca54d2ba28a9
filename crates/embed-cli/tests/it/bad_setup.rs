//! Machines on which something is missing or broken: one clear line, the right exit code, and the fix.

use std::fs;
use std::path::Path;
use std::process::Command;

use embed_encoder::assets::{DataHome, FileEntry, MANIFEST_NAME, Manifest};
use embed_encoder::{Precision, Profile};
use tempfile::TempDir;

use crate::{Run, copy_of, embed, home, path, run_in};

fn check(run: &Run, words: &[&str]) {
    assert_eq!((run.code, run.out.as_str()), (Some(3), ""), "{run:?}");
    for word in words {
        assert!(run.error().contains(word), "{word}: {}", run.err);
    }
}

#[test]
fn no_model() {
    let folder = TempDir::new().unwrap();
    let run = run_in(&DataHome::new(folder.path()), &["encode", "text"]);
    check(&run, &["run `embed models pull multilingual-e5-small --precision int8`"]);
}

#[test]
fn no_runtime_library() {
    let Some(home) = home() else { return };
    let (_folder, copy) = copy_of(&home);
    fs::remove_dir_all(copy.runtime_dir()).unwrap();
    let run = run_in(&copy, &["encode", "text"]);
    check(&run, &["there is no ONNX Runtime library", "embed models pull"]);
}

#[test]
fn a_runtime_library_that_is_not_where_the_variable_says() {
    let Some(home) = home() else { return };
    let run: Run = embed()
        .args(["encode", "text"])
        .env("EMBED_HOME", home.root())
        .env("ORT_DYLIB_PATH", "/nowhere/libonnxruntime.so")
        .output()
        .unwrap()
        .into();
    check(&run, &["ORT_DYLIB_PATH", "/nowhere/libonnxruntime.so"]);
}

/// A library that says of itself to be ONNX Runtime 1.16, and one that is none.
#[cfg(target_os = "linux")]
#[test]
fn a_runtime_library_of_a_wrong_version() {
    const OLD: &str = r#"
        static const void *api(unsigned v) { return 0; }
        static const char *version(void) { return "1.16.3"; }
        static const struct { const void *(*a)(unsigned); const char *(*v)(void); } base = { api, version };
        const void *OrtGetApiBase(void) { return &base; }
    "#;
    let Some(home) = home() else { return };
    let folder = TempDir::new().unwrap();
    for (name, source, words) in [
        ("old", OLD, ["version 1.16.3", "1.22 or newer", "embed models pull"]),
        ("other", "int x;", ["not an ONNX Runtime library", "ORT_DYLIB_PATH", "embed models pull"]),
    ] {
        let (code, library) =
            (folder.path().join(format!("{name}.c")), folder.path().join(format!("{name}.so")));
        fs::write(&code, source).unwrap();
        let gcc = Command::new("gcc").args(["-shared", "-fPIC", "-o", path(&library), path(&code)]).status();
        let built = gcc
            .map_err(|error| error.to_string())
            .and_then(|status| if status.success() { Ok(()) } else { Err("it failed".to_owned()) });
        if embed_testkit::require("gcc", built).is_none() {
            return;
        }
        let run: Run = embed()
            .args(["encode", "text"])
            .env("EMBED_HOME", home.root())
            .env("ORT_DYLIB_PATH", &library)
            .output()
            .unwrap()
            .into();
        check(&run, &words);
    }
}

#[test]
fn one_byte_of_the_model_flipped_and_a_tokenizer_cut_short() {
    let Some(home) = home() else { return };
    for (file, cut, word) in [
        ("model.onnx", false, "model.onnx is corrupt"),
        ("tokenizer.json", true, "tokenizer.json is not complete"),
    ] {
        let (_folder, copy) = copy_of(&home);
        let damaged = copy.model_dir(&Profile::all()[0], Precision::Int8).join(file);
        let mut bytes = fs::read(&damaged).unwrap();
        let middle = bytes.len() / 2;
        if cut {
            bytes.truncate(middle);
        } else {
            bytes[middle] ^= 1;
        }
        fs::write(&damaged, bytes).unwrap();
        let run = run_in(&copy, &["encode", "text"]);
        check(&run, &[word, "embed models pull multilingual-e5-small --precision int8"]);

        let doctor = run_in(&copy, &["doctor"]);
        assert_eq!(doctor.code, Some(1));
        assert!(doctor.out.contains(word) && doctor.out.contains("embed models pull"), "{}", doctor.out);
    }
}

#[test]
fn kernels_that_are_none_or_that_the_processor_lacks() {
    let Some(home) = home() else { return };
    let has = embed_kernels::Instructions::available().contains(&embed_kernels::Instructions::Amx);
    for name in ["fast"].into_iter().chain((!has).then_some("amx")) {
        let run: Run = embed()
            .args(["encode", "text"])
            .env("EMBED_HOME", home.root())
            .env("EMBED_KERNELS", name)
            .output()
            .unwrap()
            .into();
        check(&run, &["EMBED_KERNELS: ", "portable"]);
    }
}

/// Every path of this processor gives the same vectors to the bit, and doctor names it.
#[test]
fn kernels_can_be_chosen() {
    let Some(home) = home() else { return };
    let texts = ["The quick brown fox jumps over the lazy dog.", "富士山の高さは3776メートルです。"];
    let run = |name: &str, args: &[&str]| -> Run {
        let mut command = embed();
        command.args(args).env("EMBED_HOME", home.root()).env("EMBED_KERNELS", name);
        command.output().unwrap().into()
    };
    let vectors = |name: &str| -> Vec<Vec<f64>> {
        let rows = run(name, &["encode", "--format", "jsonl", texts[0], texts[1]]).rows();
        rows.iter().map(|row| serde_json::from_value(row["embedding"].clone()).unwrap()).collect()
    };
    let want = vectors("portable");
    for instructions in embed_kernels::Instructions::available() {
        let name = instructions.to_string();
        assert_eq!(vectors(&name), want, "{name}");
        let rows = run(&name, &["doctor", "--format", "jsonl"]).rows();
        let kernels = rows.iter().find(|row| row["check"] == "kernels").unwrap();
        assert!(kernels["detail"].as_str().unwrap().starts_with(&name), "{kernels}");
    }
}

#[test]
fn doctor_finds_nothing_wrong_where_nothing_is() {
    let Some(home) = home() else { return };
    let run = run_in(&home, &["doctor", "--format", "jsonl"]);
    let rows = run.rows();
    // The rows about Ollama come after these, and depend on what runs on this machine.
    let checks = [
        "data folder",
        "threads",
        "kernels",
        "runtime",
        "model int8",
        "model f32",
        "model mixed",
        "embedding",
    ];
    for (row, check) in rows.iter().zip(checks) {
        assert_eq!(row["check"], check, "{}", run.out);
        assert_ne!(row["status"], "wrong", "{}", run.out);
    }
    assert!(rows.len() > checks.len(), "{}", run.out);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk() {
    let Some(home) = home() else { return };
    // The device that is always full.
    for format in ["jsonl", "npy", "table"] {
        let run = run_in(&home, &["encode", "text", "--format", format, "--output", "/dev/full"]);
        check(&run, &["the output can't be written", "the disk is full"]);
    }
}

/// A data folder on a disk of 1 MiB: the pull fails with one clear line and leaves nothing behind.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_under_the_data_folder() {
    let Some(home) = home() else { return };
    let folder = TempDir::new().unwrap();
    let bundle = folder.path().join("bundle.zip");
    let exported = run_in(&home, &["models", "export", "--quiet", "--output", path(&bundle)]);
    assert_eq!(exported.code, Some(0), "{}", exported.err);
    let small = folder.path().join("small");
    fs::create_dir(&small).unwrap();
    // A mount in a separate namespace, which ends with the command.
    let script = format!(
        "mount -t tmpfs -o size=1m none '{small}' && EMBED_HOME='{small}' '{embed}' models import --quiet '{bundle}'; \
         code=$?; find '{small}' -name model.onnx; exit $code",
        small = path(&small),
        embed = env!("CARGO_BIN_EXE_embed"),
        bundle = path(&bundle),
    );
    let mount = Command::new("unshare").args(["--mount", "--map-root-user", "true"]).status();
    let may_mount = mount.map_err(|error| error.to_string()).and_then(|status| {
        if status.success() { Ok(()) } else { Err("mounting isn't allowed here".to_owned()) }
    });
    if embed_testkit::require("a mount namespace", may_mount).is_none() {
        return;
    }
    let run: Run = Command::new("unshare")
        .args(["--mount", "--map-root-user", "sh", "-c", &script])
        .output()
        .unwrap()
        .into();
    check(&run, &["disk is full"]);
}

/// Root may write everywhere, so the command runs as `nobody` then.
#[cfg(target_os = "linux")]
#[test]
fn no_permission_to_write() {
    let Some(home) = home() else { return };
    let folder = TempDir::new().unwrap();
    let binary = folder.path().join("embed");
    fs::copy(env!("CARGO_BIN_EXE_embed"), &binary).unwrap();
    open_to_all(folder.path());
    let bundle = folder.path().join("bundle.zip");
    run_in(&home, &["models", "export", "--quiet", "--output", path(&bundle)]);
    let locked = folder.path().join("locked");
    fs::create_dir(&locked).unwrap();
    fs::set_permissions(&locked, std::os::unix::fs::PermissionsExt::from_mode(0o555)).unwrap();

    let as_nobody = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    let is_root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    let mut command = if is_root { Command::new("setpriv") } else { Command::new("env") };
    if is_root {
        command.args(as_nobody);
    }
    let run: Run = command
        .args([path(&binary), "models", "import", "--quiet", path(&bundle)])
        .env("EMBED_HOME", &locked)
        .output()
        .unwrap()
        .into();
    check(&run, &["permission", path(&locked)]);
}

fn open_to_all(folder: &Path) {
    fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
}

/// Rewrites a file of the copied model, and the manifest with it: whole, as far as digests go.
fn forge(copy: &DataHome, name: &str, change: impl FnOnce(Vec<u8>) -> Vec<u8>) {
    let folder = copy.model_dir(&Profile::all()[0], Precision::Int8);
    let bytes = fs::read(folder.join(name)).unwrap();
    fs::write(folder.join(name), change(bytes)).unwrap();
    let mut manifest = Manifest::read(&folder).unwrap().unwrap();
    for file in &mut manifest.files {
        *file = FileEntry::of(&folder, &file.name).unwrap();
    }
    fs::write(folder.join(MANIFEST_NAME), serde_json::to_vec(&manifest).unwrap()).unwrap();
}

/// The one file that is executed.
#[test]
fn one_byte_of_the_runtime_library_flipped() {
    let Some(home) = home() else { return };
    let (_folder, copy) = copy_of(&home);
    let folder = copy.runtime_dir();
    let library = Manifest::read(&folder).unwrap().unwrap().files.remove(0).name;
    let mut bytes = fs::read(folder.join(&library)).unwrap();
    // In the text of the license, where nothing but a digest would notice.
    let middle = bytes.len() - 1000;
    bytes[middle] ^= 1;
    fs::write(folder.join(&library), bytes).unwrap();
    let run = run_in(&copy, &["encode", "text"]);
    check(&run, &[&format!("{library} is corrupt"), "embed models pull"]);
    let doctor = run_in(&copy, &["doctor"]);
    assert_eq!(doctor.code, Some(1));
    let row = doctor.out.lines().find(|line| line.contains("runtime")).unwrap();
    assert!(row.starts_with("WRONG") && row.contains("is corrupt"), "{row}");
    assert_eq!(run_in(&copy, &["models", "verify"]).code, Some(1));
}

#[cfg(target_os = "linux")]
#[test]
fn a_bare_name_in_the_variable_is_the_loaders_to_find() {
    let Some(home) = home() else { return };
    let folder = TempDir::new().unwrap();
    let installed = home.runtime_dir();
    let library = Manifest::read(&installed).unwrap().unwrap().files.remove(0).name;
    std::os::unix::fs::symlink(installed.join(library), folder.path().join("libonnxruntime.so")).unwrap();
    let with = |path: Option<&Path>| -> Run {
        let mut command = embed();
        command.args(["encode", "--quiet", "text"]).env("EMBED_HOME", home.root());
        command.env("ORT_DYLIB_PATH", "libonnxruntime.so").env_remove("LD_LIBRARY_PATH");
        if let Some(path) = path {
            command.env("LD_LIBRARY_PATH", path);
        }
        command.output().unwrap().into()
    };
    let run = with(Some(folder.path()));
    assert_eq!((run.code, run.err.as_str()), (Some(0), ""));
    check(&with(None), &["there is no ONNX Runtime library", "ORT_DYLIB_PATH"]);
}

/// Whole by every digest and of no use: `verify` and `doctor` say so, as `encode` does.
#[test]
fn verify_and_doctor_see_what_encode_sees() {
    let Some(home) = home() else { return };
    let (_folder, copy) = copy_of(&home);
    forge(&copy, "tokenizer.json", |_| b"{\"version\": \"1.0\"}".to_vec());
    assert_eq!(run_in(&copy, &["encode", "text"]).code, Some(3));
    let verified = run_in(&copy, &["models", "verify"]);
    assert_eq!(verified.code, Some(1), "{}", verified.out);
    assert!(verified.out.contains("(embeds a text)"), "{}", verified.out);
    assert_eq!(run_in(&copy, &["doctor"]).code, Some(1));
    // Exactly that: with the library that `encode` would take.
    let run: Run = embed()
        .args(["models", "verify"])
        .env("EMBED_HOME", home.root())
        .env("ORT_DYLIB_PATH", "/nowhere/libonnxruntime.so")
        .output()
        .unwrap()
        .into();
    assert_eq!(run.code, Some(1));
    assert!(run.out.contains("ORT_DYLIB_PATH"), "{}", run.out);
}

#[test]
fn a_model_for_another_version_of_this_program() {
    let Some(home) = home() else { return };
    let (_folder, copy) = copy_of(&home);
    forge(&copy, "model.onnx", |mut bytes| {
        // The key, the tag of the value and its length, and the value.
        let key = b"embed.format";
        let at = bytes.windows(key.len()).position(|window| window == key).unwrap() + key.len() + 2;
        bytes[at] = b'9';
        bytes
    });
    let run = run_in(&copy, &["encode", "text"]);
    check(&run, &["another version of this program", "embed models pull --force"]);

    let (_folder, copy) = copy_of(&home);
    let folder = copy.model_dir(&Profile::all()[0], Precision::Int8);
    let mut manifest = Manifest::read(&folder).unwrap().unwrap();
    manifest.recipe = 1000;
    fs::write(folder.join(MANIFEST_NAME), serde_json::to_vec(&manifest).unwrap()).unwrap();
    let run = run_in(&copy, &["encode", "text"]);
    check(
        &run,
        &["newer version of this program", "embed models pull multilingual-e5-small --precision int8"],
    );
    assert_eq!(run_in(&copy, &["models", "verify"]).code, Some(1));
}

#[test]
fn the_folder_of_a_model_with_another_one_in_it() {
    let Some(home) = home() else { return };
    let (_folder, copy) = copy_of(&home);
    let small = Profile::by_name("e5-small-v2").unwrap();
    let other = copy.model_dir(small, Precision::Int8);
    fs::create_dir_all(other.parent().unwrap()).unwrap();
    fs::rename(copy.model_dir(&Profile::all()[0], Precision::Int8), other).unwrap();
    let run = run_in(&copy, &["encode", "--model", "e5-small-v2", "text"]);
    check(&run, &["holds multilingual-e5-small", "embed models pull e5-small-v2"]);
}
