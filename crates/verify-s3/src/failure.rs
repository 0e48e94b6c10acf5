//! Error of a service, with a hint.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use verify_drill::failure::{Kind, Known};

/// A request that failed.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The service's own word for it, or the status of its answer where it gave none.
    code: Option<String>,
    status: Option<u16>,
    message: String,
    /// True if the request may have been executed nevertheless.
    unsure: bool,
}

impl Failure {
    pub(crate) fn new<E>(error: &SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let status = error.raw_response().map(|response| response.status().as_u16());
        if let SdkError::ServiceError(answer) = error {
            let code = answer.err().code().map(str::to_owned);
            let message = answer.err().message().unwrap_or_default().to_owned();
            return Self { unsure: status.is_some_and(|status| status >= 500), code, status, message };
        }
        let sent = !matches!(error, SdkError::ConstructionFailure(_));
        Self { code: None, status, message: causes(error), unsure: sent }
    }

    /// An answer that broke off.
    pub(crate) fn broken(error: &(dyn Error + 'static)) -> Self {
        Self { code: None, status: None, message: causes(error), unsure: true }
    }

    /// An answer whose bytes stopped arriving.
    pub(crate) fn silent(done: u64, after: Duration) -> Self {
        let message = format!("no byte arrived for {} s, after {done} of the object", after.as_secs_f32());
        Self { code: None, status: None, message, unsure: true }
    }

    /// Error for a bucket that does not exist, if the service's answer had no text.
    pub(crate) fn no_such_bucket(bucket: &str) -> Self {
        let message = format!("there is no bucket {bucket:?}");
        Self { code: Some("NoSuchBucket".to_owned()), status: Some(404), message, unsure: false }
    }

    /// Returns whether the object does not exist. A bucket that is not there is something else.
    pub(crate) fn is_absence(&self) -> bool {
        self.status == Some(404) && self.code.as_deref() != Some("NoSuchBucket")
    }

    /// Returns whether the condition of a conditional request did not hold.
    pub(crate) fn is_condition(&self) -> bool {
        self.status == Some(412)
    }

    /// Returns whether another request for the same object was in progress.
    pub(crate) fn is_conflict(&self) -> bool {
        self.status == Some(409)
            && matches!(self.code.as_deref(), Some("ConditionalRequestConflict" | "OperationAborted"))
    }

    /// Returns whether a retry may succeed, and whether this request may have been executed.
    pub(crate) fn is_passing(&self) -> bool {
        self.unsure || self.is_conflict() || self.status == Some(429)
    }

    pub(crate) fn is_unsure(&self) -> bool {
        self.unsure
    }

    pub(crate) fn code(&self) -> Option<&str> {
        self.code.as_deref()
    }

    /// Hint for a failure of this kind, if there is one.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        let refused = "the credentials lack a permission, or the bucket's policy denies it: docs/s3.md lists what is needed";
        Some(match (self.code.as_deref(), self.status) {
            (Some("NoSuchBucket"), _) => {
                "check the bucket's name, and that the endpoint or region is that of the bucket"
            }
            (
                Some(
                    "InvalidAccessKeyId"
                    | "SignatureDoesNotMatch"
                    | "InvalidToken"
                    | "AuthorizationHeaderMalformed",
                ),
                _,
            ) => {
                "check that the credentials are those of this service (AWS_PROFILE, or AWS_ACCESS_KEY_ID and \
                 AWS_SECRET_ACCESS_KEY), and the region that of the bucket"
            }
            (Some("ExpiredToken"), _) => "the credentials have expired: log in again",
            (Some("RequestTimeTooSkewed"), _) => "the clock of this machine or of the service is wrong",
            (Some("PermanentRedirect" | "IllegalLocationConstraintException"), _) | (None, Some(301)) => {
                "the bucket is in another region: set `region`"
            }
            (Some("AccessDenied"), _) | (None, Some(403)) => refused,
            (None, None) if self.message.contains("credential") => {
                "no credentials were found: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            }
            (None, None) if self.message.contains("certificate") => {
                "if the endpoint's certificate is signed by a private authority, set its PEM file as `ca_file`"
            }
            (None, None) => {
                "check that the endpoint is right, and reachable from this machine; a proxy may be set in HTTPS_PROXY or NO_PROXY"
            }
            _ => return None,
        })
    }
}

/// Recognises an error of a service.
pub fn recognise(error: &anyhow::Error) -> Option<Known> {
    let failure = error.chain().find_map(|cause| cause.downcast_ref::<Failure>())?;
    Some(Known { kind: Kind::ObjectStore, hint: failure.hint().map(str::to_owned) })
}

impl fmt::Display for Failure {
    /// `AccessDenied: Access Denied.`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.code, self.status) {
            (Some(code), _) => f.write_str(code)?,
            (None, Some(403)) => f.write_str("HTTP status 403, forbidden")?,
            (None, Some(status)) => write!(f, "HTTP status {status}")?,
            (None, None) => return f.write_str(&self.message),
        }
        if self.message.is_empty() { Ok(()) } else { write!(f, ": {}", self.message) }
    }
}

impl Error for Failure {}

/// Layers of the client that say nothing.
const NOISE: [&str; 5] = ["dispatch failure", "io error", "other", "service error", "client error (Connect)"];

/// Returns the causes of an error, the innermost last, without repetitions.
fn causes(error: &(dyn Error + 'static)) -> String {
    let mut texts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(cause) = next {
        let text = cause.to_string();
        // An outer one may quote an inner one.
        if !texts.iter().any(|known| known.contains(&text)) {
            texts.push(text);
        }
        next = cause.source();
    }
    let informative = |text: &&String| !NOISE.contains(&text.as_str());
    match texts.iter().filter(informative).cloned().collect::<Vec<_>>() {
        nothing if nothing.is_empty() => texts.join(": "),
        informative => informative.join(": "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_causes_of_an_error_are_named_once_and_without_empty_layers() {
        let inner = anyhow::anyhow!("Connection refused").context("tcp connect error");
        let error = inner.context("io error").context("io error").context("dispatch failure");
        assert_eq!(causes(error.as_ref()), "tcp connect error: Connection refused");
        assert_eq!(
            causes(anyhow::anyhow!("other").context("dispatch failure").as_ref()),
            "dispatch failure: other"
        );
    }

    fn answer(code: Option<&str>, status: Option<u16>, message: &str) -> Failure {
        Failure { code: code.map(str::to_owned), status, message: message.to_owned(), unsure: false }
    }

    #[test]
    fn an_answer_has_the_message_of_the_service_and_a_hint() {
        for (code, status, message, shown, hint) in [
            (Some("AccessDenied"), Some(403), "Access Denied.", "AccessDenied: Access Denied.", "docs/s3.md"),
            (None, Some(403), "", "HTTP status 403, forbidden", "docs/s3.md"),
            (
                Some("NoSuchBucket"),
                Some(404),
                "The bucket does not exist",
                "NoSuchBucket: The bucket does not exist",
                "bucket's name",
            ),
            (Some("SignatureDoesNotMatch"), Some(403), "", "SignatureDoesNotMatch", "that the credentials"),
            (
                None,
                None,
                "dispatch failure: connection refused",
                "dispatch failure: connection refused",
                "reachable",
            ),
            (
                None,
                None,
                "invalid peer certificate: UnknownIssuer",
                "invalid peer certificate: UnknownIssuer",
                "ca_file",
            ),
        ] {
            let failure = answer(code, status, message);
            assert_eq!(failure.to_string(), shown);
            assert!(failure.hint().unwrap().contains(hint), "{shown}: {:?}", failure.hint());
        }
        assert_eq!(answer(Some("EntityTooLarge"), Some(400), "").hint(), None);
    }

    #[test]
    fn an_absent_object_an_absent_bucket_and_a_taken_name_are_distinguished() {
        let absent = answer(Some("NoSuchKey"), Some(404), "");
        assert!(absent.is_absence() && answer(None, Some(404), "").is_absence());
        assert!(!answer(Some("NoSuchBucket"), Some(404), "").is_absence());
        assert!(answer(Some("PreconditionFailed"), Some(412), "").is_condition());
        assert!(answer(Some("ConditionalRequestConflict"), Some(409), "").is_passing());
        assert!(!answer(Some("BucketNotEmpty"), Some(409), "").is_passing());
        assert!(!answer(Some("AccessDenied"), Some(403), "").is_passing());
    }
}
