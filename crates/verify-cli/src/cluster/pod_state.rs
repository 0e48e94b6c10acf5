//! How far a pod of ours is on its way to run, and what it hangs on.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodStatus};

const UNEXPLAINED: &str = "it has ended, and the cluster does not say why";
/// The way out where its image does not come.
const PULL: &str = "\
look whether the nodes can pull the image, and whether its name is right (`image` in [velero], or --image)";
/// The way out where no node takes it.
const SCHEDULE: &str = "look at the nodes, and at the events of its claims (`kubectl describe`)";

/// Whether all of a pod's containers have ended for good.
pub(crate) fn is_over(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// Where a pod is on its way to run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum PodState {
    /// All of its containers run.
    Running,
    /// It has ended, which none of ours does by itself; why.
    Failed(String),
    /// What it does or is until it runs, as what follows its name.
    Waiting { on: String, way_out: Option<&'static str> },
}

impl PodState {
    /// The state that its status tells.
    pub(crate) fn of(pod: &Pod) -> Self {
        let waiting = |on: &str| Self::Waiting { on: on.to_owned(), way_out: None };
        let Some(status) = &pod.status else { return waiting("is not scheduled yet") };
        let inits = status.init_container_statuses.iter().flatten();
        let containers = || status.container_statuses.iter().flatten();
        if is_over(pod) {
            let ended = inits.chain(containers()).find_map(failure);
            let reason = ended.or_else(|| status.message.clone()).or_else(|| status.reason.clone());
            return Self::Failed(reason.unwrap_or_else(|| UNEXPLAINED.to_owned()));
        }
        let all_run = containers().count() > 0
            && containers()
                .all(|container| container.state.as_ref().is_some_and(|state| state.running.is_some()));
        if all_run {
            return Self::Running;
        }
        let held_up = inits.chain(containers()).find_map(Self::of_container);
        held_up.or_else(|| Self::unscheduled(status)).unwrap_or_else(|| waiting("is on its way"))
    }

    /// A container that cannot start, or that others wait for.
    fn of_container(container: &ContainerStatus) -> Option<Self> {
        let (name, state) = (&container.name, container.state.as_ref()?);
        let Some(wait) = &state.waiting else {
            state.running.as_ref()?;
            return Some(Self::Waiting { on: format!("runs its container {name}"), way_out: None });
        };
        let reason = wait.reason.as_deref().unwrap_or("is waiting");
        if matches!(reason, "PodInitializing" | "ContainerCreating") {
            return None;
        }
        let message = wait.message.as_deref().map(|text| format!(": {text}")).unwrap_or_default();
        let way_out = reason.contains("Image").then_some(PULL);
        Some(Self::Waiting { on: format!("cannot start its container {name}: {reason}{message}"), way_out })
    }

    fn unscheduled(status: &PodStatus) -> Option<Self> {
        let mut conditions = status.conditions.iter().flatten();
        let unscheduled =
            conditions.find(|condition| condition.type_ == "PodScheduled" && condition.status == "False")?;
        let message = unscheduled.message.as_deref().unwrap_or("no reason is given");
        Some(Self::Waiting { on: format!("is not scheduled: {message}"), way_out: Some(SCHEDULE) })
    }
}

/// Why a container ended badly.
fn failure(container: &ContainerStatus) -> Option<String> {
    let ended = container.state.as_ref()?.terminated.as_ref()?;
    (ended.exit_code != 0).then(|| {
        let said = ended.message.as_deref().map(|text| format!(": {}", text.trim())).unwrap_or_default();
        format!("its container {} ended with {}{said}", container.name, ended.exit_code)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn a_pod_runs_fails_or_waits_for_something_that_has_a_name() {
        let container = |name: &str, state: Value| json!({ "name": name, "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state });
        let running = json!({ "running": {} });
        let gate = container("gate", json!({ "terminated": { "exitCode": 2, "message": "still open\n" } }));
        let over = container("c", json!({ "terminated": { "exitCode": 0 } }));
        let pulling = json!({ "waiting": { "reason": "ImagePullBackOff", "message": "no such image" } });
        let initialising = container("c", json!({ "waiting": { "reason": "PodInitializing" } }));
        let failed = |why: &str| PodState::Failed(why.to_owned());
        let waiting = |on: &str, way_out| PodState::Waiting { on: on.to_owned(), way_out };
        for (status, expected) in [
            (json!({ "containerStatuses": [container("c", running.clone())] }), PodState::Running),
            (
                json!({ "phase": "Failed", "initContainerStatuses": [gate] }),
                failed("its container gate ended with 2: still open"),
            ),
            (json!({ "phase": "Failed", "message": "evicted" }), failed("evicted")),
            (json!({ "phase": "Succeeded", "containerStatuses": [over] }), failed(UNEXPLAINED)),
            (Value::Null, waiting("is not scheduled yet", None)),
            (json!({}), waiting("is on its way", None)),
            (
                json!({ "containerStatuses": [container("c", pulling)] }),
                waiting("cannot start its container c: ImagePullBackOff: no such image", Some(PULL)),
            ),
            (
                json!({ "initContainerStatuses": [container("gate", running)], "containerStatuses": [initialising] }),
                waiting("runs its container gate", None),
            ),
            (
                json!({ "conditions": [{ "type": "PodScheduled", "status": "False", "message": "no nodes" }] }),
                waiting("is not scheduled: no nodes", Some(SCHEDULE)),
            ),
        ] {
            let pod = json!({ "metadata": {}, "status": status });
            assert_eq!(PodState::of(&serde_json::from_value(pod).unwrap()), expected, "{status}");
        }
    }
}
