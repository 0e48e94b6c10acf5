//! The objects of a cluster that matter to one database, as they were read, and the facts that they show.

use std::collections::BTreeSet;

use anyhow::Result;
use serde_json::Value;
use verify_doctor::facts::cluster as facts;
use verify_doctor::{Fact, Missing, known};
use verify_drill::store::{Location, OpenStore};
use verify_drill::watch::Watch;

use super::{bucket, storage, velero};
use crate::cluster::{Cluster, Looked};
use crate::provider::{self, Settings};

/// The Secret of Velero's repositories.
const REPOSITORY_SECRET: &str = "velero-repo-credentials";

type Objects = Fact<Vec<Value>>;

/// Objects as the API server sent them; each kind by itself, since a role may read some and not others.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) pods: Objects,
    pub(super) endpoints: Objects,
    pub(super) claims: Objects,
    pub(super) quotas: Objects,
    pub(super) cnpg: Objects,
    pub(super) volumes: Objects,
    pub(super) storage_classes: Objects,
    pub(super) snapshot_classes: Objects,
    pub(super) longhorn: Objects,
    pub(super) schedules: Objects,
    pub(super) backups: Objects,
    pub(super) pod_volume_backups: Objects,
    pub(super) uploads: Objects,
    pub(super) locations: Objects,
    pub(super) repositories: Objects,
    pub(super) repository_secret: Fact<Option<Value>>,
    pub(super) deployments: Objects,
    pub(super) velero_pods: Objects,
    /// Statistics of the kubelets of the database's nodes.
    pub(super) kubelets: Vec<Fact<Value>>,
}

/// Examines the cluster of the settings, and the bucket of its backups.
///
/// # Errors
///
/// If the API server does not answer.
pub fn look(settings: &Settings, open_store: OpenStore, watch: &Watch<'_>) -> Result<facts::Cluster> {
    let cluster = settings.connect()?;
    let namespace = settings.namespace_in(&cluster).to_owned();
    watch.step(&format!("examining the namespace {namespace} and Velero"))?;
    let seen = Seen::read(&cluster, &namespace, settings)?;
    let mut facts = seen.facts(&namespace, settings.cluster.as_deref());
    watch.step("examining the bucket of the backups")?;
    bucket::add(&mut facts, &cluster, settings, open_store);
    Ok(facts)
}

/// The bucket of each BackupStorageLocation, or why it cannot be used.
///
/// # Errors
///
/// If the API server does not answer.
pub fn places(settings: &Settings, facts: &facts::Cluster) -> Result<Vec<(String, Result<Location>)>> {
    let cluster = settings.connect()?;
    let names = facts.locations.iter().flatten().map(|location| location.name.clone());
    Ok(names
        .map(|name| {
            let place = provider::place_of(&cluster, settings.velero_namespace(), Some(&name));
            (name, place)
        })
        .collect())
}

impl Seen {
    fn read(cluster: &Cluster, namespace: &str, settings: &Settings) -> Result<Self> {
        let own = |api, kind, plural| cluster.look(&Looked { api, kind, plural }, Some(namespace));
        let of_velero = |api, kind, plural| {
            cluster.look(&Looked { api, kind, plural }, Some(settings.velero_namespace()))
        };
        let all = |api, kind, plural| cluster.look(&Looked { api, kind, plural }, None);
        let (pods, endpoints) = (own("v1", "Pod", "pods")?, own("v1", "Endpoints", "endpoints")?);
        let secret = Looked { api: "v1", kind: "Secret", plural: "secrets" };
        let mut seen = Self {
            pods,
            endpoints,
            claims: own("v1", "PersistentVolumeClaim", "persistentvolumeclaims")?,
            quotas: own("v1", "ResourceQuota", "resourcequotas")?,
            cnpg: own("postgresql.cnpg.io/v1", "Cluster", "clusters")?,
            volumes: all("v1", "PersistentVolume", "persistentvolumes")?,
            storage_classes: all("storage.k8s.io/v1", "StorageClass", "storageclasses")?,
            snapshot_classes: all(
                "snapshot.storage.k8s.io/v1",
                "VolumeSnapshotClass",
                "volumesnapshotclasses",
            )?,
            longhorn: all("longhorn.io/v1beta2", "Volume", "volumes")?,
            schedules: of_velero("velero.io/v1", "Schedule", "schedules")?,
            backups: of_velero("velero.io/v1", "Backup", "backups")?,
            pod_volume_backups: of_velero("velero.io/v1", "PodVolumeBackup", "podvolumebackups")?,
            uploads: of_velero("velero.io/v2alpha1", "DataUpload", "datauploads")?,
            locations: of_velero("velero.io/v1", "BackupStorageLocation", "backupstoragelocations")?,
            repositories: of_velero("velero.io/v1", "BackupRepository", "backuprepositories")?,
            repository_secret: cluster.look_at(&secret, settings.velero_namespace(), REPOSITORY_SECRET)?,
            deployments: of_velero("apps/v1", "Deployment", "deployments")?,
            velero_pods: of_velero("v1", "Pod", "pods")?,
            kubelets: Vec::new(),
        };
        let nodes: BTreeSet<String> = seen
            .database_pods(settings.cluster.as_deref())
            .into_iter()
            .flatten()
            .filter(|pod| !pod.mounts.is_empty())
            .filter_map(|pod| pod.node)
            .collect();
        seen.kubelets = nodes.iter().map(|node| cluster.look_at_kubelet(node)).collect::<Result<_>>()?;
        Ok(seen)
    }

    fn database_pods(&self, only: Option<&str>) -> Fact<Vec<facts::DatabasePod>> {
        let (pods, endpoints, claims) = (known(&self.pods)?, known(&self.endpoints)?, known(&self.claims)?);
        Ok(storage::pods(pods, endpoints, claims, only))
    }

    /// The facts that the objects show.
    pub(super) fn facts(&self, namespace: &str, only: Option<&str>) -> facts::Cluster {
        let pods = self.database_pods(only);
        let volumes = || {
            let (pods, claims, volumes) = (known(&pods)?, known(&self.claims)?, known(&self.volumes)?);
            Ok(storage::volumes(pods, claims, volumes, &self.kubelets, namespace))
        };
        let backups = || {
            let (backups, files) = (known(&self.backups)?, known(&self.pod_volume_backups)?);
            // Before Velero 1.12 there are no DataUploads.
            let uploads = match &self.uploads {
                Err(Missing::NotApplicable(_)) => &[][..],
                uploads => known(uploads)?,
            };
            Ok(velero::backups(backups, files, uploads, namespace, only))
        };
        let password = || match known(&self.repository_secret)? {
            Some(secret) => Ok(velero::repository_password(secret)),
            None => Err(Missing::not_applicable("Velero has no repository yet")),
        };
        facts::Cluster {
            namespace: namespace.to_owned(),
            volumes: volumes(),
            schedules: self.schedules.clone().map(|objects| velero::schedules(&objects, namespace)),
            backups: backups(),
            reports: Err(Missing::not_applicable("the bucket was not examined")),
            locations: self.locations.clone().map(|objects| velero::locations(&objects)),
            repositories: self.repositories.clone().map(|objects| velero::repositories(&objects, namespace)),
            repository_password: password(),
            snapshot_classes: self
                .snapshot_classes
                .clone()
                .map(|objects| storage::snapshot_classes(&objects)),
            storage_classes: self.storage_classes.clone().map(|objects| storage::storage_classes(&objects)),
            agent_nodes: self.velero_pods.clone().map(|objects| storage::agent_nodes(&objects)),
            images: self.images(),
            cnpg: self.cnpg_clusters(only),
            longhorn: self.longhorn.clone().map(|objects| storage::longhorn(&objects)),
            quotas: self.quotas.clone().map(|objects| storage::quotas(&objects)),
            pods,
        }
    }

    fn images(&self) -> Fact<Vec<String>> {
        let images = velero::images(known(&self.deployments)?);
        if images.is_empty() {
            return Err(Missing::not_applicable("Velero's server is not in its namespace"));
        }
        Ok(images)
    }

    fn cnpg_clusters(&self, only: Option<&str>) -> Fact<Vec<facts::CnpgCluster>> {
        let clusters = storage::cnpg(known(&self.cnpg)?, only);
        if clusters.is_empty() {
            return Err(Missing::not_applicable("the namespace has no cluster of CloudNativePG"));
        }
        Ok(clusters)
    }
}
