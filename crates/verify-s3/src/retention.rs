//! Object lock: for how long what we write may not be deleted.

use std::time::{Duration, SystemTime};

use anyhow::{Result, bail};
use aws_sdk_s3::types::{ObjectLockConfiguration, ObjectLockEnabled, ObjectLockRetentionMode};

use verify_drill::duration::Period;

const DAY: Duration = Duration::from_secs(86_400);

/// Object lock of a bucket for an object without a retention.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BucketLock {
    /// No object lock.
    None,
    /// Object lock without a default retention.
    OnRequest,
    /// Default retention of every new object.
    ByDefault { mode: ObjectLockRetentionMode, period: Duration },
}

/// Retention to request for an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Retention {
    pub(crate) mode: ObjectLockRetentionMode,
    pub(crate) until: SystemTime,
}

impl BucketLock {
    /// Reads what the service answered.
    pub(crate) fn of(configuration: Option<&ObjectLockConfiguration>) -> Self {
        let enabled =
            configuration.filter(|found| found.object_lock_enabled() == Some(&ObjectLockEnabled::Enabled));
        let Some(configuration) = enabled else { return Self::None };
        let Some(default) = configuration.rule().and_then(|rule| rule.default_retention()) else {
            return Self::OnRequest;
        };
        let count = |number: Option<i32>| u32::try_from(number.unwrap_or(0)).unwrap_or(0);
        let period = DAY * count(default.days()) + DAY * 365 * count(default.years());
        let mode = default.mode().cloned().unwrap_or(ObjectLockRetentionMode::Governance);
        Self::ByDefault { mode, period }
    }

    /// Returns the retention to request so that an object is kept as long as `asked`; `None` if the bucket's default
    /// suffices.
    pub(crate) fn retention(&self, asked: Option<Period>, now: SystemTime) -> Result<Option<Retention>> {
        let Some(asked) = asked else { return Ok(None) };
        let retention = |mode| Ok(Some(Retention { mode, until: now + asked.duration() }));
        match self {
            Self::None => bail!(
                "the configuration retains evidence for {asked}, but the bucket has no object lock; create a bucket with \
                 object lock, or remove `retain`"
            ),
            Self::OnRequest => retention(ObjectLockRetentionMode::Governance),
            Self::ByDefault { period, .. } if *period >= asked.duration() => Ok(None),
            // The bucket's own mode may be the stricter one.
            Self::ByDefault { mode, .. } => retention(mode.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_s3::types::{DefaultRetention, ObjectLockRule};

    fn by_default(mode: ObjectLockRetentionMode, days: u32) -> BucketLock {
        BucketLock::ByDefault { mode, period: DAY * days }
    }

    #[test]
    fn what_a_bucket_does_is_read_from_its_configuration() {
        use ObjectLockRetentionMode::Compliance;
        let enabled = || ObjectLockConfiguration::builder().object_lock_enabled(ObjectLockEnabled::Enabled);
        let rule = |default| ObjectLockRule::builder().default_retention(default).build();
        let default = DefaultRetention::builder().mode(Compliance);
        assert_eq!(BucketLock::of(None), BucketLock::None);
        assert_eq!(BucketLock::of(Some(&ObjectLockConfiguration::builder().build())), BucketLock::None);
        assert_eq!(BucketLock::of(Some(&enabled().build())), BucketLock::OnRequest);
        for (default, days) in [(default.clone().days(30), 30), (default.years(2), 730)] {
            let found = BucketLock::of(Some(&enabled().rule(rule(default.build())).build()));
            assert_eq!(found, by_default(Compliance, days));
        }
    }

    #[test]
    fn evidence_is_kept_as_long_as_asked_and_never_less_strictly_than_the_bucket_would() {
        use ObjectLockRetentionMode::{Compliance, Governance};
        let now = SystemTime::UNIX_EPOCH;
        let week = Some(Period::from_ms(7 * 86_400_000));
        let until = |mode| Some(Retention { mode, until: now + 7 * DAY });
        for (lock, asked, expected) in [
            (BucketLock::None, None, None),
            (BucketLock::OnRequest, None, None),
            (BucketLock::OnRequest, week, until(Governance)),
            (by_default(Governance, 7), week, None),
            (by_default(Compliance, 30), week, None),
            (by_default(Compliance, 6), week, until(Compliance)),
        ] {
            assert_eq!(lock.retention(asked, now).unwrap(), expected, "{lock:?}");
        }
        let refused = BucketLock::None.retention(week, now).unwrap_err().to_string();
        assert!(refused.contains("retains evidence for 7d, but the bucket has no object lock"), "{refused}");
    }
}
