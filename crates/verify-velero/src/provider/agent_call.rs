//! Work that runs in a pod, as its caller sees it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use k8s_openapi::api::core::v1::Pod;

use crate::agent::{Assembly, Message, Order, SIGN_OF_LIFE, SILENCE_MAX, Verified, parts};
use crate::cluster::{End, Kind, Said, Session, TOOL};
use verify_drill::backup_record::BackupRecord;
use verify_drill::hint::{Hinted, hinted};
use verify_drill::interrupt::{self, interrupted};
use verify_drill::until::{Check, Pace, Waited, until};
use verify_drill::watch::Watch;

/// Interval at which the request to stop is polled.
const POLL: Duration = Duration::from_millis(100);
/// Time without a message after which the silence is reported; agents send keepalives more often.
const SILENCE_REPORTED: Duration = Duration::from_secs(15);

/// Time limit for the cluster to report that a pod has terminated after its agent has.
const END_TIMEOUT: Duration = Duration::from_secs(5);
/// Text of the API server for a command that was killed.
const KILLED: &str = "exit code 137";
const MEMORY: &str = "it was killed, most likely because its node or its container ran out of memory: raise or remove the memory \
     `limits` in [velero.resources]";
const UNHEARD: &str = "check that the pod's node and the API server are running";

/// An agent at work. It stops when this value goes.
pub(super) struct AgentCall<'a> {
    session: Session,
    pods: Kind<Pod>,
    /// Its pod.
    pod: String,
    watch: &'a Watch<'a>,
    /// Answers that came while another one was awaited.
    answers: RefCell<VecDeque<Message>>,
}

impl<'a> AgentCall<'a> {
    /// Starts the work of an order in a pod.
    pub(super) fn start(pods: &Kind<Pod>, pod: &str, order: &Order, watch: &'a Watch<'a>) -> Result<Self> {
        let session = Session::start(pods, pod, &[TOOL, "agent", "work"])?;
        session.keep_sending(serde_json::to_string(&Order::GoOn)?, SIGN_OF_LIFE);
        let (pods, pod) = (pods.clone(), pod.to_owned());
        let call = Self { session, pods, pod, watch, answers: RefCell::default() };
        call.order(order)?;
        Ok(call)
    }

    /// Sends an order.
    pub(super) fn order(&self, order: &Order) -> Result<()> {
        self.session.send(serde_json::to_string(order)?)
    }

    /// Sends the files of manifests.
    pub(super) fn send_manifests(&self, files: &[Vec<u8>]) -> Result<()> {
        let all = files.iter().enumerate().flat_map(|(index, file)| parts(index, file));
        all.into_iter().try_for_each(|part| self.order(&Order::Manifest(part)))
    }

    /// Waits until every snapshot is fixed.
    pub(super) fn held(&self) -> Result<()> {
        match self.next()? {
            Message::Held => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Fails if the agent has. Its other messages are passed on, and its answers are kept.
    pub(super) fn check(&self) -> Result<()> {
        let done = || matches!(self.answers.borrow().back(), Some(Message::Done));
        while !done() {
            let Some(message) = self.next_message(Duration::ZERO)? else { return Ok(()) };
            if let Some(answer) = self.pass_on(message) {
                self.answers.borrow_mut().push_back(answer);
            }
        }
        Ok(())
    }

    /// Waits for the record and the files of its manifests, and for the end of the work.
    pub(super) fn backup(self) -> Result<(BackupRecord, Vec<Vec<u8>>)> {
        let record = match self.next()? {
            Message::Backup(record) => *record,
            other => return Err(unexpected(&other)),
        };
        let mut assembly = Assembly::default();
        loop {
            match self.next()? {
                Message::Manifest(part) => assembly.take(&part)?,
                Message::Done => break,
                other => return Err(unexpected(&other)),
            }
        }
        let files = assembly.finish(record.databases.len())?;
        // A manifest that arrives changed is not usable.
        for (database, file) in record.databases.iter().zip(&files) {
            database.open(file)?;
        }
        Ok((record, files))
    }

    /// Waits for what was found, and for the end of the work.
    pub(super) fn verified(self) -> Result<Verified> {
        let verified = match self.next()? {
            Message::Verified(verified) => *verified,
            other => return Err(unexpected(&other)),
        };
        match self.next()? {
            Message::Done => Ok(verified),
            other => Err(unexpected(&other)),
        }
    }

    /// The next message that is an answer.
    fn next(&self) -> Result<Message> {
        if let Some(answer) = self.answers.borrow_mut().pop_front() {
            return Ok(answer);
        }
        let mut received_at = Instant::now();
        let mut reported = false;
        loop {
            if (self.watch.asked)() {
                return Err(interrupted().into());
            }
            match self.next_message(POLL)? {
                Some(message) => {
                    (received_at, reported) = (Instant::now(), false);
                    if let Some(answer) = self.pass_on(message) {
                        return Ok(answer);
                    }
                }
                None if received_at.elapsed() > SILENCE_MAX => {
                    let why = format!("no message for {} s", SILENCE_MAX.as_secs());
                    let error = format!("stopped waiting for the agent in the pod {}: {why}", self.pod);
                    return Err(self.end().unwrap_or_else(|| Hinted::new(error, UNHEARD).into()));
                }
                None if !reported && received_at.elapsed() > SILENCE_REPORTED => {
                    self.watch.report(&format!("no message from the agent in the pod {}", self.pod));
                    reported = true;
                }
                None => {}
            }
        }
    }

    /// A message within some time.
    fn next_message(&self, timeout: Duration) -> Result<Option<Message>> {
        match self.session.next(timeout) {
            Said::Nothing => Ok(None),
            Said::Line(line) => match Message::read(&line)? {
                Message::Failed(failure) => Err(failure.into_error()),
                message => Ok(Some(message)),
            },
            Said::Ended(reason) => {
                let reason = reason.unwrap_or_else(|| "it terminated too early".to_owned());
                let said = self.session.stderr();
                let said = if said.is_empty() { said } else { format!("\n{said}") };
                let hint = reason.contains(KILLED).then_some(MEMORY);
                let error = format!("failed to run the agent in the pod {}: {reason}{said}", self.pod);
                Err(self.end().unwrap_or_else(|| hinted(error, hint)))
            }
        }
    }

    /// Returns why the pod no longer runs, if the cluster reports it within a moment.
    fn end(&self) -> Option<anyhow::Error> {
        let ended = until(END_TIMEOUT, Pace::REMOTE, interrupt::asked, || {
            let end = self.pods.get(&self.pod)?.map_or_else(|| Some(End::absent()), |pod| End::of(&pod));
            anyhow::Ok(end.map_or(Check::Waiting(()), Check::Done))
        });
        let Ok(Waited::Done(End { why, hint })) = ended else { return None };
        Some(hinted(format!("failed to run the agent: its pod {} {why}", self.pod), hint))
    }

    /// Reports steps and events; returns what is neither.
    fn pass_on(&self, message: Message) -> Option<Message> {
        match message {
            Message::Event(event) => (self.watch.sink)(event),
            Message::Hello { .. } | Message::Alive => {}
            answer => return Some(answer),
        }
        None
    }
}

fn unexpected(message: &Message) -> anyhow::Error {
    let kind = serde_json::to_value(message).ok();
    let kind = kind.as_ref().and_then(|kind| kind.as_object()?.keys().next()).cloned();
    anyhow!(
        "failed to follow the agent in the pod: unexpected message {}",
        kind.unwrap_or_else(|| "done".to_owned())
    )
}
