//! Texts of the API server's refusals.

use std::fmt;
use std::time::Duration;

use anyhow::{Error, anyhow};
use kube::core::Status;
use verify_drill::failure::{Kind, Known, within};

/// The status of a refusal; `None` where the server did not answer at all.
pub(super) fn status(error: &kube::Error) -> Option<&Status> {
    match error {
        kube::Error::Api(status) => Some(status),
        _ => None,
    }
}

/// Returns whether the server reports that the object does not exist.
pub(super) fn is_absent(error: &kube::Error) -> bool {
    status(error).is_some_and(|status| status.code == 404)
}

/// Returns whether an object of this name already exists.
pub(super) fn is_taken(error: &kube::Error) -> bool {
    status(error).is_some_and(|status| status.code == 409 && status.reason == "AlreadyExists")
}

/// Returns whether the object has changed since it was read.
pub(super) fn is_conflict(error: &kube::Error) -> bool {
    status(error).is_some_and(|status| status.code == 409 && status.reason == "Conflict")
}

/// Returns whether a retry may succeed a moment later: no answer, or a busy server.
pub(super) fn is_passing(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => matches!(status.code, 429 | 500 | 502 | 503 | 504),
        kube::Error::HyperError(_) | kube::Error::Service(_) => true,
        _ => false,
    }
}

/// The API server has not answered for a while. A caller that waits for something else can continue to wait.
#[derive(Debug)]
pub struct Unanswered {
    /// The API server's address.
    pub server: String,
}

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the API server {} does not answer", self.server)
    }
}

/// Recognises an error of the API server, or of the way to it.
pub fn recognise(error: &anyhow::Error) -> Option<Known> {
    let refusal = error.chain().find_map(|cause| cause.downcast_ref::<Refusal>());
    let ours = error.is::<Unanswered>()
        || refusal.is_some()
        || within::<kube::Error>(error)
        || within::<kube::config::KubeconfigError>(error);
    // A server that refuses was reached.
    let answered = || error.chain().any(|cause| matches!(cause.downcast_ref(), Some(kube::Error::Api(_))));
    let hint = match refusal {
        Some(refusal) => refusal.hint,
        None => (!answered()).then_some(NO_CLUSTER),
    };
    ours.then(|| Known { kind: Kind::Cluster, hint: hint.map(str::to_owned) })
}

const NO_CLUSTER: &str = "correct KUBECONFIG or --context: `kubectl get namespaces` with the same shows whether the API \
     server is reachable; --provider local needs no cluster";

/// The API server has refused a request.
#[derive(Debug)]
pub struct Refusal {
    message: String,
    pub hint: Option<&'static str>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Refusal {}

/// The error as it is reported.
pub(super) fn describe(error: kube::Error, doing: &str, server: &str) -> Error {
    let passing = is_passing(&error);
    let refusal = status(&error).map(|status| match status.message.as_str() {
        message if is_absent(&error) && message.contains("could not find the requested resource") => {
            Refusal {
                message: "the cluster does not have this kind".to_owned(),
                hint: Some("install the operator of this kind, with its CRDs"),
            }
        }
        message => Refusal { message: message.to_owned(), hint: hint(status.code, message) },
    });
    let said = refusal.map_or_else(|| Error::new(error), Error::new);
    let said = if passing { said.context(Unanswered { server: server.to_owned() }) } else { said };
    said.context(format!("failed to {doing}"))
}

/// The remedy for what the API server gives as its reason. Most refusals are "forbidden", and few of these by a role.
fn hint(code: u16, message: &str) -> Option<&'static str> {
    let by_role = code == 403 && message.contains(" cannot ");
    refusal_hint(message).or(match code {
        401 => Some("log in again: the API server does not accept the credentials of the kubeconfig or service account"),
        _ if by_role => Some("grant it: docs/velero.md lists the permissions of each command"),
        _ => None,
    })
}

/// The remedy for the reason why an object was not admitted, in the words of the API server's admission.
pub fn refusal_hint(message: &str) -> Option<&'static str> {
    let says = |text: &str| message.contains(text);
    Some(if says("exceeded quota") {
        "raise the namespace's ResourceQuota, or free some of it; `resources` in [velero] set what each pod requests"
    } else if says("failed quota") {
        "set `limits` and `requests` in [velero.resources]: the namespace's ResourceQuota requires those named"
    } else if says("usage per Container is") || says("usage per Pod is") || says("limit to request ratio") {
        "choose [velero.resources] within the namespace's LimitRange (`kubectl describe limitrange`)"
    } else if says("violates PodSecurity") {
        "set the namespace's pod security standard to `baseline` or `restricted`: state-lab's pods comply with both"
    } else if says("ValidatingAdmissionPolicy") || says("admission webhook") {
        "an admission policy of the cluster denies it, not a role: let that policy admit state-lab's objects (docs/velero.md)"
    } else if says("is being terminated") {
        "wait until the namespace is deleted, and run it again"
    } else {
        return None;
    })
}

/// The server did not answer.
pub(super) fn silent(after: Duration, doing: &str, server: &str) -> Error {
    anyhow!("no answer within {:.1} s", after.as_secs_f32())
        .context(Unanswered { server: server.to_owned() })
        .context(format!("failed to {doing}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_answer_is_distinguished_from_a_refusal() {
        let refusal = |code: u16| {
            let status =
                serde_json::json!({ "status": "Failure", "message": "no", "reason": "", "code": code });
            kube::Error::Api(serde_json::from_value(status).unwrap())
        };
        for (error, unanswered) in [
            (silent(Duration::from_secs(30), "read it", "s"), true),
            (describe(refusal(503), "read it", "s"), true),
            (describe(refusal(403), "read it", "s"), false),
        ] {
            assert_eq!(error.context("failed to wait").is::<Unanswered>(), unanswered);
        }
    }

    #[test]
    fn a_refusal_has_the_hint_of_its_reason() {
        for (code, message, hint) in [
            (
                403,
                "pods is forbidden: User \"u\" cannot create resource \"pods\" in API group \"\" in the namespace \"app\"",
                "grant it",
            ),
            (
                403,
                "pods \"p\" is forbidden: failed quota: q: must specify limits.cpu for: state-lab",
                "set `limits`",
            ),
            (
                403,
                "pods \"p\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=4, limited: pods=4",
                "raise the namespace's",
            ),
            (
                403,
                "pods \"p\" is forbidden: maximum memory usage per Container is 128Mi, but limit is 1Gi",
                "LimitRange",
            ),
            (
                403,
                "pods \"p\" is forbidden: violates PodSecurity \"restricted:latest\": seccompProfile",
                "`baseline` or `restricted`",
            ),
            (
                422,
                "pods \"p\" is invalid: : ValidatingAdmissionPolicy 'a' with binding 'b' denied request: no",
                "admission policy",
            ),
            (400, "admission webhook \"validate.kyverno.svc\" denied the request: no", "admission policy"),
            (403, "unable to create new content in namespace n because it is being terminated", "wait until"),
            (401, "Unauthorized", "log in again"),
            (404, "the server could not find the requested resource", "install the operator"),
            (404, "pods \"p\" not found", ""),
        ] {
            let status =
                serde_json::json!({ "status": "Failure", "message": message, "reason": "", "code": code });
            let error = kube::Error::Api(serde_json::from_value(status).unwrap());
            let error = describe(error, "create it", "s");
            let refusal = error.chain().find_map(|cause| cause.downcast_ref::<Refusal>()).unwrap();
            let found = refusal.hint.unwrap_or_default();
            assert!(found.contains(hint) && found.is_empty() == hint.is_empty(), "{message}: {found}");
        }
    }

    #[test]
    fn an_error_of_the_api_server_is_recognised_and_a_refusal_was_an_answer() {
        let kubeconfig = kube::config::KubeconfigError::CurrentContextNotSet;
        let status =
            serde_json::json!({ "status": "Failure", "message": "no", "reason": "Forbidden", "code": 403 });
        let refusal: Status = serde_json::from_value(status).unwrap();
        let silent = anyhow!("no answer").context(Unanswered { server: "https://s".to_owned() });
        for (error, hint) in [
            (kubeconfig.into(), "KUBECONFIG"),
            (silent, "kubectl get namespaces"),
            (kube::Error::Api(Box::new(refusal)).into(), ""),
        ] {
            let known = recognise(&error).unwrap();
            let found = known.hint.unwrap_or_default();
            assert_eq!(known.kind, Kind::Cluster, "{error:?}");
            assert!(found.contains(hint) && found.is_empty() == hint.is_empty(), "{error:?}: {found}");
        }
        assert_eq!(recognise(&anyhow!("no")), None);
    }
}
