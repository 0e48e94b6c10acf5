//! How far a pod of ours is on its way to run, and what it hangs on.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodStatus};

const UNEXPLAINED: &str = "it has ended, and the cluster does not say why";
/// The hint where its image cannot be pulled.
const PULL: &str = "correct the image's name (`image` in [velero], or --image), or give the nodes or `pull_secrets` in [velero] \
     the registry's credentials";
/// The hint where no node takes it.
const SCHEDULE: &str = "see the nodes and the events of the pod's claims (`kubectl describe`); `resources`, `node_selector` and \
     `tolerations` in [velero] say which nodes will do";

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
    /// What it does or is until it runs.
    Waiting(Waiting),
}

/// A pod that does not run yet.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Waiting {
    /// What it waits for, as what follows its name.
    pub(crate) on: String,
    pub(crate) hint: Option<&'static str>,
    /// What it waits for in terms that stay the same while it makes no progress. Reasons and messages do not: those of an
    /// image that cannot be pulled alternate with every try.
    pub(crate) stage: String,
    /// Whether its image cannot be pulled for a reason that another try does not change.
    pub(crate) refused: bool,
}

impl PodState {
    /// The state of this pod.
    pub(crate) fn of(pod: &Pod) -> Self {
        let waiting = |on: &str| Self::Waiting(Waiting { on: on.to_owned(), ..Waiting::default() });
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
        let held_up = inits.chain(containers()).find_map(Waiting::of_container);
        let held_up = held_up.or_else(|| Waiting::unscheduled(status));
        held_up.map_or_else(|| waiting("is on its way"), Self::Waiting)
    }
}

impl Waiting {
    /// A container that cannot start, or that others wait for.
    fn of_container(container: &ContainerStatus) -> Option<Self> {
        let (name, state) = (&container.name, container.state.as_ref()?);
        let Some(wait) = &state.waiting else {
            state.running.as_ref()?;
            let on = format!("runs its container {name}");
            return Some(Self { stage: on.clone(), on, ..Self::default() });
        };
        let reason = wait.reason.as_deref().unwrap_or("is waiting");
        if matches!(reason, "PodInitializing" | "ContainerCreating") {
            return None;
        }
        let message = wait.message.as_deref().map(|text| format!(": {text}")).unwrap_or_default();
        let of_image = reason.contains("Image");
        let hint = of_image.then_some(PULL);
        let refused = of_image && is_refused(reason, &message);
        let stage = format!("cannot start its container {name}");
        Some(Self { on: format!("{stage}: {reason}{message}"), hint, stage, refused })
    }

    fn unscheduled(status: &PodStatus) -> Option<Self> {
        let mut conditions = status.conditions.iter().flatten();
        let unscheduled =
            conditions.find(|condition| condition.type_ == "PodScheduled" && condition.status == "False")?;
        let message = unscheduled.message.as_deref().unwrap_or("no reason is given");
        let stage = "is not scheduled".to_owned();
        Some(Self { on: format!("{stage}: {message}"), hint: Some(SCHEDULE), stage, refused: false })
    }
}

/// Whether an image cannot be pulled whenever it is tried again: its name is invalid, or the registry has no such image or
/// refuses the login. A registry that does not answer may answer later.
fn is_refused(reason: &str, message: &str) -> bool {
    const ANSWERS: [&str; 8] = [
        "not found",
        "no such host",
        "manifest unknown",
        "does not exist",
        "unauthorized",
        "denied",
        "insufficient_scope",
        "authorization failed",
    ];
    let message = message.to_ascii_lowercase();
    matches!(reason, "InvalidImageName" | "ErrImageNeverPull")
        || ANSWERS.iter().any(|answer| message.contains(answer))
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
        let waiting = |on: &str, stage: &str, hint| {
            let (on, stage) = (on.to_owned(), stage.to_owned());
            PodState::Waiting(Waiting { on, hint, stage, refused: false })
        };
        for (status, expected) in [
            (json!({ "containerStatuses": [container("c", running.clone())] }), PodState::Running),
            (
                json!({ "phase": "Failed", "initContainerStatuses": [gate] }),
                failed("its container gate ended with 2: still open"),
            ),
            (json!({ "phase": "Failed", "message": "evicted" }), failed("evicted")),
            (json!({ "phase": "Succeeded", "containerStatuses": [over] }), failed(UNEXPLAINED)),
            (Value::Null, waiting("is not scheduled yet", "", None)),
            (json!({}), waiting("is on its way", "", None)),
            (
                json!({ "containerStatuses": [container("c", pulling)] }),
                waiting(
                    "cannot start its container c: ImagePullBackOff: no such image",
                    "cannot start its container c",
                    Some(PULL),
                ),
            ),
            (
                json!({ "initContainerStatuses": [container("gate", running)], "containerStatuses": [initialising] }),
                waiting("runs its container gate", "runs its container gate", None),
            ),
            (
                json!({ "conditions": [{ "type": "PodScheduled", "status": "False", "message": "no nodes" }] }),
                waiting("is not scheduled: no nodes", "is not scheduled", Some(SCHEDULE)),
            ),
        ] {
            let pod = json!({ "metadata": {}, "status": status });
            assert_eq!(PodState::of(&serde_json::from_value(pod).unwrap()), expected, "{status}");
        }
    }

    #[test]
    fn the_reasons_of_an_image_that_cannot_be_pulled_are_one_stage() {
        let of = |reason: &str, message: &str| {
            let state = json!({ "waiting": { "reason": reason, "message": message } });
            let container = json!({ "name": "c", "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state });
            let pod = json!({ "metadata": {}, "status": { "containerStatuses": [container] } });
            match PodState::of(&serde_json::from_value(pod).unwrap()) {
                PodState::Waiting(waiting) => waiting,
                state => panic!("{state:?}"),
            }
        };
        let first = of("ErrImagePull", "failed to resolve reference \"r/i:1\": r/i:1: not found");
        let second = of("ImagePullBackOff", "Back-off pulling image \"r/i:1\"");
        assert_eq!((first.stage.as_str(), first.refused), (second.stage.as_str(), true));
        for (reason, message, refused) in [
            ("ImagePullBackOff", "Back-off pulling image \"i\"", false),
            ("ErrImagePull", "dial tcp 10.0.0.1:443: i/o timeout", false),
            ("ErrImagePull", "unexpected status code 503 Service Unavailable", false),
            ("ErrImagePull", "dial tcp: lookup registry.example: no such host", true),
            (
                "ErrImagePull",
                "pull access denied, repository does not exist or may require authorization",
                true,
            ),
            ("ErrImagePull", "401 Unauthorized", true),
            ("InvalidImageName", "couldn't parse image name", true),
            ("ErrImageNeverPull", "", true),
            // Its command is missing; the image is there.
            ("CreateContainerError", "executable file not found in $PATH", false),
        ] {
            assert_eq!(of(reason, message).refused, refused, "{reason}: {message}");
        }
    }
}
