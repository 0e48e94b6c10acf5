//! The probe's pod, from outside. It goes with this value, and its table with it.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;

use super::probe::{Begun, ProbeOrder};
use super::progress::Progress;
use super::record::Record;
use super::table::Stored;
use crate::agent::{Assembly, Message, Order, SIGN_OF_LIFE};
use crate::cluster::{AgentPod, End, Kind, PodState, Said, Session, TOOL, Waiting};
use verify_drill::hint::hinted;
use verify_drill::interrupt::{self, interrupted};
use verify_drill::until::{Check, Pace, Waited, until};
use verify_drill::watch::Watch;

/// Time limit for a pod to start.
const START_TIMEOUT: Duration = Duration::from_secs(120);
/// Longer than the agent itself tries.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);

/// The probe's pod.
pub(super) struct ProbePod<'a> {
    watch: &'a Watch<'a>,
    pods: Kind<Pod>,
    name: String,
    order: ProbeOrder,
    /// True if there may be a table to remove.
    begun: bool,
}

/// Progress of the probe, from its messages.
pub(super) struct Following {
    session: Session,
}

/// Data of the probe and the database after the drill.
pub(super) struct ReadBack {
    pub record: Record,
    pub stored: Vec<Stored>,
}

impl<'a> ProbePod<'a> {
    /// Creates the pod and waits until it runs.
    pub(super) fn create(
        pods: Kind<Pod>,
        pod: &AgentPod,
        order: ProbeOrder,
        watch: &'a Watch<'a>,
    ) -> Result<Self> {
        pods.create(&pod.pod())?;
        let made = Self { watch, pods, name: pod.name.clone(), order, begun: false };
        let runs = until(START_TIMEOUT, Pace::REMOTE, interrupt::asked, || {
            let pod = made.pods.get(&made.name)?.context("failed to start the probe: its pod was removed")?;
            match PodState::of(&pod) {
                PodState::Running => Ok(Check::Done(())),
                PodState::Failed(End { why, hint }) => {
                    Err(hinted(format!("failed to start the probe: its pod {} {why}", made.name), hint))
                }
                PodState::Waiting(waiting) => Ok(Check::Waiting(waiting)),
            }
        })?;
        match runs {
            Waited::Done(()) => Ok(made),
            Waited::Stopped => Err(interrupted().into()),
            Waited::TimedOut(Waiting { on, hint, .. }) => {
                let after = START_TIMEOUT.as_secs();
                Err(hinted(format!("failed to start the probe: after {after} s its pod {on}"), hint))
            }
        }
    }

    /// Starts the writers. The answer has the lead of the pod's clock.
    pub(super) fn begin(&mut self) -> Result<(Begun, SignedDuration)> {
        self.begun = true;
        let mut begun = None;
        self.converse(&Order::Probe(self.order.clone()), |message| {
            if let Message::Probing(answer) = message {
                let ahead = answer.now.duration_since(Timestamp::now());
                begun = Some((answer, ahead));
            }
            Ok(())
        })?;
        begun.context("failed to start the probe: no answer")
    }

    /// Listens to how it fares.
    pub(super) fn follow(&self) -> Result<Following> {
        let session = self.start(&Order::Follow(self.order.clone()))?;
        Ok(Following { session })
    }

    /// Ends the writers and reads everything back.
    pub(super) fn read_back(&self) -> Result<ReadBack> {
        let (mut assembly, mut stored) = (Assembly::default(), None);
        self.converse(&Order::ReadBack(self.order.clone()), |message| {
            match message {
                Message::Manifest(part) => assembly.take(&part)?,
                Message::Stored(spans) => stored = Some(spans),
                _ => {}
            }
            Ok(())
        })?;
        let file = assembly.finish(1)?.pop().unwrap_or_default();
        let text =
            String::from_utf8(file).context("failed to read the probe's record: it is not UTF-8 text")?;
        let stored = stored.context("failed to read the rows back: no answer")?;
        Ok(ReadBack { record: Record::parse(&text)?, stored })
    }

    /// Removes the table and the pod.
    fn remove(&self) -> Result<()> {
        let discarded = match self.begun {
            true => self.converse(&Order::Discard(self.order.clone()), |_| Ok(())),
            false => Ok(()),
        };
        self.pods.delete(&self.name)?;
        discarded
    }

    fn start(&self, order: &Order) -> Result<Session> {
        let session = Session::start(&self.pods, &self.name, &[TOOL, "agent", "work"])?;
        session.send(serde_json::to_string(order).context("failed to write an order")?)?;
        Ok(session)
    }

    /// Sends an order and receives the answers, to the last.
    fn converse(&self, order: &Order, mut take: impl FnMut(Message) -> Result<()>) -> Result<()> {
        let session = self.start(order)?;
        let go_on = serde_json::to_string(&Order::GoOn).context("failed to write an order")?;
        let began = Instant::now();
        while began.elapsed() < ANSWER_TIMEOUT {
            match session.next(SIGN_OF_LIFE) {
                Said::Line(line) => match Message::read(&line)? {
                    Message::Hello { .. } => {}
                    Message::Alive => session.send(go_on.clone())?,
                    Message::Done => return Ok(()),
                    Message::Failed(failure) => {
                        return Err(failure.into_error().context("failed to work with the probe"));
                    }
                    message => take(message)?,
                },
                Said::Nothing => session.send(go_on.clone())?,
                Said::Ended(reason) => bail!(
                    "failed to read the output of the pod {} to its end: {}\n{}",
                    self.name,
                    reason.unwrap_or_default(),
                    session.stderr()
                ),
            }
        }
        bail!("failed to read from the pod {}: no answer within {} s", self.name, ANSWER_TIMEOUT.as_secs())
    }
}

impl Drop for ProbePod<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            let table = self.order.table().name();
            self.watch.warn(format!(
                "the probe may have left its table {table} or its pod {} behind: {error:#}\nremove them with `state-lab \
                 cleanup` or by hand; the next drill drops the table",
                self.name
            ));
        }
    }
}

impl Following {
    /// The newest that it has said since it was last asked for; `None` where it said nothing.
    pub(super) fn newest(&self) -> Option<Progress> {
        let mut newest = None;
        while let Said::Line(line) = self.session.next(Duration::ZERO) {
            match serde_json::from_str(&line) {
                Ok(Message::Progress(progress)) => newest = Some(progress),
                Ok(Message::Failed(_) | Message::Done) | Err(_) => break,
                Ok(_) => {}
            }
        }
        newest
    }

    /// Says that somebody listens.
    pub(super) fn go_on(&self) {
        // A probe that gets no order sends no message either, which is noticed there.
        let _ = serde_json::to_string(&Order::GoOn).map(|line| self.session.send(line));
    }
}

/// Path of the record in the pod.
pub(super) fn record_path() -> std::path::PathBuf {
    Path::new(TOOL).with_file_name("probe.record")
}
