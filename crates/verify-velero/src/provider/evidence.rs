//! Records, manifests and reports of backups, in the bucket of a BackupStorageLocation, beside Velero's files.

use anyhow::{Context, Result, bail};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use verify_core::manifest::Manifest;

use super::record::Record;
use super::settings::Settings;
use crate::cluster::Cluster;
use crate::velero::artefact::Artefact;
use crate::velero::judge::location_problem;
use crate::velero::location::BackupStorageLocation;
use verify_drill::backup_name::BackupName;
use verify_drill::backup_record::blake3_of;
use verify_drill::provider::BackupOrigin;
use verify_drill::store::{self, Credentials, Location, OpenStore, Store};

/// The Secret of Velero's own installation, and its key.
const DEFAULT_SECRET: (&str, &str) = ("cloud-credentials", "cloud");
/// A record has some thousand bytes a database.
const RECORD_BYTES_MAX: u64 = 256 << 20;
/// Velero's own artefacts, packed.
const ARTEFACT_BYTES_MAX: u64 = 256 << 20;

/// A backup storage location, and the way into its bucket.
pub(crate) struct Evidence {
    location: BackupStorageLocation,
    store: Box<dyn Store>,
}

impl Evidence {
    /// The location that the settings name, or Velero's default.
    ///
    /// # Errors
    ///
    /// If it does not exist, Velero cannot reach it, or its bucket cannot be reached from here.
    pub(crate) fn open(cluster: &Cluster, settings: &Settings, open: OpenStore) -> Result<Self> {
        let velero = settings.velero_namespace();
        let location = find(cluster, velero, settings.location.as_deref())?;
        if let Some(problem) = location_problem(&location) {
            bail!("failed to use the BackupStorageLocation: {}", problem.text_with_hint());
        }
        let s3 = s3_location(cluster, velero, &location)?;
        Ok(Self { store: open(&s3)?, location })
    }

    /// The location's name.
    pub(super) fn name(&self) -> &str {
        self.location.metadata.name.as_deref().unwrap_or_default()
    }

    /// The bucket.
    pub(crate) fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// Returns whether the location is read-only.
    pub(super) fn is_read_only(&self) -> bool {
        self.location.spec.access_mode.as_deref() == Some("ReadOnly")
    }

    /// Fails where anything of a backup of this name is there.
    pub(super) fn expect_free(&self, name: &BackupName) -> Result<()> {
        let there = self.store.list(&format!("backups/{name}/"))?;
        if there.is_empty() {
            return Ok(());
        }
        bail!(
            "failed to start the backup {name}: {} already has a backup of this name; choose another name",
            self.store.place()
        )
    }

    /// Keeps the manifests, then the record that names them.
    pub(super) fn keep(&self, record: &Record, manifests: &[Vec<u8>]) -> Result<()> {
        let name = &record.backup.name;
        for (database, manifest) in record.backup.databases.iter().zip(manifests) {
            self.store.put_new(&key(name, &database.manifest), manifest)?;
        }
        let text = serde_json::to_vec_pretty(record).context("failed to write the backup's record")?;
        self.store.put_new(&key(name, RECORD), &text)
    }

    /// The record of a backup.
    ///
    /// # Errors
    ///
    /// If there is none: then state-lab did not make the backup, or it is not restorable.
    pub(super) fn record(&self, name: &BackupName) -> Result<Record> {
        self.find_record(name)?.with_context(|| {
            format!(
                "failed to find the record of the backup {name}: {} has no {}. Only complete backups that `state-lab \
                 backup` created can be verified",
                self.store.place(),
                key(name, RECORD)
            )
        })
    }

    /// The same; `None` if it does not exist.
    pub(super) fn find_record(&self, name: &BackupName) -> Result<Option<Record>> {
        let Some(text) = self.store.get(&key(name, RECORD), RECORD_BYTES_MAX)? else { return Ok(None) };
        let record = Record::read(&text)?;
        if record.backup.name != *name {
            bail!(
                "failed to use the record of the backup {name}: {} in {} belongs to the backup {}",
                key(name, RECORD),
                self.store.place(),
                record.backup.name
            );
        }
        record.backup.expect_manifests(name)?;
        Ok(Some(record))
    }

    /// The origin of a copy that is restored from a backup.
    pub(super) fn origin(&self, record: &Record) -> BackupOrigin {
        let key = key(&record.backup.name, RECORD);
        let file = self.store.get(&key, RECORD_BYTES_MAX).ok().flatten();
        let head = self.store.head(&key).ok().flatten();
        BackupOrigin {
            provider: "velero".to_owned(),
            method: record.method.words().to_owned(),
            location: format!("BackupStorageLocation {}, {}", self.name(), self.store.place()),
            started_at: record.backup.started_at,
            record_blake3: file.map(|file| blake3_of(&file)),
            record_locked_until: head.and_then(|head| head.locked_until),
        }
    }

    /// The files of the manifests that a record names, each the one that was written with the backup.
    pub(super) fn manifests(&self, record: &Record) -> Result<(Vec<Vec<u8>>, Vec<Manifest>)> {
        record.backup.manifests(self.store(), &key(&record.backup.name, ""))
    }

    /// The folder of a backup's evidence, with a slash at its end.
    pub(crate) fn folder(name: &BackupName) -> String {
        key(name, "")
    }

    /// An artefact that Velero keeps of a backup, such as its results; nothing where it was not written.
    pub(crate) fn of_backup(&self, name: &str, artefact: Artefact) -> Result<Option<Vec<u8>>> {
        self.store.get(&artefact.of_backup(name), ARTEFACT_BYTES_MAX)
    }

    /// An artefact that Velero keeps of a restore.
    pub(super) fn of_restore(&self, name: &str, artefact: Artefact) -> Result<Option<Vec<u8>>> {
        self.store.get(&artefact.of_restore(name), ARTEFACT_BYTES_MAX)
    }
}

const RECORD: &str = "backup.json";

fn key(name: &BackupName, file: &str) -> String {
    format!("backups/{name}/state-lab/{file}")
}

fn find(cluster: &Cluster, velero: &str, name: Option<&str>) -> Result<BackupStorageLocation> {
    let locations = cluster.of::<BackupStorageLocation>(velero).list("")?;
    let names: Vec<&str> =
        locations.iter().filter_map(|location| location.metadata.name.as_deref()).collect();
    let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    let wanted = |location: &&BackupStorageLocation| match name {
        Some(name) => location.metadata.name.as_deref() == Some(name),
        None => location.spec.default,
    };
    let found = locations.iter().find(wanted).cloned();
    found.with_context(|| match name {
        Some(name) => format!("failed to find the BackupStorageLocation {name}: the namespace {velero} has {known}"),
        None => format!(
            "failed to find Velero's default BackupStorageLocation: the namespace {velero} has {known}; choose one with \
             --location"
        ),
    })
}

/// The bucket of the location of this name, or of Velero's default, whatever Velero thinks of it.
pub fn place_of(cluster: &Cluster, velero: &str, name: Option<&str>) -> Result<Location> {
    s3_location(cluster, velero, &find(cluster, velero, name)?)
}

/// The bucket of a location, with the credentials of the environment, else with those that Velero has.
fn s3_location(cluster: &Cluster, velero: &str, location: &BackupStorageLocation) -> Result<Location> {
    let spec = &location.spec;
    if !matches!(spec.provider.as_str(), "aws" | "velero.io/aws") {
        bail!(
            "failed to use the BackupStorageLocation {}: its provider is {}, and state-lab supports only S3",
            location.metadata.name.as_deref().unwrap_or_default(),
            spec.provider
        );
    }
    let environment_has = store::environment_has_credentials();
    let of_velero = match environment_has {
        true => None,
        false => velero_credentials(cluster, velero, location)?,
    };
    let credentials = store::credentials(environment_has, of_velero);
    let storage = &spec.object_storage;
    let ca = storage.ca_cert.as_ref().map(|ByteString(pem)| pem.clone());
    let prefix = storage.prefix.as_deref().unwrap_or_default();
    Location::of_backup_location(&storage.bucket, prefix, &spec.config, ca, credentials)
}

fn velero_credentials(
    cluster: &Cluster,
    velero: &str,
    location: &BackupStorageLocation,
) -> Result<Option<Credentials>> {
    let own = location.spec.credential.as_ref();
    let (name, key) = own.map_or(DEFAULT_SECRET, |own| (own.name.as_str(), own.key.as_str()));
    let secret = cluster.of::<Secret>(velero).get(name)?;
    let file = secret.and_then(|secret| secret.data?.remove(key));
    if own.is_some() && file.is_none() {
        bail!(
            "failed to find the credentials of the BackupStorageLocation: the Secret {velero}/{name} has no key {key}"
        );
    }
    Ok(file.map(|ByteString(ini)| Credentials::File {
        ini: store::Secret::new(ini),
        profile: "default".to_owned(),
    }))
}
