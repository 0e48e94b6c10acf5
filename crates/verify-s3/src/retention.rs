//! Object lock: for how long what we write may not be deleted.

use std::time::{Duration, SystemTime};

use anyhow::{Result, bail};
use aws_sdk_s3::types::{ObjectLockConfiguration, ObjectLockEnabled, ObjectLockRetentionMode};

use verify_drill::duration::Period;
use verify_drill::store::RetainMode;

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
    pub(crate) fn retention(
        &self,
        asked: Option<Period>,
        asked_mode: Option<RetainMode>,
        now: SystemTime,
    ) -> Result<Option<Retention>> {
        let Some(asked) = asked else { return Ok(None) };
        match self {
            Self::None => bail!(
                "the configuration retains evidence for {asked}, but the bucket has no object lock; create a bucket with \
                 object lock, or remove `retain`"
            ),
            Self::OnRequest => {
                let mode = mode_of(asked_mode.unwrap_or(RetainMode::Governance));
                Ok(Some(Retention { mode, until: now + asked.duration() }))
            }
            Self::ByDefault { mode, period } => {
                let is_strict = asked_mode.is_none_or(|asked| mode_of(asked) == *mode)
                    || *mode == ObjectLockRetentionMode::Compliance;
                if is_strict && *period >= asked.duration() {
                    return Ok(None);
                }
                // The bucket's own mode may be the stricter one, and its period the longer one.
                let mode = match asked_mode {
                    Some(asked) if !is_strict => mode_of(asked),
                    _ => mode.clone(),
                };
                Ok(Some(Retention { mode, until: now + asked.duration().max(*period) }))
            }
        }
    }
}

fn mode_of(mode: RetainMode) -> ObjectLockRetentionMode {
    match mode {
        RetainMode::Governance => ObjectLockRetentionMode::Governance,
        RetainMode::Compliance => ObjectLockRetentionMode::Compliance,
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
        let until = |mode, days| Some(Retention { mode, until: now + days * DAY });
        for (lock, asked, mode, expected) in [
            (BucketLock::None, None, None, None),
            (BucketLock::OnRequest, None, Some(RetainMode::Compliance), None),
            (BucketLock::OnRequest, week, None, until(Governance, 7)),
            (BucketLock::OnRequest, week, Some(RetainMode::Compliance), until(Compliance, 7)),
            (by_default(Governance, 7), week, None, None),
            (by_default(Governance, 7), week, Some(RetainMode::Governance), None),
            (by_default(Governance, 30), week, Some(RetainMode::Compliance), until(Compliance, 30)),
            (by_default(Governance, 6), week, Some(RetainMode::Compliance), until(Compliance, 7)),
            (by_default(Compliance, 30), week, Some(RetainMode::Governance), None),
            (by_default(Compliance, 6), week, Some(RetainMode::Governance), until(Compliance, 7)),
            (by_default(Compliance, 6), week, None, until(Compliance, 7)),
        ] {
            assert_eq!(lock.retention(asked, mode, now).unwrap(), expected, "{lock:?} {mode:?}");
        }
        let refused = BucketLock::None.retention(week, None, now).unwrap_err().to_string();
        assert!(refused.contains("retains evidence for 7d, but the bucket has no object lock"), "{refused}");
    }
}
