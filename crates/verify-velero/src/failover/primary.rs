//! The primary's pod and node, and whether it has moved.

use std::fmt;

use anyhow::{Result, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use schemars::JsonSchema;
use serde::Serialize;

use crate::cluster::database_container;

/// The pod that the primary is, where it runs, and how often it was started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Primary {
    pub pod: String,
    pub uid: String,
    pub node: String,
    pub restarts: i32,
}

/// Change of the primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Move {
    /// No change.
    None,
    /// Another member is the primary.
    OtherMember,
    /// The same member runs on another node.
    OtherNode,
    /// The same member runs on the same node, in a new pod.
    NewPod,
    /// The same pod was started again.
    Restarted,
}

impl Primary {
    /// The primary that a pod is. One that waits for a node has none yet.
    pub fn of(pod: &Pod) -> Self {
        let database = database_container(pod).map(|container| container.name.as_str());
        let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
        let restarts = statuses
            .filter(|status| Some(status.name.as_str()) == database)
            .map(|status| status.restart_count);
        Self {
            pod: pod.name_any(),
            uid: pod.uid().unwrap_or_default(),
            node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default(),
            restarts: restarts.sum(),
        }
    }

    /// Insists that the primary still sits here, started no more often. Whatever is done to a primary that it has left hits
    /// a replica, and the move that came before would pass for what that has caused.
    ///
    /// # Errors
    ///
    /// If it does not.
    pub fn expect_still(&self, now: Option<&Self>) -> Result<()> {
        let is = match now {
            Some(now) if now == self => return Ok(()),
            Some(now) if (&now.pod, &now.node) == (&self.pod, &self.node) => {
                "and has been restarted".to_owned()
            }
            Some(now) => format!("and is {now}"),
            None => "and the cluster has none".to_owned(),
        };
        bail!(
            "failed to start: the primary was {self}, {is} just before the event; run it again when it is stable"
        )
    }

    /// Returns the change from this primary to the one that is there now.
    pub fn moved_to(&self, now: &Self) -> Move {
        if self.pod != now.pod {
            Move::OtherMember
        } else if self.uid == now.uid {
            if now.restarts > self.restarts { Move::Restarted } else { Move::None }
        } else if now.node.is_empty() {
            // It has not been placed yet.
            Move::None
        } else if self.node == now.node {
            Move::NewPod
        } else {
            Move::OtherNode
        }
    }
}

impl fmt::Display for Primary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let node = if self.node.is_empty() { "no node" } else { &self.node };
        write!(f, "{} on {node}", self.pod)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn primary(pod: &str, uid: &str, node: &str, restarts: i32) -> Primary {
        Primary { pod: pod.to_owned(), uid: uid.to_owned(), node: node.to_owned(), restarts }
    }

    #[test]
    fn a_primary_that_moved_is_not_drilled() {
        let before = primary("pg-0", "a", "worker-1", 1);
        for (now, refused) in [
            (Some(before.clone()), None),
            (Some(primary("pg-1", "b", "worker-1", 0)), Some("and is pg-1 on worker-1")),
            (Some(primary("pg-0", "c", "worker-2", 0)), Some("and is pg-0 on worker-2")),
            (Some(primary("pg-0", "c", "", 0)), Some("and is pg-0 on no node")),
            (Some(primary("pg-0", "c", "worker-1", 0)), Some("and has been restarted")),
            (Some(primary("pg-0", "a", "worker-1", 2)), Some("and has been restarted")),
            (None, Some("and the cluster has none")),
        ] {
            let refused = refused.map(|is| {
                format!(
                    "failed to start: the primary was pg-0 on worker-1, {is} just before the event; run it again when it \
                     is stable"
                )
            });
            let found = before.expect_still(now.as_ref()).err().map(|error| error.to_string());
            assert_eq!(found, refused, "{now:?}");
        }
    }

    #[test]
    fn every_way_of_moving_has_its_name() {
        let before = primary("pg-0", "a", "worker-1", 1);
        for (now, expected) in [
            (before.clone(), Move::None),
            (primary("pg-1", "b", "worker-2", 0), Move::OtherMember),
            (primary("pg-0", "c", "worker-2", 0), Move::OtherNode),
            (primary("pg-0", "c", "", 0), Move::None),
            (primary("pg-0", "c", "worker-1", 0), Move::NewPod),
            (primary("pg-0", "a", "worker-1", 2), Move::Restarted),
        ] {
            assert_eq!(before.moved_to(&now), expected, "{now:?}");
        }
    }
}
