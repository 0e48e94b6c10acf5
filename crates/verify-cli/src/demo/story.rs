//! The story: a shop is backed up while it is used, lost, restored and verified; then the copy is damaged on purpose.

use std::collections::HashSet;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use verify_core::capture::capture;
use verify_core::event::Event;
use verify_core::plan::Plan;
use verify_core::postgres::{Environment, Postgres, Settings};
use verify_core::report::Objectives;
use verify_core::verify::verify;

use super::damage::{self, DAMAGES};
use super::loss::Loss;
use super::outcome::{Damaged, DemoOutcome};
use super::shop;
pub(crate) use super::shop::DATABASE;
use super::writers::{self, Acknowledged, WRITERS, Writers};
use verify_drill::backup_name::BackupName;
use verify_drill::interrupt::{self, interrupted};
use verify_drill::provider::{BackupRequest, RestoreRequest};
use verify_drill::quantity::{count, counted};
use verify_drill::until::pause;
use verify_drill::watch::{self, Watch};
use verify_local::scratch::{self, Scratch};
use verify_local::server::{InitOptions, Installation, Server, StartOptions};
use verify_local::{LocalProvider, Restored, Store};

/// The major versions that the demonstration runs on.
pub(crate) const MAJORS: std::ops::RangeInclusive<u32> = 13..=18;
/// Time of use before the backup starts, and after it is complete.
const USED_BEFORE: Duration = Duration::from_secs(1);
const USED_AFTER: Duration = Duration::from_millis(2_500);

/// The undamaged copy of the restored shop.
const INTACT: &str = "shop_intact";

/// Prints the story as it happens, with the time since it began.
pub(crate) struct Narrator<'a> {
    began: Instant,
    say: &'a (dyn Fn(&str) + Sync),
}

impl<'a> Narrator<'a> {
    /// One who says each line, its end included, by `say`.
    pub(crate) fn new(say: &'a (dyn Fn(&str) + Sync)) -> Self {
        Self { began: Instant::now(), say }
    }

    fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Prints the next part of the story, unless the demonstration is to stop.
    fn print(&self, text: &str) -> Result<()> {
        if interrupt::asked() {
            return Err(interrupted().into());
        }
        self.say(text);
        Ok(())
    }

    fn say(&self, text: &str) {
        (self.say)(&format!("{:5.1} s  {text}\n", self.elapsed().as_secs_f64()));
    }

    /// Prints a step of the backup or the restore.
    fn print_step(&self, text: &str) {
        self.say(&format!("   {text}"));
    }
}

/// Plays the whole story on servers of this installation; gives the damaged copy, which still runs.
pub(crate) fn play(installation: &Installation, narrator: &Narrator<'_>) -> Result<(DemoOutcome, Restored)> {
    scratch::sweep();
    let scratch = Scratch::create("demo")?;
    let mut server = open_shop(installation, &scratch, narrator)?;
    let settings = settings(&server.conninfo(DATABASE))?;
    let writers = Writers::start(&settings)?;
    let who = counted(u64::from(WRITERS), "client");
    narrator.print(&format!("{who} buy and pay; a heartbeat writes the server's time twice a second"))?;
    wait(USED_BEFORE)?;

    narrator.print(
        "takes a backup and, under the same snapshot, the fingerprint of every row; the clients continue",
    )?;
    let sink = |event: watch::Event| {
        if let watch::Event::Step(text) = event {
            narrator.print_step(&text);
        }
    };
    let watch = Watch { sink: &sink, asked: interrupt::asked };
    let store = Store::open(&scratch.path().join("backups"))?;
    let name = BackupName::from_str("shop").map_err(anyhow::Error::msg)?;
    let provider =
        LocalProvider { store: store.clone(), databases: vec![settings], point_in_time: None, command: None };
    let request =
        BackupRequest { name: name.clone(), method: Some("physical".to_owned()), plan: Plan::default() };
    verify_local::backup(&provider, &request, &watch)?;
    narrator.print("has both; the clients continue")?;
    wait(USED_AFTER)?;

    let (incident, acknowledged) = lose(&mut server, writers, narrator)?;
    narrator.print("restores the backup into a new server, verifies every row, promotes it")?;
    let (plan, objectives) = (Plan::default(), Objectives::default());
    let request = RestoreRequest { name, plan, objectives, incident: Some(incident), keep: false };
    let restored = verify_local::restore(&store, &request, &watch)?;
    let [report] = &restored.reports[..] else { bail!("the restore reported other databases than the shop") };
    let loss = count_loss(&restored, &acknowledged, incident)?;
    let damaged = damage(&restored, narrator)?;
    Ok((DemoOutcome::new(report.clone(), loss, damaged, narrator.elapsed()), restored))
}

/// Starts a server, and fills it.
fn open_shop(installation: &Installation, scratch: &Scratch, narrator: &Narrator<'_>) -> Result<Server> {
    let version = &installation.version;
    narrator.print(&format!("starts PostgreSQL {version} in {}", scratch.path().display()))?;
    let home = scratch.path().join("source");
    fs::create_dir(&home).with_context(|| format!("failed to create {}", home.display()))?;
    verify_local::server::give_to_server_user(&home)?;
    let data = home.join("data");
    Server::init(installation, &data, &InitOptions { asked: interrupt::asked, ..InitOptions::default() })?;
    // Settings are PostgreSQL's own, fsync included: this is to show what a plain server does.
    let server = Server::start(installation, &data, &start_options(&home, scratch.path().join("s")))?;
    writers::connect(&settings(&server.conninfo("postgres"))?)?
        .execute(&format!("CREATE DATABASE {DATABASE}"))?;
    narrator.print("loads a shop: partitions, foreign keys, TOAST, large objects, a table without a key")?;
    let size = shop::load(&mut writers::connect(&settings(&server.conninfo(DATABASE))?)?)?;
    narrator.print(&format!("loaded {} in {}", counted(size.rows, "row"), counted(size.tables, "table")))?;
    Ok(server)
}

/// Kills the server and removes its data.
fn lose(
    server: &mut Server,
    writers: Writers,
    narrator: &Narrator<'_>,
) -> Result<(Timestamp, Vec<Acknowledged>)> {
    if writers.any_ended() {
        writers.end()?;
        bail!(
            "the server closed its clients' connections before it was killed; see its log {}",
            server.log_file().display()
        );
    }
    let purchases = count(writers.acknowledged());
    narrator.print(&format!(
        "kill -9, and the data directory is deleted; {purchases} purchases have been acknowledged"
    ))?;
    let incident = Timestamp::now();
    server.kill()?;
    fs::remove_dir_all(server.data_dir())
        .with_context(|| format!("failed to remove {}", server.data_dir().display()))?;
    Ok((incident, writers.end()?))
}

/// Counts the acknowledged writes that the copy has and lacks.
fn count_loss(restored: &Restored, acknowledged: &[Acknowledged], incident: Timestamp) -> Result<Loss> {
    let rows = writers::connect(&shop_of(restored)?)?.query("SELECT id FROM shop.acknowledged")?;
    let ids = rows.iter().map(|row| row.number(0)).collect::<verify_core::Result<HashSet<i64>>>()?;
    Ok(Loss::of(acknowledged, &ids, i64::from(WRITERS), incident))
}

/// Damages the restored copy, and verifies it against an undamaged one: a database cannot be verified against itself.
fn damage(restored: &Restored, narrator: &Narrator<'_>) -> Result<Damaged> {
    let settings = shop_of(restored)?;
    // The copy is in service now, and so is its heartbeat.
    writers::write_beat(&mut writers::connect(&settings)?)?;
    narrator.print("fingerprints the restored copy, then damages it in six small ways")?;
    writers::connect(&settings.with_database("postgres"))?
        .execute(&format!("CREATE DATABASE {INTACT} TEMPLATE {DATABASE}"))?;
    let intact = Postgres::new(settings.with_database(INTACT));
    let manifest = capture(&intact, &Plan::default(), &on_event)?;
    let mut connection = writers::connect(&settings)?;
    for damage in &DAMAGES {
        damage.inflict(&mut connection)?;
    }
    narrator.print("verifies the damaged copy")?;
    let comparison = verify(&manifest, &Postgres::new(settings), &Plan::default(), &on_event)?;
    let (judged, unexplained) = damage::judge(comparison.findings());
    let unexplained = unexplained.into_iter().map(damage::line).collect();
    Ok(Damaged { integrity_checks: comparison.verdict(), judged, unexplained })
}

/// A server whose log is in `home`, and whose socket has a short path: systems allow some 100 bytes.
fn start_options(home: &Path, socket_dir: PathBuf) -> StartOptions {
    StartOptions { socket_dir, ..StartOptions::in_directory(home) }
}

fn shop_of(restored: &Restored) -> Result<Settings> {
    settings(&restored.conninfo(DATABASE))
}

/// Settings for a connection to a server of the demonstration, independent of the environment.
fn settings(conninfo: &str) -> Result<Settings> {
    Ok(Settings::parse(conninfo, &Environment::default())?.with_stop(interrupt::asked))
}

fn wait(period: Duration) -> Result<()> {
    if pause(period, interrupt::asked) { Err(interrupted().into()) } else { Ok(()) }
}

fn on_event(_: Event) -> ControlFlow<()> {
    if interrupt::asked() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}

/// The newest installation that the demonstration runs on, or the newest of a major version.
pub(crate) fn installation(major: Option<u32>) -> Result<Installation> {
    if let Some(major) = major {
        return Installation::of_major(major);
    }
    let found = Installation::find_all();
    match found.iter().find(|one| MAJORS.contains(&one.major)) {
        Some(newest) => Ok(newest.clone()),
        // Its error names the command that installs one.
        None if found.is_empty() => Installation::newest(),
        None => {
            let versions: Vec<&str> = found.iter().map(|one| one.version.as_str()).collect();
            bail!(
                "PostgreSQL {} to {} are supported, and this machine has {}; install one, for example \
                 `apt-get install postgresql`",
                MAJORS.start(),
                MAJORS.end(),
                versions.join(", ")
            )
        }
    }
}
