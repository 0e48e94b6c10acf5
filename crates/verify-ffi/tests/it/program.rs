//! Programs in other languages, built against the header and the library of this crate.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// A file of this crate.
pub(crate) fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The directory of the shared library that was built with this test.
pub(crate) fn library() -> PathBuf {
    let mut directory = std::env::current_exe().unwrap();
    directory.pop();
    let name = format!("{}verify_ffi{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    assert!(directory.join(&name).exists(), "{} has no {name}", directory.display());
    directory
}

/// A library of this crate, to be linked with a program.
pub(crate) enum Linked {
    Shared,
    Static,
}

/// Compiles a C program, with all warnings as errors.
pub(crate) fn compile(source: &str, linked: &Linked, to: &TempDir) -> PathBuf {
    let program = to.path().join("program");
    let mut cc = Command::new("cc");
    cc.args("-std=c11 -D_POSIX_C_SOURCE=200809L -g -Wall -Wextra -Wpedantic -Werror -pthread -I".split(' '));
    cc.arg(file("include")).arg(file(source)).arg("-o").arg(&program);
    match linked {
        Linked::Shared => cc.arg("-L").arg(library()).arg("-lverify_ffi"),
        // After it, what the standard library of Rust uses of the system's.
        Linked::Static => {
            cc.arg(library().join("libverify_ffi.a")).args(["-lgcc_s", "-lpthread", "-ldl", "-lm"])
        }
    };
    succeed(&mut cc);
    program
}

/// Runs a program with the library.
pub(crate) fn run(program: &Path, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).env("LD_LIBRARY_PATH", library()).output().unwrap()
}

/// The same under valgrind if it is installed: then an invalid access or a leak is status 99.
pub(crate) fn run_checked(program: &Path, arguments: &[&str]) -> Output {
    let mut command = if has("valgrind") {
        let mut valgrind = Command::new("valgrind");
        valgrind.args([
            "--quiet",
            "--error-exitcode=99",
            "--leak-check=full",
            "--errors-for-leak-kinds=definite",
        ]);
        valgrind.arg(program);
        valgrind
    } else {
        eprintln!("valgrind is not installed: memory of {} is not checked", program.display());
        Command::new(program)
    };
    command.args(arguments).env("LD_LIBRARY_PATH", library()).output().unwrap()
}

/// Returns whether a program is installed.
pub(crate) fn has(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok()
}

/// Runs a command that must succeed.
pub(crate) fn succeed(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
