//! Survey of both sides: the objects of one backup, then which backup is the newest with a complete copy.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use verify_core::finding::Severity;
use verify_core::not_covered::{Check, NotCovered};

use super::comparison::{Pair, ReadPolicy, outcomes};
use super::inventory::{BACKUPS, FILE_BYTES_MAX, VeleroBackup, Volumes};
use super::judgement::{Depth, NewestComplete, ObjectComparison, ObjectFinding, Replica, finding, verdict};
use super::repository::{Absence, Repository, absence};
use verify_drill::store::{Object, Store};
use verify_drill::watch::Watch;

/// Maximum number of backups that are checked for the newest complete copy.
const CANDIDATES_MAX: usize = 100;
/// Maximum number of findings for which the original's service is asked for the object's replication status.
const REPLICATION_ASKED_MAX: usize = 50;

/// Holds the copy of a backup in `b` against the original in `a`.
///
/// # Errors
///
/// Either side cannot be listed, or `a` has no such backup. What cannot be read of a single object is a finding.
pub fn compare(
    a: &dyn Store,
    b: &dyn Store,
    backup: &str,
    reading: ReadPolicy,
    now: Timestamp,
    watch: &Watch<'_>,
) -> Result<Replica> {
    let record = record(a, backup)?.map_or_else(|| no_such_backup(a, backup), Ok)?;
    let mut survey = Survey { a, b, reading, repositories: BTreeMap::new(), watch };
    let mut view = survey.view(&record)?;
    let (from, to) = (a.place(), b.place());
    for finding in view.findings.iter_mut().take(REPLICATION_ASKED_MAX) {
        // The replication status is an explanation; the finding does not depend on it.
        finding.replication = a.head(&finding.key).ok().flatten().and_then(|head| head.replication);
    }
    let newest_complete = survey.newest_complete(&record, &view, now)?;
    let View { depth, findings, not_covered, extra, .. } = view;
    let verdict = verdict(&depth, &findings, &not_covered);
    Ok(Replica { verdict, backup: record, from, to, depth, findings, not_covered, extra, newest_complete })
}

/// The backup as the bucket has it, where it has it.
fn record(a: &dyn Store, backup: &str) -> Result<Option<VeleroBackup>> {
    let key = VeleroBackup::key(backup);
    let Some(file) = a.get(&key, FILE_BYTES_MAX)? else { return Ok(None) };
    VeleroBackup::parse(backup, &file)
        .map(Some)
        .with_context(|| format!("failed to read {key} in {}", a.place()))
}

fn no_such_backup(a: &dyn Store, backup: &str) -> Result<VeleroBackup> {
    let names = a.folders(BACKUPS)?;
    let last = &names[names.len().saturating_sub(5)..];
    if names.iter().any(|name| name == backup) {
        bail!(
            "failed to find the backup {backup:?} in {}: it has no velero-backup.json; is the backup still running?",
            a.place()
        );
    }
    match last {
        [] => bail!("failed to find the backup {backup:?} in {}: there are no backups", a.place()),
        last => {
            bail!("failed to find the backup {backup:?} in {}: there are {}", a.place(), last.join(", "))
        }
    }
}

struct Survey<'a> {
    a: &'a dyn Store,
    b: &'a dyn Store,
    reading: ReadPolicy,
    /// Backups share repositories; each is compared once.
    repositories: BTreeMap<Repository, Compared>,
    watch: &'a Watch<'a>,
}

/// A folder, compared.
#[derive(Clone, Debug, Default)]
struct Compared {
    objects: Vec<(Object, ObjectComparison)>,
    extra: u64,
    last_maintenance: Option<Timestamp>,
}

/// Results for one backup.
#[derive(Debug, Default)]
struct View {
    depth: Depth,
    findings: Vec<ObjectFinding>,
    not_covered: Vec<NotCovered>,
    extra: u64,
}

impl Survey<'_> {
    fn view(&mut self, record: &VeleroBackup) -> Result<View> {
        let mut view = View::default();
        let metadata = self.folder(&VeleroBackup::folder(&record.name), |_| true)?;
        view.add(&metadata, |object| record.absence(&object.key));
        if metadata.objects.iter().any(|(_, outcome)| *outcome == ObjectComparison::Deleted) {
            let reason = "the original was deleted during the comparison".to_owned();
            view.gap(format_args!("backup {}", record.name), reason);
        }
        if !record.phase.is_final() {
            let reason = format!("it has not finished: its phase is {}", record.phase.as_str());
            view.gap(format_args!("backup {}", record.name), reason);
        }
        let volumes = match self.volumes(&record.name) {
            Ok(volumes) => volumes,
            Err(error) => {
                view.gap("the data of its volumes", format!("{error:#}"));
                Volumes::default()
            }
        };
        view.not_covered.extend(volumes.elsewhere);
        for repository in volumes.repositories {
            let compared = self.repository(&repository)?;
            if compared.objects.is_empty() {
                let reason = "the backup lists data of its volumes, but the original has none";
                view.gap(repository.folder(), reason);
            }
            view.add(compared, |object| {
                absence(object.modified, record.completed_at, compared.last_maintenance)
            });
        }
        view.findings.sort_by(|one, other| (other.severity(), &one.key).cmp(&(one.severity(), &other.key)));
        Ok(view)
    }

    fn volumes(&self, backup: &str) -> Result<Volumes> {
        let key = Volumes::key(backup);
        match self.a.get(&key, FILE_BYTES_MAX)? {
            None => bail!("the backup has no {key}, which lists them; Velero writes it since 1.13"),
            Some(file) => Volumes::parse(&file).with_context(|| format!("failed to read {key}")),
        }
    }

    fn repository(&mut self, repository: &Repository) -> Result<&Compared> {
        if !self.repositories.contains_key(repository) {
            let folder = repository.folder();
            let mut compared = self.folder(&folder, |name| repository.needs(name))?;
            if let Some(key) = repository.maintenance_key() {
                compared.last_maintenance = self.a.head(&key)?.map(|head| head.modified);
            }
            self.repositories.insert(repository.clone(), compared);
        }
        self.repositories.get(repository).context("a repository is missing")
    }

    /// Compares all needed objects of a folder. The copy is listed last, so that what comes meanwhile is not missing.
    fn folder(&self, folder: &str, needed: impl Fn(&str) -> bool) -> Result<Compared> {
        let needed = |object: &Object| object.key.strip_prefix(folder).is_some_and(&needed);
        let originals: Vec<Object> = self.a.list(folder)?.into_iter().filter(needed).collect();
        let copies = self.b.list(folder)?.into_iter().filter(needed);
        let mut copies: BTreeMap<String, Object> = copies.map(|copy| (copy.key.clone(), copy)).collect();
        self.watch.report(&format!("comparing {folder}: {} objects", originals.len()));
        let pairs: Vec<Pair> =
            originals.into_iter().map(|object| (object.clone(), copies.remove(&object.key))).collect();
        let outcomes = outcomes(self.a, self.b, &pairs, self.reading)?;
        let objects = pairs.into_iter().map(|(object, _)| object).zip(outcomes).collect();
        Ok(Compared { objects, extra: copies.len() as u64, last_maintenance: None })
    }

    /// The newest backup whose objects are all in the copy and equal. The requested one is checked already.
    fn newest_complete(
        &mut self,
        asked: &VeleroBackup,
        view: &View,
        now: Timestamp,
    ) -> Result<NewestComplete> {
        let mut candidates: Vec<Object> = self
            .a
            .list(BACKUPS)?
            .into_iter()
            .filter(|object| name_of_record(&object.key).is_some())
            .collect();
        candidates.sort_by_key(|object| Reverse(object.modified));
        let mut looked_at = 0;
        for name in candidates.iter().filter_map(|object| name_of_record(&object.key)).take(CANDIDATES_MAX) {
            looked_at += 1;
            let found = if name == asked.name {
                (asked.phase.is_completed() && view.is_complete()).then(|| asked.clone())
            } else {
                self.complete(name)?
            };
            if let Some(record) = found {
                let age_s = record.started_at.map(|started| now.duration_since(started).as_secs());
                let (backup, started_at) = (record.name, record.started_at);
                return Ok(NewestComplete::Found { backup, started_at, age_s });
            }
        }
        Ok(NewestComplete::None { looked_at })
    }

    /// The backup, where it went well and its copy is complete.
    fn complete(&mut self, name: &str) -> Result<Option<VeleroBackup>> {
        // One that cannot be read, or is being deleted, does not count as a copy.
        let Ok(Some(record)) = record(self.a, name) else { return Ok(None) };
        if !record.phase.is_completed() {
            return Ok(None);
        }
        let view = self.view(&record)?;
        Ok(view.is_complete().then_some(record))
    }
}

/// The name of the backup whose `velero-backup.json` this is.
fn name_of_record(key: &str) -> Option<&str> {
    key.strip_prefix(BACKUPS)?.strip_suffix("/velero-backup.json").filter(|name| !name.contains('/'))
}

impl View {
    fn add(&mut self, compared: &Compared, absence: impl Fn(&Object) -> Absence) {
        for (object, outcome) in &compared.objects {
            self.depth.objects += 1;
            self.depth.bytes += object.size;
            self.depth.by_checksum += u64::from(*outcome == ObjectComparison::EqualByChecksum);
            self.depth.by_reading += u64::from(*outcome == ObjectComparison::EqualByReading);
            self.findings.extend(finding(object, outcome, absence(object), None));
        }
        self.extra += compared.extra;
    }

    fn gap(&mut self, object: impl fmt::Display, reason: impl Into<String>) {
        self.not_covered.push(NotCovered::new(Check::Replica, object, reason));
    }

    /// Returns whether everything that the backup needs is in the copy: false for one whose volumes are elsewhere.
    fn is_complete(&self) -> bool {
        let sound = self.findings.iter().all(|finding| finding.severity() == Severity::Notice);
        sound && self.not_covered.is_empty() && self.depth.objects > 0
    }
}
