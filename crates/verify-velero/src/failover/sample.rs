//! The cluster at one moment, as far as a failover changes it, and what is different a moment later.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail};
use k8s_openapi::api::core::v1::{Endpoints, Node, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::VolumeAttachment;
use kube::ResourceExt;
use serde_json::Value;

use super::primary::Primary;
use super::target::{self, DrillTarget};
use crate::cluster::{Cluster, PostgresCluster, is_ready};

/// The cluster at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sample {
    pub primary: Option<Primary>,
    /// Members by name.
    pub members: BTreeMap<String, Member>,
    /// Addresses behind the Service.
    pub addresses: BTreeSet<String>,
    /// The nodes that the members' volumes are attached to, by claim; empty if the role may not read that.
    pub volumes: BTreeMap<String, BTreeSet<String>>,
    pub node: NodeState,
}

/// A member at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub primary: Primary,
    pub ready: bool,
    pub going: bool,
    /// Role and state in Patroni's annotations, if any.
    pub patroni: Option<(String, String)>,
}

/// The drilled node at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct NodeState {
    pub ready: bool,
    pub cordoned: bool,
}

impl Sample {
    /// Reads the state of the cluster.
    ///
    /// # Errors
    ///
    /// If the API server does not answer.
    pub(super) fn take(cluster: &Cluster, target: &DrillTarget, node: &str) -> anyhow::Result<Self> {
        let namespace = &target.namespace;
        let pods = cluster.of::<Pod>(namespace).list("")?;
        let endpoints = cluster.of::<Endpoints>(namespace).list("")?;
        let node = cluster.global::<Node>().get(node)?;
        let claims = cluster.of::<PersistentVolumeClaim>(namespace).list("")?;
        // Not everybody may read these; then the volumes are not watched.
        let attachments = cluster.global::<VolumeAttachment>().list("").unwrap_or_default();
        let postgres = target.look_again(&pods, &endpoints);
        Ok(Self {
            primary: postgres.as_ref().and_then(target::primary),
            members: postgres.iter().flat_map(|postgres| &postgres.pods).map(Member::of).collect(),
            addresses: addresses(&endpoints, &target.service),
            volumes: postgres.map(|postgres| volumes(&postgres, &claims, &attachments)).unwrap_or_default(),
            node: node.as_ref().map(NodeState::of).unwrap_or_default(),
        })
    }

    /// Differences to now, as text.
    pub(super) fn changes_to(&self, now: &Self) -> Vec<String> {
        let mut changes = Vec::new();
        if self.node.ready != now.node.ready {
            changes.push(format!("node: {}", if now.node.ready { "ready" } else { "not ready" }));
        }
        if self.node.cordoned != now.node.cordoned {
            changes.push(format!("node: {}", if now.node.cordoned { "cordoned" } else { "uncordoned" }));
        }
        let shown =
            |primary: &Option<Primary>| primary.as_ref().map_or("none".to_owned(), Primary::to_string);
        if shown(&self.primary) != shown(&now.primary) {
            changes.push(format!("primary: {} → {}", shown(&self.primary), shown(&now.primary)));
        }
        let names: BTreeSet<&String> = self.members.keys().chain(now.members.keys()).collect();
        for name in names {
            let shown =
                |sample: &Self| sample.members.get(name).map_or("deleted".to_owned(), Member::summary);
            let (was, is) = (shown(self), shown(now));
            if was != is {
                changes.push(format!("{name}: {was} → {is}"));
            }
        }
        if self.addresses != now.addresses {
            changes.push(format!("service: {} → {}", joined(&self.addresses), joined(&now.addresses)));
        }
        for (claim, nodes) in &now.volumes {
            let before = self.volumes.get(claim).cloned().unwrap_or_default();
            if before != *nodes {
                changes.push(format!("volume {claim}: {} → {}", joined(&before), joined(nodes)));
            }
        }
        changes
    }

    /// Fails where a member is not ready: a drill of such a cluster would show little.
    pub(super) fn expect_whole(&self) -> Result<()> {
        let down = self.members.iter().filter(|(_, member)| !member.ready || member.going);
        let missing: Vec<String> = down.map(|(name, _)| format!("{name} is not ready")).collect();
        if !missing.is_empty() {
            bail!(
                "failed to start the drill: {}. If another drill was killed, `state-lab cleanup` brings its node back",
                missing.join(", ")
            );
        }
        Ok(())
    }

    /// Reasons why the cluster is not as healthy as it was; empty if it is.
    pub(super) fn missing_since(&self, before: &Self) -> Vec<String> {
        let mut missing = Vec::new();
        if before.node.ready && !self.node.ready {
            missing.push("the node is not ready".to_owned());
        }
        if !before.node.cordoned && self.node.cordoned {
            missing.push("the node is cordoned".to_owned());
        }
        let Some(primary) = &self.primary else {
            missing.push("there is no primary".to_owned());
            return missing;
        };
        for name in before.members.iter().filter(|(_, member)| member.ready).map(|(name, _)| name) {
            match self.members.get(name) {
                None => missing.push(format!("{name} no longer exists")),
                Some(member) if member.going => missing.push(format!("{name} is being removed")),
                Some(member) if !member.ready => missing.push(format!("{name} is not ready")),
                Some(member) => {
                    missing.extend(member.not_following(primary).map(|why| format!("{name} {why}")));
                }
            }
        }
        missing
    }
}

impl Member {
    fn of(pod: &Pod) -> (String, Self) {
        let status =
            pod.annotations().get("status").and_then(|json| serde_json::from_str::<Value>(json).ok());
        let patroni = status.and_then(|status| {
            Some((status.get("role")?.as_str()?.to_owned(), status.get("state")?.as_str()?.to_owned()))
        });
        let going = pod.metadata.deletion_timestamp.is_some();
        (pod.name_any(), Self { primary: Primary::of(pod), ready: is_ready(pod), going, patroni })
    }

    /// Reason why it is not a healthy member under this primary. A pod may still say that it is ready when it has
    /// just come back.
    fn not_following(&self, primary: &Primary) -> Option<String> {
        let (role, state) = self.patroni.as_ref()?;
        let leads = ["primary", "master"].contains(&role.as_str());
        if !["running", "streaming"].contains(&state.as_str()) {
            return Some(format!("is {state}"));
        }
        match (leads, self.primary.pod == primary.pod) {
            (true, false) => Some("still reports itself as primary".to_owned()),
            (false, true) => Some("does not report itself as primary".to_owned()),
            _ => None,
        }
    }

    fn summary(&self) -> String {
        let state = if self.going {
            "terminating"
        } else if self.ready {
            "ready"
        } else {
            "not ready"
        };
        let restarts = if self.primary.restarts > 0 {
            format!(", {} restarts", self.primary.restarts)
        } else {
            String::new()
        };
        format!("{state} on {}{restarts}", placed(&self.primary.node))
    }
}

impl NodeState {
    fn of(node: &Node) -> Self {
        let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
        let ready =
            conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
        let cordoned = node.spec.as_ref().is_some_and(|spec| spec.unschedulable == Some(true));
        Self { ready, cordoned }
    }
}

fn addresses(endpoints: &[Endpoints], service: &str) -> BTreeSet<String> {
    let of_service = endpoints.iter().filter(|endpoints| endpoints.name_any() == service);
    let subsets = of_service.flat_map(|endpoints| endpoints.subsets.iter().flatten());
    subsets.flat_map(|subset| subset.addresses.iter().flatten()).map(|address| address.ip.clone()).collect()
}

fn volumes(
    postgres: &PostgresCluster,
    claims: &[PersistentVolumeClaim],
    attachments: &[VolumeAttachment],
) -> BTreeMap<String, BTreeSet<String>> {
    let volumes =
        postgres.pods.iter().flat_map(|pod| pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()));
    let used = volumes.filter_map(|volume| Some(volume.persistent_volume_claim.as_ref()?.claim_name.clone()));
    used.filter_map(|name| {
        let claim = claims.iter().find(|claim| claim.name_any() == name)?;
        let volume = claim.spec.as_ref()?.volume_name.as_ref()?;
        let of_volume = |attachment: &&VolumeAttachment| {
            let attached = attachment.status.as_ref().is_some_and(|status| status.attached);
            attached && attachment.spec.source.persistent_volume_name.as_ref() == Some(volume)
        };
        let nodes = attachments.iter().filter(of_volume).map(|attachment| attachment.spec.node_name.clone());
        Some((name, nodes.collect()))
    })
    .collect()
}

fn placed(node: &str) -> &str {
    if node.is_empty() { "no node" } else { node }
}

fn joined(parts: &BTreeSet<String>) -> String {
    match parts.is_empty() {
        true => "none".to_owned(),
        false => parts.iter().map(String::as_str).collect::<Vec<_>>().join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, node: &str, role: &str) -> (String, Member) {
        let primary =
            Primary { pod: name.to_owned(), uid: name.to_owned(), node: node.to_owned(), restarts: 0 };
        let patroni = Some((role.to_owned(), "running".to_owned()));
        (name.to_owned(), Member { primary, ready: true, going: false, patroni })
    }

    fn healthy() -> Sample {
        let members =
            BTreeMap::from([member("pg-0", "worker-1", "primary"), member("pg-1", "worker-2", "replica")]);
        Sample {
            primary: Some(members["pg-0"].primary.clone()),
            members,
            addresses: ["10.0.0.1".to_owned()].into(),
            volumes: [("data-pg-0".to_owned(), ["worker-1".to_owned()].into())].into(),
            node: NodeState { ready: true, cordoned: false },
        }
    }

    #[test]
    fn only_changes_are_reported() {
        assert_eq!(healthy().changes_to(&healthy()), Vec::<String>::new());
        let mut now = healthy();
        now.primary = Some(now.members["pg-1"].primary.clone());
        now.node = NodeState { ready: false, cordoned: true };
        now.members.get_mut("pg-0").unwrap().ready = false;
        now.addresses = ["10.0.0.2".to_owned()].into();
        now.volumes.insert("data-pg-0".to_owned(), BTreeSet::new());
        assert_eq!(
            healthy().changes_to(&now),
            [
                "node: not ready",
                "node: cordoned",
                "primary: pg-0 on worker-1 → pg-1 on worker-2",
                "pg-0: ready on worker-1 → not ready on worker-1",
                "service: 10.0.0.1 → 10.0.0.2",
                "volume data-pg-0: worker-1 → none",
            ]
        );
    }

    #[test]
    fn a_drill_does_not_begin_where_a_member_is_down() {
        assert!(healthy().expect_whole().is_ok());
        let mut now = healthy();
        now.members.get_mut("pg-1").unwrap().ready = false;
        assert!(now.expect_whole().unwrap_err().to_string().contains("pg-1 is not ready"));
    }

    #[test]
    fn a_cluster_is_whole_once_every_member_is_what_it_should_be() {
        type Harm = fn(&mut Sample);
        let cases: [(Harm, &[&str]); 8] = [
            (|_| {}, &[]),
            (|now| now.node.ready = false, &["the node is not ready"]),
            (|now| now.node.cordoned = true, &["the node is cordoned"]),
            (|now| now.primary = None, &["there is no primary"]),
            (|now| drop(now.members.remove("pg-1")), &["pg-1 no longer exists"]),
            (|now| now.members.get_mut("pg-1").unwrap().ready = false, &["pg-1 is not ready"]),
            (
                |now| now.primary = Some(now.members["pg-1"].primary.clone()),
                &["pg-0 still reports itself as primary", "pg-1 does not report itself as primary"],
            ),
            (
                |now| {
                    now.members.get_mut("pg-1").unwrap().patroni.as_mut().unwrap().1 = "starting".to_owned();
                },
                &["pg-1 is starting"],
            ),
        ];
        for (harm, expected) in cases {
            let mut now = healthy();
            harm(&mut now);
            assert_eq!(now.missing_since(&healthy()), expected);
        }
    }
}
