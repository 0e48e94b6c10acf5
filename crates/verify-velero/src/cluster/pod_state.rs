//! State of a pod on its way to running, and what it waits for.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodCondition, PodStatus};

const UNEXPLAINED: &str = "it has terminated, and the cluster gives no reason";
/// The exit code of a container that was killed.
const KILLED: i32 = 137;
/// The hints for pods that were ended by something else.
const MEMORY: &str = "raise or remove the memory `limits` in [velero.resources], or use --jobs 1";
const EVICTED: &str = "run it again; with memory `requests` in [velero.resources] as high as its use, a node that is short of memory \
     does not evict it";
const DELETED: &str = "run it again; find out what deleted it: a drained or lost node, or a controller";
const NODE: &str = "check the node's events: it ran out of memory, or was shut down; run it again";
/// The hint where its image cannot be pulled.
const PULL: &str = "correct the image's name (`image` in [velero], or --image), or give the nodes or `pull_secrets` in [velero] \
     the registry's credentials";
/// The hint where no node takes it.
const SCHEDULE: &str = "check the nodes and the events of the pod's claims (`kubectl describe`); `resources`, `node_selector` \
     and `tolerations` in [velero] restrict the nodes";

/// Returns whether all containers of a pod have terminated permanently.
pub fn is_over(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// State of a pod on its way to running.
#[derive(Debug, PartialEq, Eq)]
pub enum PodState {
    /// All of its containers run.
    Running,
    /// The pod has terminated, which no pod of state-lab does by itself.
    Failed(End),
    /// State until it runs.
    Waiting(Waiting),
}

/// Reason why a pod or one of its containers no longer runs.
#[derive(Debug, PartialEq, Eq)]
pub struct End {
    /// The reason, as a phrase after its name.
    pub why: String,
    pub hint: Option<&'static str>,
}

/// A pod that does not run yet.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// The cause of the wait, as a phrase after its name.
    pub on: String,
    pub hint: Option<&'static str>,
    /// The cause of the wait in terms that do not change without progress. Reasons and messages do not: those of an
    /// image that cannot be pulled alternate with every try.
    pub stage: String,
    /// True if its image cannot be pulled for a reason that a retry does not change.
    pub refused: bool,
}

impl PodState {
    /// The state of this pod.
    pub fn of(pod: &Pod) -> Self {
        let waiting = |on: &str| Self::Waiting(Waiting { on: on.to_owned(), ..Waiting::default() });
        let Some(status) = &pod.status else { return waiting("has not been scheduled") };
        let inits = status.init_container_statuses.iter().flatten();
        let containers = || status.container_statuses.iter().flatten();
        if is_over(pod) {
            return Self::Failed(End::of(pod).unwrap_or_else(|| End::plain(UNEXPLAINED.to_owned())));
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

/// Returns whether no retry can pull an image: its name is invalid, or the registry has no such image or refuses the
/// login. A registry that does not answer may answer later.
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

impl End {
    fn plain(why: String) -> Self {
        Self { why, hint: None }
    }

    /// Returns why a pod does not run; `None` if it still may.
    pub fn of(pod: &Pod) -> Option<Self> {
        let status = pod.status.as_ref()?;
        let containers = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
        let killed = containers.clone().find_map(Self::of_killed);
        let disrupted = || status.conditions.iter().flatten().find(|condition| is_disruption(condition));
        let disrupted = disrupted().map(|condition| {
            let why =
                [&condition.reason, &condition.message].into_iter().flatten().cloned().collect::<Vec<_>>();
            Self { why: format!("was evicted: {}", why.join(": ")), hint: Some(EVICTED) }
        });
        let evicted = || {
            let message = status.message.clone().filter(|_| status.reason.as_deref() == Some("Evicted"))?;
            Some(Self { why: format!("was evicted: {message}"), hint: Some(EVICTED) })
        };
        let given = || {
            let reason = status.message.clone().or_else(|| status.reason.clone())?;
            is_over(pod).then(|| Self::plain(reason))
        };
        let deleted = || {
            let since = pod.metadata.deletion_timestamp.as_ref()?;
            Some(Self { why: format!("was deleted at {}", since.0), hint: Some(DELETED) })
        };
        // An evicted pod's containers are killed as well.
        let of_memory = killed.as_ref().is_some_and(|end| end.hint == Some(MEMORY));
        killed
            .filter(|_| of_memory)
            .or(disrupted)
            .or_else(evicted)
            .or_else(|| containers.clone().find_map(Self::of_container))
            .or_else(given)
            .or_else(deleted)
    }

    /// The end of a pod that exists no more.
    pub fn absent() -> Self {
        Self { why: "no longer exists: it was deleted or evicted".to_owned(), hint: Some(DELETED) }
    }

    fn of_killed(container: &ContainerStatus) -> Option<Self> {
        let ended = container.state.as_ref()?.terminated.as_ref()?;
        let of_memory = ended.reason.as_deref() == Some("OOMKilled");
        of_memory.then(|| Self {
            why: format!(
                "ran out of memory: its container {} was killed (OOMKilled, exit code {})",
                container.name, ended.exit_code
            ),
            hint: Some(MEMORY),
        })
    }

    /// Returns why a container failed.
    fn of_container(container: &ContainerStatus) -> Option<Self> {
        let ended = container.state.as_ref()?.terminated.as_ref()?;
        if ended.exit_code == KILLED {
            let why = format!("was killed: its container {} exited with {KILLED} (SIGKILL)", container.name);
            return Some(Self { why, hint: Some(NODE) });
        }
        let said = ended.message.as_deref().map(|text| format!(": {}", text.trim())).unwrap_or_default();
        let why =
            format!("terminated: its container {} exited with {}{said}", container.name, ended.exit_code);
        (ended.exit_code != 0).then(|| Self::plain(why))
    }
}

fn is_disruption(condition: &PodCondition) -> bool {
    condition.type_ == "DisruptionTarget" && condition.status == "True"
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
        let failed = |why: &str| PodState::Failed(End::plain(why.to_owned()));
        let waiting = |on: &str, stage: &str, hint| {
            let (on, stage) = (on.to_owned(), stage.to_owned());
            PodState::Waiting(Waiting { on, hint, stage, refused: false })
        };
        for (status, expected) in [
            (json!({ "containerStatuses": [container("c", running.clone())] }), PodState::Running),
            (
                json!({ "phase": "Failed", "initContainerStatuses": [gate] }),
                failed("terminated: its container gate exited with 2: still open"),
            ),
            (json!({ "phase": "Failed", "message": "evicted" }), failed("evicted")),
            (json!({ "phase": "Succeeded", "containerStatuses": [over] }), failed(UNEXPLAINED)),
            (Value::Null, waiting("has not been scheduled", "", None)),
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

    #[test]
    fn a_pod_that_was_killed_says_by_what() {
        let end = |metadata: Value, status: Value| {
            End::of(&serde_json::from_value(json!({ "metadata": metadata, "status": status })).unwrap())
        };
        let terminated = |code: i32, reason: &str| {
            let state = json!({ "terminated": { "exitCode": code, "reason": reason } });
            json!([{ "name": "c", "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state }])
        };
        let disrupted = json!([{ "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI", "message": "Eviction API: evicting" }]);
        let low = "The node was low on resource: memory.";
        for (status, why, hint) in [
            (
                json!({ "containerStatuses": terminated(137, "OOMKilled") }),
                "ran out of memory: its container c was killed (OOMKilled, exit code 137)",
                Some(MEMORY),
            ),
            (
                json!({ "phase": "Failed", "reason": "Evicted", "message": low, "containerStatuses": terminated(137, "Error") }),
                "was evicted: The node was low on resource: memory.",
                Some(EVICTED),
            ),
            (
                json!({ "phase": "Running", "conditions": disrupted, "containerStatuses": terminated(137, "Error") }),
                "was evicted: EvictionByEvictionAPI: Eviction API: evicting",
                Some(EVICTED),
            ),
            (
                json!({ "phase": "Failed", "containerStatuses": terminated(137, "Error") }),
                "was killed: its container c exited with 137 (SIGKILL)",
                Some(NODE),
            ),
            (
                json!({ "phase": "Failed", "reason": "DeadlineExceeded", "message": "Pod was active too long" }),
                "Pod was active too long",
                None,
            ),
        ] {
            assert_eq!(end(json!({}), status.clone()), Some(End { why: why.to_owned(), hint }), "{status}");
        }
        let running = json!({ "phase": "Running" });
        let deleted = end(json!({ "deletionTimestamp": "2026-11-21T08:22:44Z" }), running.clone()).unwrap();
        assert_eq!(
            (deleted.why.as_str(), deleted.hint),
            ("was deleted at 2026-11-21T08:22:44Z", Some(DELETED))
        );
        assert_eq!(end(json!({}), running), None);
    }
}
