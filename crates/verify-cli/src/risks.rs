//! The doctor's worst findings for what a command touches: gathered while the command works, and no part of its verdict.

use std::convert::Infallible;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Result;
use jiff::Timestamp;
use verify_doctor::facts::{Place, RestoreSide, Settings};
use verify_doctor::{Fact, Facts, Missing, Risks, Selection, examine};
use verify_drill::backup_name::BackupName;
use verify_drill::backup_record::BackupRecord;
use verify_drill::interrupt;
use verify_drill::until::{Check, Pace, Waited, until};
use verify_drill::watch::Watch;
use verify_local::server::Installation;

use crate::commands::cluster_flags::ClusterFlags;
use crate::commands::storing::StoreFlag;
use crate::config::Config;
use crate::connect::Target;
use crate::posture::{self, Owned};

/// Time limit of the examination, from the start of the command: only a shorter command waits for it.
const WITHIN: Duration = Duration::from_secs(10);
/// The command itself answers when a restore was last verified.
const SKIPPED: &str = "restore.unproven";
/// Checks that need a running server at the restore side.
const SKIPPED_OF_INSTALLATION: [&str; 2] = ["side.settings", "side.collation"];

/// Objects that a command touches.
pub(crate) struct Touched {
    /// The configuration.
    pub(crate) config: Config,
    /// The backup that is restored on this machine.
    pub(crate) backup: Option<BackupName>,
    /// The database, by its name in the configuration or as a connection string.
    pub(crate) database: Option<String>,
    /// Store of backups.
    pub(crate) store: Option<StoreFlag>,
    /// Kubernetes cluster and its backups.
    pub(crate) cluster: Option<ClusterFlags>,
}

/// An examination on a thread of its own.
pub(crate) struct Pending {
    began: Instant,
    thread: Option<JoinHandle<Option<Risks>>>,
}

impl Pending {
    /// Begins to examine.
    pub(crate) fn begin(touched: Touched) -> Self {
        let thread = thread::Builder::new().name("doctor".to_owned()).spawn(move || touched.risks());
        Self { began: Instant::now(), thread: thread.ok() }
    }

    /// The worst findings, or the reason why no check was made; `None` if there is nothing to report.
    pub(crate) fn finish(self) -> Option<Risks> {
        let Some(thread) = self.thread else { return Some(Risks::unknown("the system gives no thread")) };
        let left = WITHIN.saturating_sub(self.began.elapsed());
        let waited = until(left, Pace::LOCAL, interrupt::asked, || {
            Ok::<_, Infallible>(if thread.is_finished() { Check::Done(()) } else { Check::Waiting(()) })
        });
        match waited {
            Ok(Waited::Done(())) => {
                thread.join().unwrap_or_else(|_| Some(Risks::unknown("the examination ended unexpectedly")))
            }
            _ => Some(Risks::unknown(&format!(
                "the examination took longer than {} s; run `state-lab doctor`",
                WITHIN.as_secs()
            ))),
        }
    }
}

impl Touched {
    fn risks(&self) -> Option<Risks> {
        let watch = Watch { asked: interrupt::asked, ..Watch::silent() };
        match self.facts(&watch) {
            Ok((facts, skip)) => {
                let skip = skip.into_iter().map(str::to_owned).collect();
                examine(&facts, &Selection { skip, ..Selection::default() }).risks()
            }
            Err(error) => Some(Risks::unknown(&format!("{error:#}"))),
        }
    }

    /// Gathers facts, with the codes of checks that are not to be made. A part that cannot be reached hides no other.
    fn facts(&self, watch: &Watch<'_>) -> Result<(Facts, Vec<&'static str>)> {
        let Self { config, backup, database, store, cluster } = self;
        let untouched = Missing::not_applicable("the command does not touch it");
        let mut facts = Facts::none(Timestamp::now(), config.doctor_objectives(), &untouched);
        facts.buckets = Ok(Vec::new());
        let mut skip = vec![SKIPPED];
        let mut owned = Owned { places: Vec::new(), manifests_max: 0 };
        let mut database = database.clone();
        let path = store.as_ref().map(|store| store.path(config)).transpose()?;
        if let (Some(path), Some(backup)) = (&path, backup) {
            let record = BackupRecord::read(&path.join(backup.as_str()))?;
            owned.places = record.databases.iter().map(|database| database.place.clone()).collect();
            database = database.or_else(|| configured(config, &owned.places));
            facts.restore_side = installed(record.server.major);
            skip.extend(SKIPPED_OF_INSTALLATION);
        }
        if let Some(name) = &database {
            let side = facts.restore_side.clone();
            if let Err(error) = posture::add_server(&mut facts, name, config, watch) {
                facts.server = Err(Missing::unknown(format!("{error:#}"), "a server that answers"));
            }
            if config.restore_side().is_none() {
                facts.restore_side = side;
            } else {
                skip.truncate(1);
            }
        }
        if let Some(flags) = cluster
            && let Err(error) = posture::add_cluster(&mut facts, flags, config, watch)
        {
            facts.cluster = Err(Missing::unknown(format!("{error:#}"), "an API server that answers"));
        }
        if let Some(path) = &path {
            posture::add_store(&mut facts, path, &owned, watch)?;
        }
        if facts.backups.is_empty() {
            facts.backups.push(Place { name: String::new(), backups: Err(untouched), reports: Ok(()) });
        }
        Ok((facts, skip))
    }
}

/// The name in the configuration of the database at one of these places.
fn configured(config: &Config, places: &[String]) -> Option<String> {
    let is_there = |name: &&str| Target::find(name, config).is_ok_and(|found| places.contains(&found.place));
    config.database_names().find(is_there).map(str::to_owned)
}

/// The server of this machine on which a backup of a major version is restored.
fn installed(major: u32) -> Fact<RestoreSide> {
    let unknown = |error: anyhow::Error| Missing::unknown(format!("{error:#}"), "PostgreSQL's `pg_config`");
    let installation = Installation::of_major(major).map_err(unknown)?;
    let minor = installation.version.split('.').nth(1).and_then(|minor| minor.parse::<u32>().ok());
    Ok(RestoreSide {
        version: major * 10_000 + minor.unwrap_or_default(),
        settings: Settings::default(),
        available: installation.extensions().map_err(unknown),
        loadable: installation.libraries().map_err(unknown),
        collations: Err(Missing::not_applicable("no server runs there")),
    })
}
