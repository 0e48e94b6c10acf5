//! Checks that a BackupStorageLocation can be used, with a readable reason.

use super::named;
use crate::velero::location::BackupStorageLocation;
use crate::velero::message::shown;
use crate::velero::object::Observed;
use verify_drill::problem::Problem;

/// Messages of the store's client, their meaning and a remedy.
const CAUSES: [(&str, &str, &str); 12] = [
    ("connection refused", "no server listens there", "start the store, or correct the location's s3Url"),
    ("no such host", "the cluster's DNS cannot resolve its name", "correct the location's s3Url, or the DNS"),
    (
        "no route to host",
        "there is no route to it",
        "check the network and the NetworkPolicies of Velero's namespace",
    ),
    ("i/o timeout", "it does not answer", "check the network and the NetworkPolicies of Velero's namespace"),
    ("deadline exceeded", "it does not answer in time", "check the network, and the load of the store"),
    ("x509", "its certificate is not trusted", "set the authority's certificate as the location's caCert"),
    ("NoSuchBucket", "there is no such bucket", "create the bucket, or correct its name"),
    (
        "InvalidAccessKeyId",
        "the access key does not exist in the store",
        "correct the secret that Velero uses",
    ),
    ("SignatureDoesNotMatch", "the secret key is wrong", "correct the secret that Velero uses"),
    ("RequestTimeTooSkewed", "the clocks differ by too much", "set the clocks of nodes and store"),
    (
        "AccessDenied",
        "the access key lacks permissions",
        "grant it list, read, write and delete on the bucket",
    ),
    ("StatusCode: 403", "the store refuses the access key", "check the key and its permissions"),
];

/// Returns why nothing can be written to or read from this location; `None` if it was available at Velero's last
/// validation.
pub fn location_problem(location: &BackupStorageLocation) -> Option<Problem> {
    let status = location.observed();
    if status.phase.is("Available") {
        return None;
    }
    let object = named(location);
    if !status.phase.is("Unavailable") {
        return Some(Problem::failure(object, "has never been validated by Velero").with_hint(
            "check that the Velero server is running, and that the location is in its namespace",
        ));
    }
    let place = shown(&location.spec.in_words());
    let cause = CAUSES.iter().find(|(sign, _, _)| status.message.contains(sign));
    Some(match cause {
        Some((sign, meaning, hint)) => {
            Problem::failure(object, format!("cannot use {place}: {meaning} ({sign})")).with_hint(*hint)
        }
        None => Problem::failure(object, format!("cannot use {place}: {}", shown(&status.message))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::velero::judge::location_problem;
    use crate::velero::phase::Phase;
    use crate::velero::sample;

    fn location(message: &str) -> BackupStorageLocation {
        let mut location: BackupStorageLocation = sample::load("BackupStorageLocation/Unavailable.1");
        location.status.get_or_insert_default().message = message.to_owned();
        location
    }

    #[test]
    fn an_available_location_is_no_problem_and_a_new_one_is() {
        let mut location: BackupStorageLocation = sample::load("BackupStorageLocation/Available.1");
        assert_eq!(location_problem(&location), None);
        location.status.get_or_insert_default().phase = Phase::default();
        let problem = location_problem(&location).unwrap();
        assert_eq!(problem.to_string(), "BackupStorageLocation default has never been validated by Velero");
    }

    #[test]
    fn messages_of_the_client_are_explained() {
        let unavailable: BackupStorageLocation = sample::load("BackupStorageLocation/Unavailable.1");
        let expected = Problem::failure(
            "BackupStorageLocation default",
            "cannot use bucket velero at http://10.89.0.254:9100: no server listens there (connection refused)",
        )
        .with_hint("start the store, or correct the location's s3Url");
        assert_eq!(location_problem(&unavailable), Some(expected));
        let table = [
            ("api error NoSuchBucket: no", "there is no such bucket (NoSuchBucket)"),
            ("StatusCode: 403, api error AccessDenied: x", "the access key lacks permissions (AccessDenied)"),
            ("StatusCode: 403, Forbidden", "the store refuses the access key (StatusCode: 403)"),
            ("something\u{1b}[2J\nelse", r"something\u{1b}[2J else"),
        ];
        for (message, meaning) in table {
            let what = location_problem(&location(message)).unwrap().what;
            assert_eq!(
                what,
                format!("cannot use bucket velero at http://10.89.0.254:9100: {meaning}"),
                "{message}"
            );
        }
    }

    #[test]
    fn every_cause_has_its_text() {
        let text =
            |(sign, _, _): &(&str, &str, &str)| location_problem(&location(sign)).unwrap().text_with_hint();
        let texts: Vec<String> = CAUSES.iter().map(text).collect();
        insta::assert_snapshot!(texts.join("\n"));
    }
}
