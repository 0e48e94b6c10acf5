//! What the API server answers when it refuses, in words.

use std::time::Duration;

use anyhow::{Error, anyhow};
use kube::core::Status;

/// The status of a refusal; `None` where the server did not answer at all.
pub(super) fn status(error: &kube::Error) -> Option<&Status> {
    match error {
        kube::Error::Api(status) => Some(status),
        _ => None,
    }
}

/// Whether the server says that there is no such object.
pub(super) fn is_absent(error: &kube::Error) -> bool {
    status(error).is_some_and(|status| status.code == 404)
}

/// Whether an object of this name is there already.
pub(super) fn is_taken(error: &kube::Error) -> bool {
    status(error).is_some_and(|status| status.code == 409 && status.reason == "AlreadyExists")
}

/// Whether the object has changed since it was read.
pub(super) fn is_conflict(error: &kube::Error) -> bool {
    status(error).is_some_and(|status| status.code == 409 && status.reason == "Conflict")
}

/// Whether the same question may be answered a moment later: no answer, or a server that is busy.
pub(super) fn is_passing(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => matches!(status.code, 429 | 500 | 502 | 503 | 504),
        kube::Error::HyperError(_) | kube::Error::Service(_) => true,
        _ => false,
    }
}

/// The error as people read it.
pub(super) fn told(error: kube::Error, doing: &str) -> Error {
    let said = match status(&error) {
        Some(status) if status.code == 403 => {
            anyhow!("{}: grant it; docs/velero.md lists what each command needs", status.message)
        }
        Some(status)
            if is_absent(&error) && status.message.contains("could not find the requested resource") =>
        {
            anyhow!("the cluster does not know this kind: is its operator installed, with its CRDs?")
        }
        Some(status) => anyhow!("{}", status.message),
        None => Error::new(error),
    };
    said.context(format!("failed to {doing}"))
}

/// The server did not answer.
pub(super) fn silent(after: Duration, doing: &str) -> Error {
    anyhow!("the API server did not answer within {} s", after.as_secs())
        .context(format!("failed to {doing}"))
}
