//! Restores of backups that pgBackRest, Barman and a command of the user made, by the tools themselves.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use fixtures::majors;
use rustix::process::Signal;
use verify_local::server::{InitOptions, Server, create_server_dir, run_as_server_user};

use crate::drill::{Drill, list};
use crate::program::{RunResult, Running, outcome, state_lab};

const MAJOR: u32 = 15;

/// A source, and the directories of a tool.
struct Tool {
    drill: Drill,
    home: tempfile::TempDir,
}

impl Tool {
    /// Starts a source that archives its WAL by `archive_command`, which gets the tool's directory.
    fn new(archive_command: impl FnOnce(&str) -> String) -> Self {
        let home = tempfile::tempdir().unwrap();
        fs::set_permissions(home.path(), Permissions::from_mode(0o711)).unwrap();
        let command = archive_command(home.path().to_str().unwrap());
        let settings =
            [("archive_mode", "on"), ("archive_command", command.as_str()), ("full_page_writes", "on")];
        Self { drill: Drill::with_settings(MAJOR, &settings), home }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// A directory of the user that runs the tool.
    fn create_directory(&self, name: &str) {
        create_server_dir(&self.path(name)).unwrap();
    }

    fn configure(&self, text: &str) {
        fs::write(self.drill.directory().join("state-lab.toml"), text).unwrap();
    }

    /// Captures a manifest of `shop`.
    fn capture(&self, name: &str) {
        let captured = self.run(&["capture", &self.drill.source.conninfo("shop"), "--out", name]);
        assert_eq!(captured.status, Some(0), "{captured:?}");
    }

    /// Captures while the source is written to, before and after; the segment that has the point in time.
    fn capture_under_load(&self, name: &str) -> String {
        self.drill.under_load(&["shop"], || {
            std::thread::sleep(Duration::from_millis(200));
            self.capture(name);
            std::thread::sleep(Duration::from_millis(200));
        });
        self.drill.source.archive_wal().unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = state_lab(self.drill.directory());
        command.env("TMPDIR", self.drill.directory()).env("PATH", std::env::var_os("PATH").unwrap());
        command.args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> RunResult {
        outcome(&self.command(arguments).output().unwrap())
    }

    fn restore(&self, tool: &str, manifest: &str, more: &[&str]) -> RunResult {
        let restored = self.run(&[&["restore", "--with", tool, "--manifest", manifest], more].concat());
        assert_eq!(self.drill.left(), Vec::<PathBuf>::new());
        restored
    }

    /// A restore that passes; the name of the backup that was restored.
    fn passes(&self, tool: &str, manifest: &str, more: &[&str]) -> String {
        let restored = self.restore(tool, manifest, &[&["--output", "json"], more].concat());
        assert_eq!(restored.status, Some(0), "{restored:?}");
        let document: serde_json::Value = serde_json::from_str(&restored.out).unwrap();
        assert_eq!(document["integrity_checks"], "pass");
        assert_eq!(document["origin"]["provider"], tool);
        let parts = document["rto"]["parts"].as_array().unwrap();
        let milestones: Vec<&str> = parts.iter().map(|part| part["milestone"].as_str().unwrap()).collect();
        for milestone in ["fetched", "recovered", "compared", "verified"] {
            assert!(milestones.contains(&milestone), "{milestones:?}");
        }
        document["backup"].as_str().unwrap().to_owned()
    }

    /// A restore that cannot run, and says why and what to do.
    fn refuses(&self, tool: &str, manifest: &str, more: &[&str], texts: &[&str]) {
        let refused = self.restore(tool, manifest, more);
        assert_eq!(refused.status, Some(2), "{refused:?}");
        for text in texts.iter().chain(&["hint: "]) {
            assert!(refused.err.contains(text), "{text}: {}", refused.err);
        }
    }
}

/// What is in the database before a point in time, and what a bad migration made of it afterwards.
const BEFORE: &str =
    "CREATE TABLE orders (id int PRIMARY KEY); INSERT INTO orders SELECT generate_series(1, 100)";
const RULE: &str = "[[invariants]]\nname = 'orders'\nsql = 'SELECT count(*) FROM public.orders'\nexpect = { value = '100' }\n";

/// Points in time just before a bad migration.
struct Migration {
    time: String,
    lsn: String,
    xid: String,
}

impl Tool {
    /// A migration that loses rows, in the archive.
    fn migrate(&self) -> Migration {
        let source = &self.drill.source;
        source.psql("shop", BEFORE).unwrap();
        source.psql("shop", "SELECT pg_create_restore_point('before')").unwrap();
        let time = source.psql("shop", "SELECT clock_timestamp()").unwrap();
        let lsn = source.psql("shop", "SELECT pg_current_wal_insert_lsn()").unwrap();
        std::thread::sleep(Duration::from_millis(50));
        let xid = source
            .psql("shop", "BEGIN; DELETE FROM orders WHERE id > 7; SELECT pg_current_xact_id(); COMMIT");
        source.archive_wal().unwrap();
        Migration { time, lsn, xid: xid.unwrap() }
    }

    /// Restores to just before the migration, by each of the ways, and to a time after it, at which the rule is broken.
    fn recovers(&self, tool: &str, migration: &Migration) {
        let path = self.drill.directory().join("state-lab.toml");
        let config = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("{RULE}{config}")).unwrap();
        let Migration { time, lsn, xid } = migration;
        let to = |target: &[&str]| {
            self.restore(
                tool,
                "shop.manifest",
                &[target, &["--skip", "durability", "--output", "json"]].concat(),
            )
        };
        for target in
            [["--to-time", time], ["--to-lsn", lsn], ["--to-name", "before"], ["--before-transaction", xid]]
        {
            let restored = to(&target);
            assert_eq!(restored.status, Some(3), "{target:?}: {restored:?}");
            let document: serde_json::Value = serde_json::from_str(&restored.out).unwrap();
            let report = &document["reports"][0];
            assert_eq!(report["comparison"]["coverage"]["invariants"], 1, "{target:?}: {report:#}");
            assert!(report["recovered_to"]["target"].is_string(), "{report:#}");
            assert!(!restored.out.contains("invariant.broken"), "{target:?}: {restored:?}");
        }
        let later = self.drill.source.psql("shop", "SELECT pg_current_wal_flush_lsn()").unwrap();
        self.drill.source.psql("shop", "CREATE TABLE later (id int)").unwrap();
        self.drill.source.archive_wal().unwrap();
        self.archived(tool);
        let broken = to(&["--to-lsn", &later]);
        assert!(broken.status == Some(1) && broken.out.contains("invariant.broken"), "{broken:?}");
        let early = ["--to-time", "2020-01-01T00:00:00Z"];
        self.refuses(tool, "shop.manifest", &early, &["failed to choose a backup", "2020-01-01T00:00:00Z"]);
        fs::write(&path, config).unwrap();
    }

    /// Has Barman take what the server has archived.
    fn archived(&self, tool: &str) {
        if tool == "barman" {
            self.barman(&["archive-wal", "main"]);
        }
    }
}

/// Runs the tool, which must succeed.
fn call(program: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(program);
    run_as_server_user(command.args(arguments)).unwrap();
    let output = command.output().unwrap_or_else(|error| panic!("{program}: {error}; run ./install.sh test"));
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {printed}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    printed
}

/// All files below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let files = |path: PathBuf| if path.is_dir() { files(&path) } else { vec![path] };
    list(directory).into_iter().flat_map(files).collect()
}

/// The only file below a directory whose path contains `part`.
fn file(directory: &Path, part: &str) -> PathBuf {
    let mut found = files(directory);
    found.retain(|path| path.to_str().unwrap().contains(part));
    assert_eq!(found.len(), 1, "{part}: {found:?}");
    found.remove(0)
}

/// Does `work` without a file.
fn without(path: &Path, work: impl FnOnce()) {
    let kept = path.with_extension("kept");
    fs::rename(path, &kept).unwrap();
    work();
    fs::rename(kept, path).unwrap();
}

fn pgbackrest() -> Tool {
    let tool =
        Tool::new(|home| format!("pgbackrest --config={home}/pgbackrest.conf --stanza=main archive-push %p"));
    let (home, server) = (tool.home.path().display(), tool.drill.source.server());
    for directory in ["repository", "log", "lock", "spool"] {
        tool.create_directory(directory);
    }
    let text = format!(
        "[global]\nrepo1-path={home}/repository\nrepo1-retention-full=9\nlog-path={home}/log\nlock-path={home}/lock\n\
         spool-path={home}/spool\nstart-fast=y\ncompress-level=1\njob-retry=0\n\
         [main]\npg1-path={}\npg1-socket-path={}\npg1-port={}\n",
        server.data_dir().display(),
        server.socket_dir().display(),
        server.port()
    );
    tool.write("pgbackrest.conf", &text);
    tool.configure(&format!("[tools.pgbackrest]\nstanza = 'main'\nconfig = '{home}/pgbackrest.conf'"));
    tool
}

impl Tool {
    fn pgbackrest(&self, arguments: &[&str]) -> String {
        let config = format!("--config={}", self.path("pgbackrest.conf").display());
        call("pgbackrest", &[&[config.as_str()], arguments].concat())
    }

    /// Takes a backup; its label.
    fn pgbackrest_backup(&self, kind: &str) -> String {
        self.pgbackrest(&["--stanza=main", &format!("--type={kind}"), "backup"]);
        let info = self.pgbackrest(&["--stanza=main", "--output=json", "info"]);
        let info: serde_json::Value = serde_json::from_str(&info).unwrap();
        let backups = info[0]["backup"].as_array().unwrap();
        backups.last().unwrap()["label"].as_str().unwrap().to_owned()
    }
}

#[test]
fn backups_by_pgbackrest_are_proven_and_what_is_wrong_with_them_is_named() {
    let tool = pgbackrest();
    tool.pgbackrest(&["--stanza=main", "stanza-create"]);
    tool.capture("before.manifest");
    let full = tool.pgbackrest_backup("full");
    tool.drill.under_load(&["shop"], || std::thread::sleep(Duration::from_millis(300)));
    let incremental = tool.pgbackrest_backup("incr");
    let segment = tool.capture_under_load("shop.manifest");

    assert_eq!(tool.passes("pgbackrest", "shop.manifest", &[]), incremental);
    tool.passes("pgbackrest", "shop.manifest", &["--snapshot", &full]);

    tool.recovers("pgbackrest", &tool.migrate());

    let unknown = "20200101-000000F";
    let texts = ["failed to find the backup 20200101-000000F", &full, "may have expired"];
    tool.refuses("pgbackrest", "shop.manifest", &["--snapshot", unknown], &texts);
    tool.refuses("pgbackrest", "before.manifest", &[], &["failed to choose a backup", "after the backup"]);
    let name = segment.as_str();
    without(&file(&tool.path("repository/archive"), &format!("/{name}-")), || {
        tool.refuses("pgbackrest", "shop.manifest", &[], &[name]);
    });
    without(&file(&tool.path("repository/backup"), &format!("{full}/pg_data/global/pg_control.gz")), || {
        tool.refuses(
            "pgbackrest",
            "shop.manifest",
            &["--snapshot", &full],
            &["pg_control.gz", "repository is damaged"],
        );
    });
    // A backup that was there, and has expired with those that depend on it.
    let later = tool.pgbackrest_backup("full");
    tool.pgbackrest(&["--stanza=main", &format!("--set={full}"), "expire"]);
    for expired in [&full, &incremental] {
        let text = format!("failed to find the backup {expired}");
        let texts = [text.as_str(), &later, "may have expired"];
        tool.refuses("pgbackrest", "shop.manifest", &["--snapshot", expired], &texts);
    }
    other_stanza(&tool);
}

/// A backup of another cluster, taken without a server.
fn other_stanza(tool: &Tool) {
    let data = tool.path("other");
    let installation = majors::installation(MAJOR).unwrap();
    Server::init(&installation, &data, &InitOptions::default()).unwrap();
    let path = format!("--pg1-path={}", data.display());
    for command in ["stanza-create", "backup"] {
        tool.pgbackrest(&["--stanza=other", &path, "--no-online", command]);
    }
    let text = format!(
        "[tools.pgbackrest]\nstanza = 'other'\nconfig = '{}'",
        tool.path("pgbackrest.conf").display()
    );
    tool.configure(&text);
    let texts =
        ["failed to verify a backup of the stanza other", "it is of another cluster", "[tools.pgbackrest]"];
    tool.refuses("pgbackrest", "shop.manifest", &[], &texts);
    tool.configure(&text.replace("'other'", "'absent'"));
    tool.refuses("pgbackrest", "shop.manifest", &[], &["stanza absent", "missing stanza path"]);
}

fn barman() -> Tool {
    let tool = Tool::new(|home| format!("cp %p {home}/barman/main/incoming/%f"));
    for directory in ["barman", "barman/main", "barman/main/incoming", "log"] {
        tool.create_directory(directory);
    }
    let (home, server) = (tool.home.path().display(), tool.drill.source.server());
    let (socket, port) = (server.socket_dir().display(), server.port());
    let user = user();
    let text = format!(
        "[barman]\nbarman_home={home}/barman\nbarman_user={user}\nlog_file={home}/log/barman.log\n\
         [main]\ndescription=main\nconninfo=host={socket} port={port} user=postgres dbname=postgres\n\
         backup_method=local-rsync\nreuse_backup=link\narchiver=on\n"
    );
    tool.write("barman.conf", &text);
    tool.configure(&format!(
        "[tools.barman]\nserver = 'main'\nconfig = '{home}/barman.conf'\nuser = '{user}'"
    ));
    tool
}

/// The user that runs the tools here.
fn user() -> String {
    let mut id = Command::new("id");
    run_as_server_user(id.arg("-un")).unwrap();
    String::from_utf8(id.output().unwrap().stdout).unwrap().trim().to_owned()
}

impl Tool {
    fn barman(&self, arguments: &[&str]) -> String {
        let config = self.path("barman.conf");
        call("barman", &[&["-c", config.to_str().unwrap()], arguments].concat())
    }

    fn barman_backup(&self) -> String {
        self.barman(&["backup", "main", "--immediate-checkpoint", "--wait"]);
        let listed = self.barman(&["list-backup", "--minimal", "main"]);
        listed.lines().next().unwrap().to_owned()
    }
}

/// A table that no load changes, so that WAL does not repair its damaged pages.
const KEPT: &str = "CREATE TABLE kept (id int PRIMARY KEY); INSERT INTO kept SELECT generate_series(1, 1000);
    VACUUM FREEZE kept; CHECKPOINT";

/// Marks the line pointer of the first row of a table's file as unused.
fn lose_row(file: &Path) {
    let mut bytes = fs::read(file).unwrap();
    bytes[24..28].fill(0);
    // Another backup may share the file.
    fs::remove_file(file).unwrap();
    fs::write(file, bytes).unwrap();
    verify_local::server::give_to_server_user(file).unwrap();
}

#[test]
fn backups_by_barman_are_proven_and_what_is_wrong_with_them_is_named() {
    let tool = barman();
    tool.drill.source.psql("shop", KEPT).unwrap();
    tool.barman(&["switch-wal", "--force", "--archive", "main"]);
    let full = tool.barman_backup();
    tool.drill.under_load(&["shop"], || std::thread::sleep(Duration::from_millis(300)));
    let incremental = tool.barman_backup();
    assert_ne!(full, incremental);
    let segment = tool.capture_under_load("shop.manifest");
    tool.barman(&["archive-wal", "main"]);

    assert_eq!(tool.passes("barman", "shop.manifest", &[]), incremental);
    let migration = tool.migrate();
    tool.archived("barman");
    tool.recovers("barman", &migration);
    let texts = ["failed to find the backup 20200101T000000", &full, "may have expired"];
    tool.refuses("barman", "shop.manifest", &["--snapshot", "20200101T000000"], &texts);

    let stored = format!("barman/main/wals/{}/{segment}", &segment[..16]);
    without(&tool.path(&stored), || {
        tool.refuses("barman", "shop.manifest", &[], &[&segment]);
    });

    let path = tool.drill.source.psql("shop", "SELECT pg_relation_filepath('kept')").unwrap();
    lose_row(&tool.path(&format!("barman/main/base/{incremental}/data/{path}")));
    let damaged = tool.restore("barman", "shop.manifest", &[]);
    assert_eq!(damaged.status, Some(1), "{damaged:?}");
    assert!(damaged.out.contains("table.damaged") && damaged.out.contains("public.kept"), "{damaged:?}");
    // The older backup has the row.
    tool.passes("barman", "shop.manifest", &["--snapshot", &full]);

    // Deleted, it is no backup any more.
    tool.barman(&["delete", "main", &full]);
    let text = format!("failed to find the backup {full}");
    tool.refuses(
        "barman",
        "shop.manifest",
        &["--snapshot", &full],
        &[&text, &incremental, "may have expired"],
    );
}

/// Runs only where WAL-G is installed, which no package of Debian has.
#[test]
fn backups_by_wal_g_are_proven_where_it_is_installed() {
    if Command::new("wal-g").arg("--version").output().is_err() {
        eprintln!("skipped: wal-g is not installed");
        return;
    }
    let tool = Tool::new(|home| format!("wal-g wal-push %p --config {home}/wal-g.json"));
    tool.create_directory("storage");
    let (home, server) = (tool.home.path().display(), tool.drill.source.server());
    let text = format!(
        r#"{{"WALG_FILE_PREFIX": "{home}/storage", "PGHOST": "{}", "PGPORT": "{}", "PGUSER": "postgres"}}"#,
        server.socket_dir().display(),
        server.port()
    );
    tool.write("wal-g.json", &text);
    tool.configure(&format!("[tools.wal-g]\nconfig = '{home}/wal-g.json'"));
    let (data, config) = (server.data_dir().to_str().unwrap(), tool.path("wal-g.json"));
    call("wal-g", &["backup-push", data, "--config", config.to_str().unwrap()]);
    tool.capture_under_load("shop.manifest");
    tool.passes("wal-g", "shop.manifest", &[]);
    let texts = ["failed to find the backup base_0", "may have expired"];
    tool.refuses("wal-g", "shop.manifest", &["--snapshot", "base_0"], &texts);
}

/// Base backups of `pg_basebackup` in a directory, and an archive that `cp` fills.
fn base_backups() -> Tool {
    let tool = Tool::new(|home| format!("cp %p {home}/archive/%f"));
    for directory in ["archive", "backups"] {
        tool.create_directory(directory);
    }
    tool.commands(true, &[]);
    tool
}

impl Tool {
    /// Configures the commands that restore a base backup.
    fn commands(&self, wal: bool, remove: &[&str]) {
        let home = self.home.path().display();
        let mut text = format!(
            "[tools.command]\nrestore = ['cp', '-a', '{home}/backups/{{backup}}/.', '{{directory}}']\n"
        );
        if wal {
            text.push_str(&format!("wal = ['cp', '{home}/archive/{{file}}', '{{path}}']\n"));
        }
        if !remove.is_empty() {
            text.push_str(&format!("remove = {remove:?}\n"));
        }
        self.configure(&text);
    }

    fn base_backup(&self, name: &str, wal: &str) {
        let server = self.drill.source.server();
        let program = majors::installation(MAJOR).unwrap().program("pg_basebackup").unwrap();
        let to = self.path("backups").join(name);
        let (conninfo, wal) = (server.conninfo("postgres"), format!("--wal-method={wal}"));
        let arguments = ["-d", &conninfo, "-D", to.to_str().unwrap(), "--checkpoint=fast", &wal];
        call(program.to_str().unwrap(), &[&arguments[..], &["--no-manifest"]].concat());
    }
}

#[test]
fn base_backups_with_an_archive_are_proven_by_commands() {
    let tool = base_backups();
    tool.base_backup("monday", "none");
    let segment = tool.capture_under_load("shop.manifest");
    tool.passes("command", "shop.manifest", &["--snapshot", "monday"]);
    let texts = ["the WAL archive", segment.as_str()];
    without(&tool.path("archive").join(&segment), || {
        tool.refuses("command", "shop.manifest", &["--snapshot", "monday"], &texts);
    });
}

#[test]
fn a_copy_without_an_archive_passes_only_with_the_rows_of_the_manifest() {
    let tool = base_backups();
    tool.commands(false, &[]);
    tool.base_backup("monday", "fetch");
    tool.drill.source.psql("shop", "INSERT INTO accounts VALUES (0, 1, 'new')").unwrap();
    tool.capture("shop.manifest");
    tool.base_backup("tuesday", "fetch");
    tool.passes("command", "shop.manifest", &["--snapshot", "tuesday", "--skip", "durability"]);
    let older = tool.restore("command", "shop.manifest", &["--snapshot", "monday", "--skip", "durability"]);
    assert_eq!(older.status, Some(1), "{older:?}");
    assert!(older.out.contains("row.missing") && older.out.contains("public.accounts"), "{older:?}");
}

#[test]
fn what_a_command_creates_elsewhere_is_removed_after_an_interruption_and_by_the_next_run() {
    let tool = base_backups();
    tool.capture("shop.manifest");
    let (begun, removed) = (tool.path("begun"), tool.path("removed"));
    let text = format!(
        "[tools.command]\nrestore = ['sh', '-c', 'echo $0 > {}; sleep 60', '{{backup}}']\nremove = ['cp', '{}', '{}']",
        begun.display(),
        begun.display(),
        removed.display()
    );
    tool.configure(&text);
    let arguments = ["restore", "--with", "command", "--manifest", "shop.manifest", "--snapshot", "a"];
    for (signal, status) in [(Signal::TERM, Some(130)), (Signal::KILL, None)] {
        let run = Running::start(&mut tool.command(&arguments));
        let deadline = Instant::now() + Duration::from_secs(30);
        while !begun.exists() {
            assert!(Instant::now() < deadline, "it did not begin");
            std::thread::sleep(Duration::from_millis(10));
        }
        let ended = run.end(signal);
        assert_eq!(ended.status, status, "{ended:?}");
        let killed = signal == Signal::KILL;
        assert_eq!(tool.drill.left().len(), usize::from(killed));
        if killed {
            let cleaned = tool.run(&["cleanup"]);
            assert_eq!(cleaned.status, Some(0), "{cleaned:?}");
        }
        assert_eq!(tool.drill.left(), Vec::<PathBuf>::new());
        assert_eq!(fs::read_to_string(&removed).unwrap(), "a\n");
        fs::remove_file(&begun).unwrap();
        fs::remove_file(&removed).unwrap();
    }
}
