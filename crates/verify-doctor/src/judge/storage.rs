//! Volumes, classes, quotas and operators of a cluster.

use verify_drill::quantity::{bytes, counted};

use crate::check::{Answer, Found, Gap};
use crate::fact::{Missing, known};
use crate::facts::Facts;
use crate::facts::cluster::{Cluster, Volume, VolumeKind};

/// A volume that is fuller is about to stop the server.
const USED_PERCENT_MAX: u64 = 90;

fn volumes(facts: &Facts) -> Result<&[Volume], Missing> {
    let cluster = known(&facts.cluster)?;
    cluster.running()?;
    Ok(known(&cluster.volumes)?)
}

fn each(facts: &Facts, judge: impl Fn(&Volume) -> Option<String>) -> Result<Answer, Missing> {
    let found = volumes(facts)?
        .iter()
        .filter_map(|volume| Some(Found::new(format!("claim {}", volume.claim), judge(volume)?)));
    Ok(found.collect::<Vec<_>>().into())
}

pub(crate) fn host_path(facts: &Facts) -> Result<Answer, Missing> {
    each(facts, |volume| match &volume.kind {
        VolumeKind::HostPath => Some("is a hostPath of one node".to_owned()),
        VolumeKind::Local => Some("is a local disk of one node".to_owned()),
        _ => None,
    })
}

pub(crate) fn network(facts: &Facts) -> Result<Answer, Missing> {
    each(facts, |volume| match &volume.kind {
        VolumeKind::Nfs => Some("is on NFS".to_owned()),
        VolumeKind::Csi(driver) => {
            let is_network =
                ["nfs", "smb", "efs.csi", "azurefile", "file.csi"].iter().any(|part| driver.contains(part));
            is_network.then(|| format!("is on a network file system ({driver})"))
        }
        _ => None,
    })
}

pub(crate) fn full(facts: &Facts) -> Result<Answer, Missing> {
    let mut answer = Answer::default();
    for volume in volumes(facts)? {
        match &volume.used_percent {
            Ok(used) if *used > USED_PERCENT_MAX => {
                answer.found.push(Found::new(format!("claim {}", volume.claim), format!("is {used} % full")));
            }
            Err(Missing::Unknown { reason, needs }) => answer.gaps.push(Gap {
                object: format!("claim {}", volume.claim),
                reason: reason.clone(),
                needs: needs.clone(),
            }),
            Ok(_) | Err(Missing::NotApplicable(_)) => {}
        }
    }
    Ok(answer)
}

pub(crate) fn separate_wal(facts: &Facts) -> Result<Answer, Missing> {
    let pods = known(&facts.cluster)?.running()?;
    let found = pods.iter().filter(|pod| pod.mounts.len() > 1).filter_map(|pod| {
        let wal = pod.mounts.iter().find(|mount| mount.is_wal())?;
        let together = wal.group.is_some() && pod.mounts.iter().all(|mount| mount.group == wal.group);
        let message = format!(
            "WAL is on claim {} of its own, whose snapshots are taken apart from the data's",
            wal.claim
        );
        (!together).then(|| Found::new(format!("pod {}", pod.name), message))
    });
    Ok(found.collect::<Vec<_>>().into())
}

/// The drivers of the database's volumes.
fn drivers(cluster: &Cluster) -> Result<Vec<&str>, Missing> {
    cluster.running()?;
    let mut drivers: Vec<&str> = known(&cluster.volumes)?
        .iter()
        .filter_map(|volume| match &volume.kind {
            VolumeKind::Csi(driver) => Some(driver.as_str()),
            _ => None,
        })
        .collect();
    drivers.sort_unstable();
    drivers.dedup();
    if drivers.is_empty() {
        return Err(Missing::not_applicable("no volume of the database is of a CSI driver"));
    }
    Ok(drivers)
}

pub(crate) fn no_snapshots(facts: &Facts) -> Result<Answer, Missing> {
    let cluster = known(&facts.cluster)?;
    let drivers = drivers(cluster)?;
    match &cluster.snapshot_classes {
        Err(Missing::NotApplicable(_)) => {
            Ok(Found::new("VolumeSnapshotClass", "is a kind that this cluster does not know").into_answer())
        }
        Err(missing) => Err(missing.clone()),
        Ok(classes) => {
            let without =
                drivers.iter().filter(|driver| !classes.iter().any(|class| class.driver == **driver));
            let found =
                without.map(|driver| Found::new(format!("driver {driver}"), "has no VolumeSnapshotClass"));
            Ok(found.collect::<Vec<_>>().into())
        }
    }
}

pub(crate) fn snapshot_labels(facts: &Facts) -> Result<Answer, Missing> {
    let cluster = known(&facts.cluster)?;
    let classes = known(&cluster.snapshot_classes)?;
    let mut found = Vec::new();
    for driver in drivers(cluster)? {
        let own: Vec<_> = classes.iter().filter(|class| class.driver == driver).collect();
        let labelled: Vec<&str> =
            own.iter().filter(|class| class.is_labelled).map(|class| class.name.as_str()).collect();
        if labelled.len() > 1 {
            let message =
                format!("has {} classes with Velero's label: {}", labelled.len(), labelled.join(", "));
            found.push(Found::new(format!("driver {driver}"), message));
        } else if labelled.is_empty() && own.len() > 1 {
            let message = "has several classes of snapshots, and none with Velero's label";
            found.push(Found::new(format!("driver {driver}"), message));
        }
    }
    Ok(found.into())
}

pub(crate) fn longhorn_snapshots(facts: &Facts) -> Result<Answer, Missing> {
    let classes = known(&known(&facts.cluster)?.snapshot_classes)?;
    let mut longhorn = classes.iter().filter(|class| class.driver == "driver.longhorn.io").peekable();
    if longhorn.peek().is_none() {
        return Err(Missing::not_applicable("there is no class of snapshots by Longhorn"));
    }
    let local = longhorn.filter(|class| class.longhorn_type.as_deref() == Some("snap"));
    let found = local.map(|class| {
        Found::new(
            format!("VolumeSnapshotClass {}", class.name),
            "has `type: snap`: its snapshots stay in the volume",
        )
    });
    Ok(found.collect::<Vec<_>>().into())
}

pub(crate) fn longhorn_volumes(facts: &Facts) -> Result<Answer, Missing> {
    let cluster = known(&facts.cluster)?;
    let volumes = known(&cluster.longhorn)?;
    let own = volumes
        .iter()
        .filter(|volume| volume.claim.as_ref().is_some_and(|(namespace, _)| *namespace == cluster.namespace));
    let found =
        own.filter(|volume| ["degraded", "faulted"].contains(&volume.robustness.as_str())).map(|volume| {
            let claim = volume.claim.as_ref().map_or("", |(_, claim)| claim.as_str());
            Found::new(
                format!("Longhorn volume {}", volume.name),
                format!("of claim {claim} is {}", volume.robustness),
            )
        });
    Ok(found.collect::<Vec<_>>().into())
}

pub(crate) fn unencrypted(facts: &Facts) -> Result<Answer, Missing> {
    let cluster = known(&facts.cluster)?;
    let classes = known(&cluster.storage_classes)?;
    let used: Vec<&str> = volumes(facts)?.iter().filter_map(|volume| volume.class.as_deref()).collect();
    let of_database = || classes.iter().filter(|class| used.contains(&class.name.as_str()));
    if of_database().all(|class| class.encrypted.is_none()) {
        return Err(Missing::not_applicable(
            "no driver of the database's volumes shows encryption in its StorageClass",
        ));
    }
    let found = of_database().filter(|class| class.encrypted == Some(false)).map(|class| {
        Found::new(
            format!("StorageClass {}", class.name),
            format!("does not ask {} to encrypt", class.driver),
        )
    });
    Ok(found.collect::<Vec<_>>().into())
}

pub(crate) fn small_quota(facts: &Facts) -> Result<Answer, Missing> {
    let cluster = known(&facts.cluster)?;
    let quotas = known(&cluster.quotas)?;
    if quotas.is_empty() {
        return Err(Missing::not_applicable("the namespace has no ResourceQuota"));
    }
    let volumes = volumes(facts)?;
    let needed: u64 = volumes.iter().filter_map(|volume| volume.capacity_bytes).sum();
    let found = quotas.iter().filter_map(|quota| {
        let object = format!("ResourceQuota {}", quota.name);
        if let Some(most) = quota.storage_bytes_max.filter(|most| *most < needed) {
            let message =
                format!("allows {}, and the volumes of the database have {}", bytes(most), bytes(needed));
            return Some(Found::new(object, message));
        }
        let most = quota.claims_max.filter(|most| *most < volumes.len() as u64)?;
        Some(Found::new(
            object,
            format!("allows {}, and the database has {}", counted(most, "claim"), volumes.len()),
        ))
    });
    Ok(found.collect::<Vec<_>>().into())
}

pub(crate) fn agent_absent(facts: &Facts) -> Result<Answer, Missing> {
    let cluster = known(&facts.cluster)?;
    let (pods, nodes) = (cluster.running()?, known(&cluster.agent_nodes)?);
    let found = pods.iter().filter_map(|pod| {
        let node = pod.node.as_ref().filter(|node| !nodes.contains(*node))?;
        Some(Found::new(
            format!("node {node}"),
            format!("has no node-agent that is ready, and runs {}", pod.name),
        ))
    });
    Ok(found.collect::<Vec<_>>().into())
}

pub(crate) fn cnpg_archiving(facts: &Facts) -> Result<Answer, Missing> {
    let clusters = known(&known(&facts.cluster)?.cnpg)?;
    let found = clusters.iter().filter_map(|cluster| {
        let object = format!("Cluster {}", cluster.name);
        match &cluster.archiving {
            None => Some(Found::new(object, "does not report ContinuousArchiving: no archive is set up")),
            Some((status, message)) if status != "True" => {
                Some(Found::new(object, format!("ContinuousArchiving is {status}: {message}")))
            }
            Some(_) => None,
        }
    });
    Ok(found.collect::<Vec<_>>().into())
}

pub(crate) fn cnpg_overwrites(facts: &Facts) -> Result<Answer, Missing> {
    let clusters = known(&known(&facts.cluster)?.cnpg)?;
    let found = clusters.iter().filter_map(|cluster| {
        let (store, name) = cluster.archives_to.as_ref()?;
        (cluster.recovers_from.as_ref() == cluster.archives_to.as_ref()).then(|| {
            let message =
                format!("archives to the server name {name} in {store}, which it was recovered from");
            Found::new(format!("Cluster {}", cluster.name), message)
        })
    });
    Ok(found.collect::<Vec<_>>().into())
}
