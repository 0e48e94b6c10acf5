//! Watching a cluster and the probe while the drill goes on: what changes, and when.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use anyhow::Result;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::probe_pod::{Following, ProbePod};
use super::progress::Progress;
use super::sample::Sample;
use super::target::DrillTarget;
use crate::cluster::Cluster;
use verify_drill::interrupt::{self, interrupted};
use verify_drill::until::{Check, Pace, Waited, until};
use verify_drill::watch::Watch;

/// Always a second: what changes is reported with its time.
const PACE: Pace = Pace { most: Pace::REMOTE.least, ..Pace::REMOTE };
/// Time without a message after which a probe counts as disconnected.
const SILENCE_MAX: Duration = Duration::from_secs(3);

/// Something that changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Change {
    #[schemars(with = "String")]
    pub at: Timestamp,
    pub what: String,
}

/// The watch over a cluster and the probe.
pub(super) struct Watching<'a> {
    cluster: &'a Cluster,
    target: &'a DrillTarget,
    node: &'a str,
    watch: &'a Watch<'a>,
    following: Option<Following>,
    last_message_at: Instant,
    pub progress: Progress,
    /// The newest sample.
    pub now: Sample,
    pub changes: Vec<Change>,
    /// Time at which the primary last moved or was restarted.
    pub primary_changed_at: Option<Timestamp>,
}

impl<'a> Watching<'a> {
    /// Begins.
    pub(super) fn begin(
        cluster: &'a Cluster,
        target: &'a DrillTarget,
        node: &'a str,
        probe: &ProbePod<'_>,
        watch: &'a Watch<'a>,
    ) -> Result<Self> {
        Ok(Self {
            cluster,
            target,
            node,
            watch,
            following: Some(probe.follow()?),
            last_message_at: Instant::now(),
            progress: Progress::default(),
            now: Sample::take(cluster, target, node)?,
            changes: Vec::new(),
            primary_changed_at: None,
        })
    }

    /// Returns whether the probe is reachable.
    pub(super) fn is_connected(&self) -> bool {
        self.last_message_at.elapsed() < SILENCE_MAX
    }

    /// Reconnects to the probe after the connection was lost.
    pub(super) fn listen_again(&mut self, probe: &ProbePod<'_>) {
        if !self.is_connected() {
            self.following = probe.follow().ok();
        }
    }

    /// Watches until `over`, or for this long; returns whether it was over.
    ///
    /// # Errors
    ///
    /// If the user wants to stop. An API server that does not answer for once is asked again.
    pub(super) fn until(&mut self, timeout: Duration, over: impl Fn(&Self) -> bool) -> Result<bool> {
        let waited = until(timeout, PACE, interrupt::asked, || {
            self.poll();
            Ok::<_, Infallible>(if over(self) { Check::Done(()) } else { Check::Waiting(()) })
        });
        match waited {
            Ok(Waited::Done(())) => Ok(true),
            Ok(Waited::TimedOut(())) => Ok(false),
            Ok(Waited::Stopped) => Err(interrupted().into()),
        }
    }

    /// Watches for so long.
    pub(super) fn rest(&mut self, period: Duration) -> Result<()> {
        self.until(period, |_| false).map(drop)
    }

    fn poll(&mut self) {
        if let Some(following) = &self.following {
            following.go_on();
            if let Some(progress) = following.newest() {
                self.progress = progress;
                self.last_message_at = Instant::now();
            }
        }
        let Ok(now) = Sample::take(self.cluster, self.target, self.node) else { return };
        let at = Timestamp::now();
        for what in self.now.changes_to(&now) {
            self.watch.report(&what);
            self.changes.push(Change { at, what });
        }
        if self.now.primary != now.primary {
            self.primary_changed_at = Some(at);
        }
        self.now = now;
    }
}
