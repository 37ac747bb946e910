//! Compiles that are killed and go on, and memory that is too small.

use super::{Place, path, whale};
use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

const REQUEST: [&str; 6] =
    ["--passes", "owq{bits=3,target=3.25,group=64},head{bits=8}", "--calib-windows", "16", "--calib-len", "128"];

/// Finished blocks in the folder `work`.
fn blocks(place: &Place) -> Vec<PathBuf> {
    let folders = fs::read_dir(place.path("work")).unwrap().map(|e| e.unwrap().path());
    let mut blocks: Vec<PathBuf> = folders
        .filter(|p| p.is_dir())
        .flat_map(|p| fs::read_dir(p).unwrap().map(|e| e.unwrap().path()))
        .filter(|p| p.extension().is_some_and(|e| e == "block"))
        .collect();
    blocks.sort();
    blocks
}

/// Starts the compile to `a.actc` and kills it when `count` blocks are finished.
fn kill_behind(place: &Place, count: usize) {
    let whale = whale();
    let args = [&["compile", path(&whale), "-o", "a.actc", "--work", "work"][..], &REQUEST].concat();
    let mut child = place.command(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let started = Instant::now();
    while blocks(place).len() < count {
        assert!(child.try_wait().unwrap().is_none(), "the compile ended before it was killed");
        assert!(started.elapsed() < Duration::from_secs(300), "no {count} blocks");
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!place.path("a.actc").exists());
}

#[test]
fn a_killed_compile_goes_on_to_the_same_bytes() {
    let place = Place::new();
    fs::create_dir(place.path("work")).unwrap();
    place.compile("whole.actc", &REQUEST).ok();
    let whole = fs::read(place.path("whole.actc")).unwrap();

    kill_behind(&place, 2);
    kill_behind(&place, 4);
    let finished = blocks(&place);
    assert!(finished.len() >= 4);
    // One block is damaged, one is cut short, one comes from elsewhere: they are made again.
    let mut bytes = fs::read(&finished[0]).unwrap();
    let at = bytes.len() - 5;
    bytes[at] ^= 1;
    fs::write(&finished[0], &bytes).unwrap();
    let half = fs::read(&finished[1]).unwrap();
    fs::write(&finished[1], &half[..half.len() / 2]).unwrap();
    fs::copy(&finished[3], &finished[2]).unwrap();
    let again = place.compile("a.actc", &[&REQUEST[..], &["--work", "work"]].concat());
    again.ok();
    assert!(again.stderr().contains("blocks of this request are finished already"), "{}", again.stderr());
    assert!(fs::read(place.path("a.actc")).unwrap() == whole);
    assert_eq!(fs::read_dir(place.path("work")).unwrap().count(), 0, "nothing is left of the work");
}

#[test]
fn another_request_does_not_use_it() {
    let place = Place::new();
    fs::create_dir(place.path("work")).unwrap();
    kill_behind(&place, 2);
    let other = [&REQUEST[..], &["--seed", "1"]].concat();
    place.compile("own.actc", &other).ok();
    let run = place.compile("b.actc", &[&other[..], &["--work", "work"]].concat());
    run.ok();
    assert!(!run.stderr().contains("finished already"), "{}", run.stderr());
    assert!(fs::read(place.path("b.actc")).unwrap() == fs::read(place.path("own.actc")).unwrap());
    assert!(blocks(&place).len() >= 2, "the first request's work is still there");
}

#[test]
fn too_little_memory_is_refused_before_computing() {
    let place = Place::new();
    let whale = whale();
    let limited = [&REQUEST[..], &["--max-ram", "100M"]].concat();
    let run = place.compile("a.actc", &limited);
    let said = run.fails(1, "max-ram");
    assert!(said.contains("--max-ram allows 100.0 MB") && said.contains("takes up to 30"), "{said}");
    assert!(!run.stderr().contains("calibrate:"), "nothing ran: {said}");
    let plan = place.run(&[&["plan", path(&whale), "-o", "a.actc"][..], &limited].concat());
    plan.fails(1, "max-ram");
    assert!(plan.stdout().contains("memory"), "the plan comes all the same");
    place.run(&[&["plan", path(&whale)][..], &REQUEST, &["--max-ram", "1GiB"]].concat()).ok();
    assert_eq!(place.compile("a.actc", &["--max-ram", "lots"]).output.status.code(), Some(2));
    assert!(!place.path("a.actc").exists());
}
