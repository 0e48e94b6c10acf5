//! What the API server answers when it refuses, in words.

use std::fmt;
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

/// The API server has not answered for a while. Whoever waits for something else can go on to wait.
#[derive(Debug)]
pub(crate) struct Unanswered {
    /// The API server's address.
    pub(crate) server: String,
}

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the API server {} does not answer", self.server)
    }
}

/// The error as people read it.
pub(super) fn told(error: kube::Error, doing: &str, server: &str) -> Error {
    let passing = is_passing(&error);
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
    let said = if passing { said.context(Unanswered { server: server.to_owned() }) } else { said };
    said.context(format!("failed to {doing}"))
}

/// The server did not answer.
pub(super) fn silent(after: Duration, doing: &str, server: &str) -> Error {
    anyhow!("no answer came within {:.1} s", after.as_secs_f32())
        .context(Unanswered { server: server.to_owned() })
        .context(format!("failed to {doing}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_failed_to_come_is_told_from_a_refusal() {
        let refusal = |code: u16| {
            let status =
                serde_json::json!({ "status": "Failure", "message": "no", "reason": "", "code": code });
            kube::Error::Api(serde_json::from_value(status).unwrap())
        };
        for (error, unanswered) in [
            (silent(Duration::from_secs(30), "read it", "s"), true),
            (told(refusal(503), "read it", "s"), true),
            (told(refusal(403), "read it", "s"), false),
        ] {
            assert_eq!(error.context("failed to wait").is::<Unanswered>(), unanswered);
        }
    }
}
