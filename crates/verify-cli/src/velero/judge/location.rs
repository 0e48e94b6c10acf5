//! Whether a place for backups can be used, in words that a tired person understands.

use super::named;
use crate::velero::location::BackupStorageLocation;
use crate::velero::message::shown;
use crate::velero::problem::Problem;

/// What the store's client says, and what it means.
const CAUSES: [(&str, &str, &str); 12] = [
    ("connection refused", "nothing listens there", "start the store, or correct the location's s3Url"),
    ("no such host", "its name is unknown to the cluster's DNS", "correct the location's s3Url, or the DNS"),
    (
        "no route to host",
        "there is no way to it",
        "look at the network and at NetworkPolicies of Velero's namespace",
    ),
    ("i/o timeout", "it does not answer", "look at the network and at NetworkPolicies of Velero's namespace"),
    ("deadline exceeded", "it does not answer in time", "look at the network, and at how busy the store is"),
    ("x509", "its certificate is not trusted", "put the authority's certificate into the location's caCert"),
    ("NoSuchBucket", "there is no such bucket", "create the bucket, or correct its name"),
    ("InvalidAccessKeyId", "the store does not know the access key", "correct the secret that Velero uses"),
    ("SignatureDoesNotMatch", "the secret key is wrong", "correct the secret that Velero uses"),
    ("RequestTimeTooSkewed", "the clocks differ by too much", "set the clocks of nodes and store"),
    (
        "AccessDenied",
        "the access key may not use it",
        "grant it to list, read, write and delete in the bucket",
    ),
    ("StatusCode: 403", "the store refuses the access key", "look at the key, and at what it may do"),
];

/// Why nothing can be kept at or read from this location; none if it was available when Velero last looked.
pub(crate) fn location_problem(location: &BackupStorageLocation) -> Option<Problem> {
    let status = &location.status;
    if status.phase.is("Available") {
        return None;
    }
    let object = named(location);
    if !status.phase.is("Unavailable") {
        return Some(
            Problem::failure(object, "was never looked at by Velero")
                .way_out("look whether the Velero server runs, and whether the location is in its namespace"),
        );
    }
    let place = shown(&location.spec.in_words());
    let cause = CAUSES.iter().find(|(sign, _, _)| status.message.contains(sign));
    Some(match cause {
        Some((sign, meaning, way_out)) => {
            Problem::failure(object, format!("cannot use {place}: {meaning} ({sign})")).way_out(*way_out)
        }
        None => Problem::failure(object, format!("cannot use {place}: {}", shown(&status.message))),
    })
}
