//! What `doctor` judges of a bucket: its rules of deletion, its encryption, whether its objects can be deleted.

use anyhow::Result;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::get_bucket_lifecycle_configuration::GetBucketLifecycleConfigurationOutput as Configuration;
use aws_sdk_s3::types::{BucketVersioningStatus, ExpirationStatus, LifecycleRule, LifecycleRuleFilter};
use verify_doctor::facts::bucket::{Bucket as Facts, ExpirationRule, Holds};
use verify_doctor::{Fact, Missing};
use verify_drill::runtime::{block_on, unless_interrupted};
use verify_drill::store::Location;

use super::Bucket;
use super::failure::Failure;
use super::retention::BucketLock;

/// Looks at the bucket of a location. What the service refuses is no error, but a missing fact.
///
/// # Errors
///
/// If no client can be made for it.
pub fn posture(name: String, location: &Location, holds: Holds) -> Result<Facts> {
    let bucket = Bucket::open(location)?;
    let (client, id) = (&bucket.client, &location.bucket);
    let prefix = match location.prefix.trim_matches('/') {
        "" => String::new(),
        prefix => format!("{prefix}/"),
    };
    let lifecycle = client.get_bucket_lifecycle_configuration().bucket(id);
    let lifecycle = answered(
        block_on(unless_interrupted(lifecycle.send()))?,
        "NoSuchLifecycleConfiguration",
        "s3:GetLifecycleConfiguration",
    );
    let encryption = client.get_bucket_encryption().bucket(id);
    let encryption = answered(
        block_on(unless_interrupted(encryption.send()))?,
        "ServerSideEncryptionConfigurationNotFoundError",
        "s3:GetEncryptionConfiguration",
    );
    let versioning = client.get_bucket_versioning().bucket(id);
    let versioning =
        answered(block_on(unless_interrupted(versioning.send()))?, "-", "s3:GetBucketVersioning");
    let lock = client.get_object_lock_configuration().bucket(id);
    let lock = answered(
        block_on(unless_interrupted(lock.send()))?,
        "ObjectLockConfigurationNotFoundError",
        "s3:GetBucketObjectLockConfiguration",
    );
    Ok(Facts {
        name,
        prefix,
        holds,
        lifecycle: lifecycle
            .map(|found| found.iter().flat_map(Configuration::rules).filter_map(expiration).collect()),
        is_encrypted: encryption.map(|found| {
            let configuration = found.as_ref().and_then(|found| found.server_side_encryption_configuration());
            configuration.is_some_and(|configuration| !configuration.rules().is_empty())
        }),
        is_versioned: versioning
            .map(|found| found.is_some_and(|found| found.status() == Some(&BucketVersioningStatus::Enabled))),
        is_locked: lock.map(|found| {
            let configuration = found.as_ref().and_then(|found| found.object_lock_configuration());
            BucketLock::of(configuration) != BucketLock::None
        }),
    })
}

/// The answer; none where the bucket has no such configuration.
fn answered<T, E>(answer: Result<T, SdkError<E, HttpResponse>>, none: &str, right: &str) -> Fact<Option<T>>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let failure = match answer {
        Ok(found) => return Ok(Some(found)),
        Err(error) => Failure::new(&error),
    };
    match failure.code() {
        Some(code) if code == none => Ok(None),
        Some("NotImplemented" | "MethodNotAllowed") => {
            Err(Missing::not_applicable("the service does not know such a configuration"))
        }
        Some("AccessDenied" | "AccessDeniedException" | "Forbidden") => {
            Err(Missing::unknown(failure.to_string(), right))
        }
        _ => Err(Missing::unknown(failure.to_string(), "a bucket that can be reached from here")),
    }
}

/// The rule, if it deletes current objects.
fn expiration(rule: &LifecycleRule) -> Option<ExpirationRule> {
    let expiration = rule.expiration().filter(|_| *rule.status() == ExpirationStatus::Enabled)?;
    // A rule with neither removes delete markers alone.
    let days = match (expiration.days(), expiration.date()) {
        (Some(days), _) => u32::try_from(days).unwrap_or_default(),
        (None, Some(_)) => 0,
        (None, None) => return None,
    };
    let filter = rule.filter();
    let prefix = filter.and_then(LifecycleRuleFilter::prefix);
    let and = || filter.and_then(LifecycleRuleFilter::and).and_then(|and| and.prefix());
    #[expect(deprecated, reason = "older rules have their prefix there")]
    let prefix = prefix.or_else(and).or(rule.prefix()).unwrap_or_default();
    Some(ExpirationRule {
        name: rule.id().unwrap_or("without a name").to_owned(),
        prefix: prefix.to_owned(),
        days,
    })
}
