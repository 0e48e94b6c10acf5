//! The Python package: built as a wheel by maturin, installed into a virtual environment, and used on a real server.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// Runs a command that must succeed; returns what it printed.
fn succeed(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let printed = String::from_utf8([stdout, stderr].concat()).unwrap();
    assert!(status.success(), "{command:?}: {printed}");
    printed
}

fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Builds the wheel in the target folder of this build, and installs it. Returns the environment's interpreter.
fn install(tools: &Path, directory: &TempDir) -> PathBuf {
    let wheels = directory.path().join("wheels");
    let test = std::env::current_exe().unwrap();
    let target = test.ancestors().nth(3).unwrap();
    let mut maturin = Command::new(tools.join("bin/maturin"));
    maturin.args(["build", "--quiet", "--locked", "--compatibility=linux", "--manifest-path"]);
    maturin.arg(file("Cargo.toml")).arg("--target-dir").arg(target).arg("--out").arg(&wheels);
    // What cargo sets for a test would make the build scripts of dependencies run again.
    for (name, _) in std::env::vars_os() {
        if ["CARGO_PKG_", "CARGO_MANIFEST_", "OUT_DIR"]
            .iter()
            .any(|of_test| name.to_string_lossy().starts_with(of_test))
        {
            maturin.env_remove(name);
        }
    }
    succeed(&mut maturin);
    let wheel = std::fs::read_dir(&wheels).unwrap().next().unwrap().unwrap().path();
    let name = wheel.file_name().unwrap().to_str().unwrap();
    assert!(name.starts_with("state_lab-") && name.contains("-cp39-abi3-"), "{name}");
    let environment = directory.path().join("environment");
    succeed(Command::new("python3").args(["-m", "venv", "--without-pip"]).arg(&environment));
    let python = environment.join("bin/python");
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "--python"]).arg(&python).args([
        "install",
        "--quiet",
        "--no-index",
        "--disable-pip-version-check",
    ]);
    succeed(pip.arg(&wheel));
    python
}

/// `tests/test_state_lab.py` runs in the environment, and mypy checks its types, those of the example and those of the package.
#[test]
fn the_wheel_verifies_from_python() {
    let (tools, directory) = (fixtures::python::tools().unwrap(), TempDir::new().unwrap());
    let python = install(&tools, &directory);
    let server = fixtures::server(16).unwrap();
    let shop = "CREATE TABLE orders (id int PRIMARY KEY, total numeric);
        INSERT INTO orders SELECT id, id * 1.5 FROM generate_series(1, 1000) AS id";
    server.create_database("shop").unwrap();
    server.psql("shop", shop).unwrap();
    let mut test = Command::new(&python);
    test.arg(file("tests/test_state_lab.py")).env("CONNINFO", server.conninfo("shop"));
    test.env("PG_BIN", server.server().installation().program("pg_dump").unwrap().parent().unwrap());
    let mut mypy = Command::new("python3");
    mypy.args(["-m", "mypy", "--strict", "--no-error-summary", "--python-executable"]).arg(&python);
    mypy.arg("--cache-dir").arg(directory.path().join("mypy"));
    mypy.arg(file("examples/backup_tool.py")).arg(file("tests/test_state_lab.py"));
    // The stubs have what the module has.
    let mut stubtest = Command::new(&python);
    stubtest.args(["-m", "mypy.stubtest", "state_lab._native"]).current_dir(directory.path());
    std::thread::scope(|scope| {
        for check in [&mut mypy, &mut stubtest] {
            scope.spawn(|| succeed(check.env("PYTHONPATH", &tools)));
        }
        let printed = succeed(&mut test);
        assert!(printed.contains("\nOK\n") && !printed.contains("skipped"), "{printed}");
    });
}
