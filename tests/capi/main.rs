//! The C interface as C uses it: an artifact of the embedded model, programs made by `cc`, both forms of the library.
//!
//! The library lies beside this test's own program: it is a dependency of these tests, built in all its forms.

use actc::artifact::{Artifact, ReadOptions};
use actc::text::Tokenizer;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const PROMPT: &str = "The state of the Union is";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The folder of `libactc_rt.so` and `libactc_rt.a`.
fn libraries() -> PathBuf {
    let program = std::env::current_exe().expect("a program knows where it is");
    program.parent().expect("it lies in a folder").to_owned()
}

/// How a program is linked to the library.
#[derive(Clone, Copy, Debug)]
enum Form {
    Shared,
    Static,
}

/// A folder with an artifact of the embedded model. Not in `/tmp`, which a test below makes unfit for programs.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder for a test");
        let place = Place { folder };
        let whale = root().join("tests/models/whale-2m");
        let mut command = Command::new(env!("CARGO_BIN_EXE_actc"));
        command.arg("compile").arg(whale).args(["--passes", "rtn{bits=4}", "-o"]).arg(place.path("whale.actc"));
        ok(command.env("ACTC_CACHE_DIR", place.path("cache")), "actc compile");
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Compiles the C program at `source` and gives its path.
    fn build(&self, source: &str, form: Form) -> PathBuf {
        let program = self.path(&format!("{}-{form:?}", source.replace(['/', '.'], "-")));
        let mut cc = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
        cc.args(["-std=c99", "-O1", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-I"]);
        cc.arg(root().join("runtime/include")).arg(root().join(source)).arg("-o").arg(&program);
        match form {
            Form::Shared => cc.arg("-L").arg(libraries()).arg("-lactc_rt"),
            Form::Static => cc.arg(libraries().join("libactc_rt.a")),
        };
        ok(cc.args(["-lpthread", "-ldl", "-lm"]), "cc");
        program
    }
}

fn library_path(command: &mut Command) -> &mut Command {
    let variable = if cfg!(target_os = "macos") { "DYLD_LIBRARY_PATH" } else { "LD_LIBRARY_PATH" };
    command.env(variable, libraries())
}

/// Standard output of a command that succeeds and has nothing to say on standard error, if `silent`.
#[track_caller]
fn output(command: &mut Command, what: &str) -> Output {
    let output = command.output().unwrap_or_else(|e| panic!("{what}: {e}"));
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{what}: {}\n{stderr}", output.status);
    output
}

#[track_caller]
fn ok(command: &mut Command, what: &str) -> String {
    String::from_utf8(output(command, what).stdout).expect("UTF-8")
}

/// What a program of the library prints; it must print nothing else anywhere.
#[track_caller]
fn quiet(command: &mut Command, what: &str) -> String {
    let output = output(library_path(command), what);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{what}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn tokenizer(place: &Place) -> Tokenizer {
    let artifact = Artifact::open(&place.path("whale.actc"), &ReadOptions::default()).expect("the artifact opens");
    let json = artifact.tokenizer().expect("it can be read").expect("it is there");
    Tokenizer::from_json(&json).expect("it is a tokenizer")
}

/// The arguments of the example: an artifact, a number of tokens, the prompt's ids.
fn arguments(place: &Place, n: usize) -> Vec<String> {
    let mut all = vec![place.path("whale.actc").display().to_string(), n.to_string()];
    all.extend(tokenizer(place).encode(PROMPT).expect("the prompt encodes").iter().map(ToString::to_string));
    all
}

#[test]
fn the_example_continues_as_actc_does() {
    let place = Place::new();
    let mut actc = Command::new(env!("CARGO_BIN_EXE_actc"));
    actc.arg("generate").arg(place.path("whale.actc")).args(["--raw", "-n", "24", "-p", PROMPT]);
    let text = ok(actc.env("ACTC_CACHE_DIR", place.path("cache")), "actc generate");
    assert!(text.len() > 40, "{text}");
    for form in [Form::Shared, Form::Static] {
        let program = place.build("examples/c/generate.c", form);
        let printed = quiet(Command::new(&program).args(arguments(&place, 24)), "generate");
        let ids: Vec<u32> = printed.split_whitespace().map(|id| id.parse().expect("an id")).collect();
        assert_eq!(ids.len(), 24, "{form:?}: {printed}");
        let decoded = tokenizer(&place).decode(&ids).expect("ids decode");
        assert_eq!(decoded.trim_end_matches('\n'), text.trim_end_matches('\n'), "{form:?}");
    }
    let program = place.build("examples/c/generate.c", Form::Shared);
    let bad =
        library_path(Command::new(&program).arg(program.as_os_str()).args(["1", "1"])).output().expect("it starts");
    assert_eq!(bad.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&bad.stderr).contains("error[artifact-magic]"));
}

#[test]
fn the_contract_of_every_call() {
    let place = Place::new();
    let junk = place.path("junk");
    std::fs::write(&junk, "junk").expect("a file is written");
    let program = place.build("tests/capi/contract.c", Form::Shared);
    quiet(Command::new(program).arg(place.path("whale.actc")).arg(junk), "contract");
}

#[test]
fn sessions_side_by_side_are_as_alone() {
    let place = Place::new();
    let program = place.build("tests/capi/sessions.c", Form::Shared);
    let alone = quiet(Command::new(program).arg(place.path("whale.actc")), "sessions");
    // Another process says the same.
    let example = place.build("examples/c/generate.c", Form::Static);
    assert_eq!(alone, quiet(Command::new(example).args(arguments(&place, 12)), "generate"));
}

/// Machine code needs no file that can be executed and no place to write: the root is read-only, `/tmp` and `/dev/shm`
/// are mounted without permission to execute.
#[test]
#[cfg(target_os = "linux")]
#[expect(clippy::print_stderr, reason = "a skipped check must say so")]
fn a_read_only_root_and_a_tmp_without_programs() {
    let namespaces = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-euc", script, "sh"]);
        command
    };
    let allowed = namespaces("mount -t tmpfs -o noexec none /tmp").output().is_ok_and(|o| o.status.success());
    if !allowed {
        eprintln!("skipped: this system gives no mount namespaces to its users");
        return;
    }
    let place = Place::new();
    if place.folder.path().starts_with("/tmp") {
        eprintln!("skipped: what is built lies in /tmp, which the test hides");
        return;
    }
    let program = place.build("examples/c/generate.c", Form::Static);
    let expected = quiet(Command::new(&program).args(arguments(&place, 12)), "generate");
    let script = "mount -t tmpfs -o noexec none /tmp
        if [ -d /dev/shm ]; then mount -t tmpfs -o noexec none /dev/shm; fi
        mount --bind \"$1\" \"$1\"
        mount -o remount,bind,ro \"$1\"
        mount -o remount,bind,ro /
        cp /bin/true /tmp/true
        if /tmp/true 2>/dev/null; then echo '/tmp runs programs' >&2; exit 1; fi
        rm /tmp/true
        if touch \"$1/written\" /written 2>/dev/null; then echo 'the root can be written' >&2; exit 1; fi
        program=$2
        shift 2
        \"$program\" \"$@\"
        if [ -n \"$(ls -A /tmp)\" ]; then echo 'something was left in /tmp' >&2; exit 1; fi";
    let mut command = namespaces(script);
    command.arg(place.folder.path()).arg(&program).args(arguments(&place, 12));
    assert_eq!(quiet(&mut command, "generate with nowhere to write"), expected);
}

/// The library has what it promises and nothing of the compiler: only its own names are exported.
#[test]
#[cfg(target_os = "linux")]
fn the_library_exports_its_interface_alone() {
    let Ok(nm) = Command::new("nm").args(["-D", "--defined-only"]).arg(libraries().join("libactc_rt.so")).output()
    else {
        panic!("`nm` comes with the C compiler");
    };
    let symbols = String::from_utf8_lossy(&nm.stdout).into_owned();
    let names: Vec<&str> = symbols.lines().filter_map(|l| l.split_whitespace().last()).collect();
    let header = std::fs::read_to_string(root().join("runtime/include/actc.h")).expect("the header is there");
    assert!(names.len() > 20, "{symbols}");
    for name in names {
        assert!(header.contains(&format!("{name}(")), "`{name}` is exported and not in the header");
    }
}
