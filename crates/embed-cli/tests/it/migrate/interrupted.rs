//! Whatever ends a migration: the same command goes on, and nothing is lost or doubled.

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::process::Command;
use std::time::Duration;

use embed_testkit::ollama::{Fault, OllamaDouble};

use super::{Collection, check_refused, kill, old_rows, wait};
use crate::{Run, path};

#[test]
fn a_torn_or_damaged_end_is_made_anew() {
    let collection = Collection::new(&old_rows(100));
    collection.migrate();
    let whole = collection.written();
    let lines: Vec<_> = whole.split_inclusive('\n').collect();
    let torn = lines[..50].concat() + &lines[50][..100];
    let without_end = lines[..50].concat() + lines[50].trim_end();
    let zeros = lines[..50].concat() + &"\0".repeat(3000) + "\n" + lines[51];
    let doubled = lines[..50].concat() + lines[49] + lines[50];
    let gap = lines[..50].concat() + &lines[51..].concat();
    let more = whole.clone() + lines[0];
    for (damaged, kept) in [(torn, 50), (without_end, 50), (zeros, 50), (doubled, 50), (gap, 50), (more, 100)]
    {
        fs::remove_file(collection.output()).unwrap();
        collection.leave(&damaged);
        let run = collection.migrate();
        assert!(run.out.contains(&format!("{kept} of them earlier")), "{}", run.out);
        assert!(collection.written() == whole, "the output differs: {}", run.out);
    }
}

#[test]
fn rows_of_another_migration_are_not_gone_on_with() {
    let collection = Collection::new(&old_rows(100));
    collection.migrate();
    let whole = collection.written();
    fs::remove_file(collection.output()).unwrap();
    let some: String = whole.split_inclusive('\n').take(50).collect();
    collection.leave(&some);

    check_refused(&collection.run(&["--role", "query"]), &["differs: --role", "--restart"]);
    check_refused(&collection.run(&["--truncate", "end"]), &["differs: --truncate", "--restart"]);
    collection.double.change(|script| script.digest = script.digest.replace('1', "2"));
    check_refused(&collection.run(&[]), &["differs: the model", "--restart"]);
    collection.double.change(|script| script.digest = script.digest.replace('2', "1"));
    fs::write(collection.input(), old_rows(101)).unwrap();
    check_refused(&collection.run(&[]), &["differs: the input", "--restart"]);
    fs::write(collection.input(), old_rows(100)).unwrap();
    fs::rename(collection.job(), collection.folder.path().join("elsewhere")).unwrap();
    check_refused(&collection.run(&[]), &["nothing says of what", "--restart"]);
    fs::rename(collection.folder.path().join("elsewhere"), collection.job()).unwrap();
    assert_eq!(fs::read_to_string(collection.partial()).unwrap(), some, "what was refused was touched");

    fs::write(collection.input(), old_rows(101)).unwrap();
    let run = collection.run(&["--restart"]);
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(!run.out.contains("earlier"), "{}", run.out);
    assert_eq!(collection.rows().len(), 101);
}

#[test]
fn a_death_between_the_last_two_steps_is_no_harm() {
    let collection = Collection::new(&old_rows(100));
    collection.leave("");
    let job = fs::read(collection.job()).unwrap();
    collection.migrate();
    let whole = collection.written();
    fs::write(collection.job(), &job).unwrap();
    let run = collection.migrate();
    assert!(run.out.contains("whole already"), "{}", run.out);
    assert!(collection.written() == whole);

    // Beside another output the job says nothing.
    fs::write(collection.job(), &job).unwrap();
    fs::write(collection.output(), &whole[..whole.len() / 2]).unwrap();
    check_refused(&collection.run(&[]), &["--force"]);
}

#[test]
fn two_processes_do_not_write_one_output() {
    let collection = Collection::new(&old_rows(2000));
    collection.double.change(|script| script.embed_time = Duration::from_millis(20));
    let first = collection.start_until(2);
    check_refused(&collection.run(&[]), &["another process"]);
    check_refused(&collection.run(&["--restart"]), &["another process"]);
    collection.double.change(|script| script.embed_time = Duration::ZERO);
    let run = wait(first);
    assert_eq!(run.code, Some(0), "{run:?}");
    assert_eq!(collection.rows().len(), 2000);
}

#[test]
fn a_back_end_that_goes_leaves_what_is_done_to_go_on_with() {
    let mut collection = Collection::new(&old_rows(2000));
    collection.migrate();
    let whole = collection.written();
    fs::remove_file(collection.output()).unwrap();
    collection.double.change(|script| script.embed_time = Duration::from_millis(1));
    let child = collection.start_until(20);
    let port = collection.double.port();
    drop(std::mem::replace(
        &mut collection.double,
        collection.runtime.block_on(OllamaDouble::start("0.9.3")),
    ));
    let run = wait(child);
    assert_eq!((run.code, run.out.as_str()), (Some(4), ""), "{run:?}");
    assert!(run.error().contains("the same command goes on (line: "), "{}", run.err);
    assert!(run.error().contains("rows kept: ") && run.error().contains("no server answers"), "{}", run.err);
    assert_eq!(collection.files(), ["new.jsonl.partial", "new.jsonl.partial.json"]);

    collection.double = collection.runtime.block_on(OllamaDouble::start_at("0.9.3", port));
    assert!(collection.migrate().out.contains("of them earlier"));
    assert!(collection.written() == whole);
}

#[test]
fn a_model_that_is_gone_is_no_error_of_each_row() {
    let collection = Collection::new(&old_rows(2000));
    let missing = Fault::Error(404, "model \"all-minilm\" not found, try pulling it first".to_owned());
    collection.fail_after(5, vec![missing; 100]);
    let run = collection.run(&[]);
    assert_eq!((run.code, run.out.as_str()), (Some(3), ""), "{run:?}");
    assert!(run.error().contains("ollama pull all-minilm"), "{}", run.err);
    collection.double.heal();
    assert!(collection.migrate().out.starts_with("2000 rows: 2000 embedded, 0 carried over, 0 failed"));
}

#[cfg(unix)]
#[test]
fn a_signal_ends_it_and_what_is_done_is_kept() {
    let collection = Collection::new(&old_rows(2000));
    for signal in ["TERM", "INT"] {
        collection.double.change(|script| script.embed_time = Duration::from_millis(2));
        let child = collection.start_until(10);
        embed_testkit::signal(signal, child.id()).unwrap();
        let run = wait(child);
        assert_eq!((run.code, run.out.as_str()), (Some(4), ""), "{run:?}");
        assert!(
            run.error().contains("stopped by a signal; the same command goes on (rows kept: "),
            "{run:?}"
        );
        let partial = fs::read_to_string(collection.partial()).unwrap();
        assert!(partial.is_empty() || partial.ends_with('\n'), "a torn row");
    }
    collection.double.change(|script| script.embed_time = Duration::ZERO);
    assert!(collection.migrate().out.starts_with("2000 rows: 2000 embedded, 0 carried over, 0 failed"));
}

/// Must be seen: whenever it is killed, the same command goes on, and in the end nothing shows of it.
#[test]
fn twenty_thousand_rows_and_ten_kills_give_the_output_of_an_uninterrupted_run() {
    let collection = Collection::new(&old_rows(20_000));
    collection.migrate();
    let whole = collection.written();
    fs::remove_file(collection.output()).unwrap();

    let random = RandomState::new();
    let mut kept = 0;
    for kill_number in 0..10_u64 {
        // Fewer than there are requests in all, so that each run is killed before it ends.
        let requests = 1 + random.hash_one(kill_number) % 45;
        kill(collection.start_until(requests as usize));
        let rows = fs::read(collection.partial()).unwrap().iter().filter(|&&byte| byte == b'\n').count();
        assert!(rows >= kept, "{kept} rows were there and {rows} are left");
        kept = rows;
        assert!(!collection.output().exists());
    }
    let run = collection.migrate();
    assert!(run.out.starts_with("20000 rows: 20000 embedded, 0 carried over, 0 failed; "), "{}", run.out);
    assert!(run.out.contains(&format!("{kept} of them earlier")), "{kept}: {}", run.out);
    assert_eq!(whole.lines().count(), 20_000);
    assert!(collection.written() == whole, "the output differs from that of an uninterrupted run");
}

/// A full disk of 1 MiB that gets larger.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_keeps_what_is_done() {
    let collection = Collection::new(&old_rows(500));
    collection.migrate();
    let mount = Command::new("unshare").args(["--mount", "--map-root-user", "true"]).status();
    let may_mount = mount.map_err(|error| error.to_string()).and_then(|status| {
        if status.success() { Ok(()) } else { Err("mounting isn't allowed here".to_owned()) }
    });
    if embed_testkit::require("a mount namespace", may_mount).is_none() {
        return;
    }
    let small = collection.folder.path().join("small");
    fs::create_dir(&small).unwrap();
    let script = format!(
        "mount -t tmpfs -o size=1m none '{small}'\n\
         migrate() {{ '{embed}' migrate --service ollama --ollama-url '{url}' --from-space old \
         --input '{input}' --output '{small}/new.jsonl'; }}\n\
         migrate && exit 90; [ $? = 3 ] || exit 91\n\
         migrate 2> /dev/null && exit 92; [ $? = 3 ] || exit 93\n\
         mount -o remount,size=64m '{small}' && migrate && cmp '{small}/new.jsonl' '{output}'",
        small = path(&small),
        embed = env!("CARGO_BIN_EXE_embed"),
        url = collection.double.url(),
        input = path(&collection.input()),
        output = path(&collection.output()),
    );
    let run: Run = Command::new("unshare")
        .args(["--mount", "--map-root-user", "sh", "-c", &script])
        .output()
        .unwrap()
        .into();
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(run.error().contains("the disk is full") && run.error().contains("rows kept: "), "{}", run.err);
    assert!(run.out.contains("of them earlier"), "{}", run.out);
}

#[test]
fn an_input_that_changes_under_way_is_noticed() {
    let collection = Collection::new(&old_rows(2000));
    collection.double.change(|script| script.embed_time = Duration::from_millis(2));
    let child = collection.start_until(2);
    let mut input = fs::OpenOptions::new().append(true).open(collection.input()).unwrap();
    input.write_all(old_rows(1).as_bytes()).unwrap();
    collection.double.change(|script| script.embed_time = Duration::ZERO);
    check_refused(&wait(child), &["changed while it was read", "rows at first: 2000, rows written: 2001"]);
    check_refused(&collection.run(&[]), &["differs: the input", "--restart"]);
    assert!(!collection.output().exists());
}
