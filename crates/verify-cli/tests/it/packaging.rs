//! Packages: manual pages, the .deb, the files of the image, and the name by which kubectl finds the program.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::program::{RunResult, outcome, run};

fn program() -> &'static Path {
    Path::new(assert_cmd::cargo::cargo_bin!("state-lab"))
}

/// Runs a script of packaging/.
fn script(name: &str, arguments: &[&Path]) -> RunResult {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging");
    outcome(&Command::new(scripts.join(name)).args(arguments).output().unwrap())
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn every_command_has_a_manual_page() {
    let directory = tempfile::tempdir().unwrap();
    let RunResult { status, out, err } = run(directory.path(), &["man", "."]);
    assert_eq!((status, out.as_str(), err.as_str()), (Some(0), "", ""));
    let pages = names(directory.path());
    for page in ["state-lab.1", "state-lab-backup.1", "state-lab-restore.1", "state-lab-evidence-verify.1"] {
        assert!(pages.iter().any(|name| name == page), "{page}: {pages:?}");
    }
    let page = fs::read_to_string(directory.path().join("state-lab.1")).unwrap();
    assert!(page.contains(".TH state-lab 1"), "{page}");
    assert!(page.contains("Exit status"), "{page}");
    // What is hidden is not for people.
    assert!(!pages.iter().any(|name| name.contains("agent") || name.contains("man")), "{pages:?}");
    let refused = run(directory.path(), &["man", "nowhere"]);
    assert_eq!(refused.status, Some(2));
    assert!(refused.err.contains("failed to write the manual pages into nowhere"), "{}", refused.err);
}

#[test]
fn the_debian_package_holds_the_program_its_pages_and_completions() {
    if Command::new("dpkg-deb").arg("--version").output().is_err() {
        return eprintln!("skipped: the_debian_package: needs dpkg-deb");
    }
    let directory = tempfile::tempdir().unwrap();
    let made = script("deb.sh", &[program(), directory.path()]);
    assert_eq!(made.status, Some(0), "{made:?}");
    let version = env!("CARGO_PKG_VERSION");
    let [package] = &names(directory.path())[..] else { panic!("one package") };
    assert!(package.starts_with(&format!("state-lab_{version}_")), "{package}");

    let package = directory.path().join(package);
    let dpkg = |arguments: &[&Path]| {
        let result = outcome(&Command::new("dpkg-deb").args(arguments).output().unwrap());
        assert_eq!(result.status, Some(0), "{result:?}");
        result.out
    };
    let root = directory.path().join("root");
    dpkg(&[Path::new("-x"), &package, &root]);
    // The tests' program is linked with libc.
    let depends = dpkg(&[Path::new("-f"), &package, Path::new("Depends")]);
    assert!(depends.starts_with("libc6 (>= 2."), "{depends}");
    let contents = dpkg(&[Path::new("-c"), &package]);
    assert!(contents.lines().all(|line| line.contains(" root/root ")), "{contents}");

    for name in ["state-lab", "kubectl-state_lab"] {
        let printed =
            outcome(&Command::new(root.join("usr/bin").join(name)).arg("--version").output().unwrap());
        assert_eq!(printed.out, format!("state-lab {version}\n"), "{name}");
    }
    for path in [
        "usr/share/man/man1/state-lab-restore.1.gz",
        "usr/share/bash-completion/completions/state-lab",
        "usr/share/zsh/vendor-completions/_state-lab",
        "usr/share/fish/vendor_completions.d/state-lab.fish",
        "usr/share/doc/state-lab/copyright",
    ] {
        let found = fs::metadata(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert!(found.len() > 500 && found.permissions().mode() & 0o777 == 0o644, "{path}: {found:?}");
    }
}

#[test]
fn a_program_that_needs_libraries_is_refused_for_the_image() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    let refused = script("image-root.sh", &[program(), &root]);
    assert_eq!(refused.status, Some(1), "{refused:?}");
    assert!(refused.err.contains("is linked dynamically"), "{}", refused.err);
    assert!(!root.exists());

    let source = directory.path().join("static.c");
    let built = directory.path().join("static");
    fs::write(&source, "int main(void) { return 0; }\n").unwrap();
    let compiled = Command::new("cc").arg("-static").arg(&source).arg("-o").arg(&built).status().unwrap();
    assert!(compiled.success());
    let made = script("image-root.sh", &[&built, &root]);
    assert_eq!(made.status, Some(0), "{made:?}");
    let program = root.join("usr/local/bin/state-lab");
    assert!(Command::new(program).status().unwrap().success());
    assert_eq!(fs::metadata(root.join("tmp")).unwrap().permissions().mode() & 0o7777, 0o1777);
    let accounts = fs::read_to_string(root.join("etc/passwd")).unwrap();
    assert!(accounts.contains("state-lab:x:65532:65532:"), "{accounts}");
    build_image(directory.path());
}

/// Builds the image of `root` with the real buildah, and runs it.
fn build_image(directory: &Path) {
    if Command::new("buildah").arg("version").output().is_err() || !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: the image: needs buildah, and root");
    }
    let buildah = |arguments: &[&str]| {
        let mut command = Command::new("buildah");
        // Nothing of it is left on this machine.
        command.args(["--storage-driver", "vfs", "--root", "storage", "--runroot", "run"]);
        let result = outcome(&command.args(arguments).current_dir(directory).output().unwrap());
        assert_eq!(result.status, Some(0), "{arguments:?}: {result:?}");
        result.out.trim().to_owned()
    };
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/Containerfile");
    buildah(&["build", "--isolation", "chroot", "-f", file.to_str().unwrap(), "-t", "state-lab:test", "."]);
    let container = buildah(&["from", "--pull-never", "localhost/state-lab:test"]);
    buildah(&["run", "--isolation", "chroot", &container, "--", "/usr/local/bin/state-lab"]);
    let format = "{{.OCIv1.Config.User}} {{.OCIv1.Config.Entrypoint}}";
    let config = buildah(&["inspect", "--type", "image", "--format", format, "localhost/state-lab:test"]);
    assert_eq!(config, "65532:65532 [/usr/local/bin/state-lab]");
    buildah(&["rm", "--all"]);
}

#[test]
fn kubectl_finds_it_by_its_name() {
    let directory = tempfile::tempdir().unwrap();
    let plugin: PathBuf = directory.path().join("kubectl-state_lab");
    symlink(program(), &plugin).unwrap();
    let mut command = Command::new(&plugin);
    // Where there is a kubectl, it is kubectl that looks.
    if Command::new("kubectl").arg("help").output().is_ok() {
        command = Command::new("kubectl");
        command.arg("state-lab");
        let path = std::env::var("PATH").unwrap();
        command.env("PATH", format!("{}:{path}", directory.path().display()));
    }
    let result = outcome(&command.args(["completions", "bash"]).output().unwrap());
    assert_eq!(result.status, Some(0), "{result:?}");
    assert!(result.out.contains("complete -F _state__lab"), "{}", result.out);
}
