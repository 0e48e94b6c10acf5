//! Gathers the facts that `doctor` judges, from the configuration, the server, this machine and the places of backups.

use std::path::Path;

use anyhow::{Context, Result};
use jiff::Timestamp;
use verify_core::manifest::Source;
use verify_core::report::Report;
use verify_doctor::facts::bucket::{Bucket, Holds};
use verify_doctor::facts::cluster::Cluster;
use verify_doctor::facts::{
    ArchiveFiles, Backup, Content, Machine, Place, Proof, RestoreSide, Server, State,
};
use verify_doctor::{Fact, Facts, Missing, postgres};
use verify_drill::backup_record::{BackupRecord, CopyMethod};
use verify_drill::hint::Hinted;
use verify_drill::report_file::read_reports;
use verify_drill::store::{Address, Folder, Location, Store as _};
use verify_drill::watch::Watch;
use verify_local::Store;
use verify_local::server::newest_client_major;

use crate::commands::cluster_flags::ClusterFlags;
use crate::commands::storing::StoreFlag;
use crate::config::Config;
use crate::connect::Target;
#[cfg(feature = "velero")]
use crate::connect::connect;
use crate::{store, stored_evidence};

/// The manifests of so many backups, the newest, are read to see whose they are.
const MANIFESTS_MAX: usize = 8;

/// Scope of an examination.
pub(crate) struct Request<'a> {
    pub(crate) database: Option<&'a str>,
    pub(crate) store: &'a StoreFlag,
    pub(crate) cluster: &'a ClusterFlags,
    pub(crate) config: &'a Config,
    /// True to reach the server of a cluster through the pod of its primary, where no database is given.
    pub(crate) through_pod: bool,
}

/// Gathers everything.
///
/// # Errors
///
/// If a database that was named cannot be reached.
pub(crate) fn facts(request: &Request<'_>, watch: &Watch<'_>) -> Result<Facts> {
    let Request { database, store, cluster, config, through_pod } = request;
    let in_cluster = cluster.is_given() || config.has_velero();
    if database.is_none()
        && config.database_names().next().is_none()
        && !store.is_given(config)
        && config.evidence().is_none()
        && !in_cluster
    {
        let text =
            "failed to examine anything: neither a database, nor a cluster, nor a store of backups was given";
        let hint =
            "set --database, --context or --store, or add [databases.NAME] or [velero] to the configuration";
        return Err(Hinted::new(text, hint).into());
    }
    let nothing =
        Missing::not_applicable("no database was given: --database, or [databases] of the configuration");
    let mut facts = Facts::none(Timestamp::now(), config.doctor_objectives(), &nothing);
    let names: Vec<&str> = config.database_names().collect();
    let name = match (*database, names.as_slice()) {
        (Some(name), _) => Some(name),
        (None, [only]) => Some(*only),
        (None, []) => None,
        (None, [..]) => {
            let several = Missing::unknown("the configuration has several databases", "--database NAME");
            facts = Facts::none(facts.now, facts.objectives, &several);
            None
        }
    };
    if let Some(name) = name {
        add_server(&mut facts, name, config, watch)?;
    } else if in_cluster && *through_pod && names.is_empty() {
        add_pod_server(&mut facts, cluster, config, watch)?;
    }
    facts.buckets = Ok(Vec::new());
    if in_cluster {
        add_cluster(&mut facts, cluster, config, watch)?;
    } else {
        facts.cluster =
            Err(Missing::not_applicable("no cluster was given: --context, or [velero] of the configuration"));
    }
    if let Ok(buckets) = &mut facts.buckets {
        buckets.extend(bucket_of_wal(config, watch)?);
    }
    if (facts.server.is_ok() && !in_cluster) || store.is_given(config) {
        add_store(&mut facts, &store.path(config)?, &Owned::default(), watch)?;
    }
    facts.evidence = match config.evidence() {
        None => Err(Missing::not_applicable("the configuration has no [evidence]")),
        Some(table) => {
            watch.step(&format!("examining the reports in {}", table.store.display()))?;
            stored_evidence::look(table, config, facts.server.as_ref().ok())
        }
    };
    Ok(facts)
}

/// Backups of a store that are to be judged.
pub(crate) struct Owned {
    /// Places of databases, `user@host:port/database`, one of which a backup holds; empty for any.
    pub(crate) places: Vec<String>,
    /// The manifests of this number of backups, the newest, are read to identify their server.
    pub(crate) manifests_max: usize,
}

impl Default for Owned {
    fn default() -> Self {
        Self { places: Vec::new(), manifests_max: MANIFESTS_MAX }
    }
}

/// Adds the backups of a store. A store that cannot be read is not an error.
pub(crate) fn add_store(facts: &mut Facts, path: &Path, owned: &Owned, watch: &Watch<'_>) -> Result<()> {
    watch.step("examining the stored backups")?;
    let backups = backups(path, facts.server.as_ref().ok(), owned)
        .map_err(|error| Missing::unknown(format!("{error:#}"), "a store that this user may read"));
    facts.backups.push(Place { name: path.display().to_string(), backups, reports: Ok(()) });
    Ok(())
}

/// Adds what a Kubernetes cluster and the buckets of its backups show.
pub(crate) fn add_cluster(
    facts: &mut Facts,
    flags: &ClusterFlags,
    config: &Config,
    watch: &Watch<'_>,
) -> Result<()> {
    let cluster = look_at_cluster(flags, config, watch)?;
    facts.buckets = Ok(buckets_of_velero(flags, config, &cluster, watch)?);
    facts.backups.push(cluster.place());
    facts.machine =
        Err(Missing::not_applicable("the database is in Kubernetes: other checks examine its volumes"));
    facts.cluster = Ok(cluster);
    Ok(())
}

/// Adds what the server, its machine and its counterpart show.
pub(crate) fn add_server(facts: &mut Facts, name: &str, config: &Config, watch: &Watch<'_>) -> Result<()> {
    let target = Target::find(name, config)?;
    watch.step(&format!("examining {}", target.place))?;
    let doing = || format!("failed to examine {}", target.place);
    let mut connection = target.connect().with_context(doing)?;
    let mut server = postgres::gather(&mut connection).with_context(doing)?;
    drop(connection);
    add_archive(&mut server, config, watch)?;
    facts.machine = match server.settings.get("data_directory") {
        Ok(directory) => Machine::look(directory, &server.system_identifier),
        Err(missing) => Err(missing),
    };
    facts.restore_side = restore_side(config, watch)?;
    facts.dump_major =
        newest_client_major("pg_dump").ok_or_else(|| Missing::not_applicable("this machine has no pg_dump"));
    facts.server = Ok(server);
    Ok(())
}

/// Adds the files of the WAL archive, if the configuration names it.
fn add_archive(server: &mut Server, config: &Config, watch: &Watch<'_>) -> Result<()> {
    if let Some(place) = config.wal_archive() {
        watch.step(&format!("listing the WAL archive {}", place.display()))?;
        server.archive_files = archive_files(place, server, config);
    }
    Ok(())
}

/// Adds what the server in the pod of the primary shows. A server that cannot be reached is not an error.
#[cfg(feature = "velero")]
fn add_pod_server(facts: &mut Facts, flags: &ClusterFlags, config: &Config, watch: &Watch<'_>) -> Result<()> {
    watch.step("examining the server in the pod of the primary")?;
    let settings = flags.settings(config);
    let gathered = verify_velero::posture::server(&settings).and_then(|pod| {
        let databases = pod.databases()?;
        let [database] = databases.as_slice() else {
            let several = format!("the server in {} has {} databases", pod.place, databases.len());
            return Ok(Err(Missing::unknown(several, "`databases` with one name in [velero]")));
        };
        let mut connection = connect(&pod.settings(database)?)?;
        Ok(Ok(postgres::gather(&mut connection).with_context(|| format!("failed to examine {}", pod.place))?))
    });
    let needs = "create on pods/portforward, get on the Secret of its superuser, or --database";
    facts.server = gathered.unwrap_or_else(|error| Err(Missing::unknown(format!("{error:#}"), needs)));
    if let Ok(server) = &mut facts.server {
        add_archive(server, config, watch)?;
        facts.restore_side = restore_side(config, watch)?;
    }
    Ok(())
}

#[cfg(not(feature = "velero"))]
fn add_pod_server(_: &mut Facts, _: &ClusterFlags, _: &Config, _: &Watch<'_>) -> Result<()> {
    Ok(())
}

/// Gathers what the Kubernetes cluster shows.
#[cfg(feature = "velero")]
fn look_at_cluster(flags: &ClusterFlags, config: &Config, watch: &Watch<'_>) -> Result<Cluster> {
    verify_velero::posture::look(&flags.settings(config), store::open, watch)
}

#[cfg(not(feature = "velero"))]
fn look_at_cluster(_: &ClusterFlags, _: &Config, _: &Watch<'_>) -> Result<Cluster> {
    Err(crate::lacking::error("velero", "failed to examine a cluster"))
}

/// Examines the bucket of each BackupStorageLocation.
#[cfg(feature = "velero")]
fn buckets_of_velero(
    flags: &ClusterFlags,
    config: &Config,
    cluster: &Cluster,
    watch: &Watch<'_>,
) -> Result<Vec<Bucket>> {
    watch.step("examining the buckets of the BackupStorageLocations")?;
    let places = verify_velero::posture::places(&flags.settings(config), cluster)?;
    let look = |(name, place): (String, Result<Location>)| {
        bucket(format!("BackupStorageLocation {name}"), place, Holds::Backups)
    };
    Ok(places.into_iter().map(look).collect())
}

#[cfg(not(feature = "velero"))]
fn buckets_of_velero(_: &ClusterFlags, _: &Config, _: &Cluster, _: &Watch<'_>) -> Result<Vec<Bucket>> {
    Ok(Vec::new())
}

/// Examines the bucket of the WAL archive, if the configuration names one.
fn bucket_of_wal(config: &Config, watch: &Watch<'_>) -> Result<Option<Bucket>> {
    let Some(address) = config.wal_archive().map(Address::of_path).transpose()?.flatten() else {
        return Ok(None);
    };
    watch.step(&format!("examining the bucket of {address}"))?;
    Ok(Some(bucket(format!("wal_archive {address}"), config.s3().prefix(&address), Holds::Wal)))
}

/// Examines a bucket; facts that cannot be read are unknown.
fn bucket(name: String, place: Result<Location>, holds: Holds) -> Bucket {
    place.and_then(|place| look_at_bucket(name.clone(), &place, holds)).unwrap_or_else(|error| {
        let why = Missing::unknown(format!("{error:#}"), "a bucket of S3 that can be reached from here");
        Bucket::unknown(name, holds, &why)
    })
}

#[cfg(feature = "s3")]
fn look_at_bucket(name: String, place: &Location, holds: Holds) -> Result<Bucket> {
    verify_s3::posture(name, place, holds)
}

#[cfg(not(feature = "s3"))]
fn look_at_bucket(_: String, place: &Location, _: Holds) -> Result<Bucket> {
    Err(crate::lacking::error("s3", &format!("failed to examine {place}")))
}

fn restore_side(config: &Config, watch: &Watch<'_>) -> Result<Fact<RestoreSide>> {
    let Some(name) = config.restore_side() else {
        return Ok(Err(Missing::not_applicable("[doctor] of the configuration has no restore_side")));
    };
    let target = Target::find(name, config)?;
    watch.step(&format!("examining the restore side {}", target.place))?;
    let looked = target.connect().and_then(|mut connection| postgres::restore_side(&mut connection));
    Ok(looked.map_err(|error| Missing::unknown(error.to_string(), "a server that answers at `restore_side`")))
}

/// The files of the archive that the configuration names.
fn archive_files(place: &Path, server: &Server, config: &Config) -> Fact<ArchiveFiles> {
    let segment_bytes = u64::try_from(server.settings.number("wal_segment_size")?).unwrap_or_default();
    let list = || -> Result<Vec<String>> {
        let objects = match Address::of_path(place)? {
            Some(address) => store::open(&config.s3().location(&address)?)?.list(&address.key)?,
            None => Folder::new(place).list("")?,
        };
        Ok(objects.into_iter().map(|object| object.key).collect())
    };
    let names = list().map_err(|error| {
        Missing::unknown(format!("{error:#}"), "the right to list `wal_archive` of [doctor]")
    })?;
    Ok(ArchiveFiles { place: place.display().to_string(), names, segment_bytes })
}

/// The backups of a store that hold this database, the newest first; all of them where no database is known.
fn backups(path: &Path, server: Option<&Server>, owned: &Owned) -> Result<Vec<Backup>> {
    let Owned { places, manifests_max } = owned;
    // An examination must not create it.
    if !path.exists() {
        return Ok(Vec::new());
    }
    let store = Store::open(path)?;
    let mut records = Vec::new();
    for name in store.names()? {
        let path = store.path().join(name.as_str());
        records.push((BackupRecord::read(&path)?, path));
    }
    records.sort_by_key(|(record, _)| std::cmp::Reverse(record.started_at));
    let mut backups = Vec::new();
    for (record, path) in &records {
        let reports = reports(path)?;
        let owner = owner(record, path, &reports, server, backups.len() < *manifests_max);
        let (is_own, state) = match owner {
            Ok(source) => {
                (source.is_none_or(|source| server.is_none_or(|server| is_of(&source, server))), State::Good)
            }
            // Not restorable by state-lab, from any server.
            Err(error) => (true, State::Bad(format!("is damaged: {error:#}"))),
        };
        let of_server =
            server.is_none_or(|server| record.databases.iter().any(|one| one.name == server.database));
        let of_place = places.is_empty() || record.databases.iter().any(|one| places.contains(&one.place));
        if of_server && of_place && is_own {
            backups.push(backup(record, path, &reports, state, server));
        }
    }
    Ok(backups)
}

/// Source of a backup, from its newest report or its manifest; `None` if it is not known.
fn owner(
    record: &BackupRecord,
    path: &Path,
    reports: &[Report],
    server: Option<&Server>,
    read_manifest: bool,
) -> Result<Option<Source>> {
    let Some(server) = server else { return Ok(None) };
    let Some(database) = record.databases.iter().find(|one| one.name == server.database) else {
        return Ok(None);
    };
    if read_manifest {
        let file = std::fs::read(path.join(&database.manifest))
            .with_context(|| format!("failed to read the manifest {}", database.manifest))?;
        return Ok(Some(database.open(&file)?.header.source));
    }
    let sources = reports.iter().filter_map(|report| report.source.database.clone());
    Ok(sources.into_iter().find(|source| source.database == server.database))
}

/// Returns whether a database belongs to this server; an unknown identifier does not exclude it.
pub(crate) fn is_of(source: &Source, server: &Server) -> bool {
    match &server.system_identifier {
        Ok(identifier) if !source.system_identifier.is_empty() => {
            source.system_identifier == identifier.to_string()
        }
        _ => true,
    }
}

fn backup(
    record: &BackupRecord,
    path: &Path,
    reports: &[Report],
    state: State,
    server: Option<&Server>,
) -> Backup {
    let content = match record.method {
        CopyMethod::Physical | CopyMethod::Snapshot => Content::Server,
        CopyMethod::Logical => Content::Dumps { globals: verify_local::holds_globals(path) },
    };
    Backup {
        name: record.name.to_string(),
        started_at: record.started_at,
        state,
        bytes: Some(record.bytes),
        content,
        kind: format!("{:?}", record.method),
        proof: Proof::newest(reports, server.map(|server| server.database.as_str())),
    }
}

/// The reports of restores beside a backup.
fn reports(backup: &Path) -> Result<Vec<Report>> {
    let folder = backup.join("reports");
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    read_reports(&Folder::new(folder), "")
}
