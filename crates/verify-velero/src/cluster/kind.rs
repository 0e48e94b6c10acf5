//! The objects of one kind: read, listed, created, changed, removed.

use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Error, Result, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, EvictParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::NamespaceResourceScope;
use kube::{Api, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error;
use super::label::RUN;
use verify_drill::interrupt::{self, interrupted};
use verify_drill::runtime::{block_on, unless_interrupted};
use verify_drill::until::{Check, Pace, Waited, until};

/// Number of attempts of a request that is refused temporarily.
const ATTEMPTS: u32 = 5;

/// An API server, and how long it may take to answer.
#[derive(Clone, Debug)]
pub(super) struct Server {
    /// Its address, for errors.
    pub(super) url: Arc<str>,
    /// The longest time of one request.
    pub(super) request: Duration,
    /// The longest time without an answer, however often it is asked.
    pub(super) silence: Duration,
    /// True if it has not answered since a signal arrived: the rest of the clean-up does not wait for it again.
    silent: Arc<AtomicBool>,
}

impl Server {
    /// Longest time without an answer once a signal has arrived: the next run removes what stays.
    const CLEANUP: Duration = Duration::from_secs(5);

    pub(super) fn new(url: &str) -> Self {
        let (request, silence) = (Duration::from_secs(30), Duration::from_secs(60));
        Self { url: url.into(), request, silence, silent: Arc::default() }
    }

    /// The longest time without an answer at this moment.
    fn silence(&self) -> Duration {
        match (interrupt::asked(), self.silent.load(Ordering::Relaxed)) {
            (false, _) => self.silence,
            (true, false) => self.silence.min(Self::CLEANUP),
            (true, true) => Duration::ZERO,
        }
    }
}

/// The objects of one kind, in one namespace or in none.
#[derive(Clone)]
pub struct Kind<K> {
    api: Api<K>,
    server: Server,
}

impl<K> Kind<K> {
    pub(super) fn new(api: Api<K>, server: &Server) -> Self {
        Self { api, server: server.clone() }
    }

    /// The address of the API server.
    pub(super) fn server(&self) -> &str {
        &self.server.url
    }

    /// The API behind it, for what is not said in the methods here.
    pub(super) fn api(&self) -> &Api<K> {
        &self.api
    }
}

/// A kind of objects that live in namespaces.
pub trait Namespaced:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Serialize
{
}

impl<K> Namespaced for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Serialize
{
}

impl<K> Kind<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Serialize,
{
    /// The object of this name, if it exists.
    pub fn get(&self, name: &str) -> Result<Option<K>> {
        let doing = format!("read {}", Self::called(name));
        self.answer(&doing, || self.api.get_opt(name))
    }

    /// Returns the object of this name and, if `others`, all others, with one request.
    pub(crate) fn get_with(&self, name: &str, others: bool) -> Result<(Option<K>, Vec<K>)> {
        if !others {
            return Ok((self.get(name)?, Vec::new()));
        }
        let mut all = self.list("")?;
        let at = all.iter().position(|object| object.name_any() == name);
        Ok((at.map(|at| all.swap_remove(at)), all))
    }

    /// The objects that carry the labels of a selector; all for an empty one.
    pub fn list(&self, selector: &str) -> Result<Vec<K>> {
        let doing = format!("list the {}s", K::kind(&()));
        let params = ListParams::default().labels(selector);
        Ok(self.answer(&doing, || self.api.list(&params))?.items)
    }

    /// The same; none where the cluster does not know the kind.
    pub fn list_if_known(&self, selector: &str) -> Result<Vec<K>> {
        let doing = format!("list the {}s", K::kind(&()));
        let params = ListParams::default().labels(selector);
        let found = self.answer_unless(error::is_absent, &doing, || self.api.list(&params))?;
        Ok(found.map_or_else(Vec::new, |found| found.items))
    }

    /// Creates an object. One that is there already, with our own run's label, is ours: an answer was lost.
    pub fn create(&self, object: &K) -> Result<K> {
        let name = object.name_any();
        let doing = format!("create {}", Self::called(&name));
        let params = PostParams::default();
        match self.ask(&doing, || self.api.create(&params, object))? {
            Ok(created) => Ok(created),
            Err(refusal) if error::is_taken(&refusal) => match self.get(&name)? {
                Some(found)
                    if found.labels().get(RUN).is_some_and(|run| object.labels().get(RUN) == Some(run)) =>
                {
                    Ok(found)
                }
                _ => bail!(
                    "failed to {doing}: an object of this name already exists, created by another owner"
                ),
            },
            Err(refusal) => Err(error::describe(refusal, &doing, &self.server.url)),
        }
    }

    /// Merges fields into an object.
    pub fn merge(&self, name: &str, fields: &Value) -> Result<()> {
        let doing = format!("change {}", Self::called(name));
        let (params, patch) = (PatchParams::default(), Patch::Merge(fields));
        self.answer(&doing, || self.api.patch(name, &params, &patch)).map(drop)
    }

    /// Merges fields into an object, of which one is the version that was read; whether it still had that version.
    pub fn merge_unless_changed(&self, name: &str, fields: &Value) -> Result<bool> {
        let doing = format!("change {}", Self::called(name));
        let (params, patch) = (PatchParams::default(), Patch::Merge(fields));
        let changed = |refusal: &kube::Error| error::is_conflict(refusal) || error::is_absent(refusal);
        Ok(self.answer_unless(changed, &doing, || self.api.patch(name, &params, &patch))?.is_some())
    }

    /// Removes an object only as it was read: what has changed since may be decided otherwise.
    ///
    /// # Errors
    ///
    /// Also if it has changed.
    pub fn delete_as_read(&self, object: &K) -> Result<bool> {
        let read = Preconditions { uid: object.uid(), resource_version: object.resource_version() };
        self.delete_with(&object.name_any(), &DeleteParams::background().preconditions(read))
    }

    /// Removes an object; whether there was one. It may take its time to go.
    pub fn delete(&self, name: &str) -> Result<bool> {
        self.delete_with(name, &DeleteParams::background())
    }

    fn delete_with(&self, name: &str, params: &DeleteParams) -> Result<bool> {
        let doing = format!("remove {}", Self::called(name));
        Ok(self.answer_unless(error::is_absent, &doing, || self.api.delete(name, params))?.is_some())
    }

    fn called(name: &str) -> String {
        format!("the {} {name}", K::kind(&()))
    }
}

/// Result of an eviction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evicted {
    /// The pod is terminating, or was deleted already.
    Going,
    /// A disruption budget forbids it for now.
    Refused(String),
}

impl Kind<Pod> {
    /// Asks for a pod to be evicted, once.
    pub fn evict(&self, name: &str) -> Result<Evicted> {
        let doing = format!("evict the pod {name}");
        let params = EvictParams::default();
        let asked = async { tokio::time::timeout(self.server.request, self.api.evict(name, &params)).await };
        match block_on(unless_interrupted(asked))? {
            Ok(Ok(_)) => Ok(Evicted::Going),
            Ok(Err(refusal)) if error::is_absent(&refusal) => Ok(Evicted::Going),
            Ok(Err(refusal)) if error::is_passing(&refusal) => {
                Ok(Evicted::Refused(format!("{:#}", error::describe(refusal, &doing, &self.server.url))))
            }
            Ok(Err(refusal)) => Err(error::describe(refusal, &doing, &self.server.url)),
            Err(_) => Err(error::silent(self.server.request, &doing, &self.server.url)),
        }
    }
}

/// An object from the form that everybody writes it in.
pub fn object<K: DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).unwrap_or_else(|error| panic!("built an invalid object: {error}"))
}

impl<K> Kind<K> {
    /// Asks until there is an answer; a refusal is an error.
    pub(super) fn answer<T, F>(&self, doing: &str, question: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = Result<T, kube::Error>>,
    {
        self.ask(doing, question)?.map_err(|refusal| error::describe(refusal, doing, &self.server.url))
    }

    /// The same; `None` for a refusal that is not an error here.
    pub(super) fn answer_unless<T, F>(
        &self,
        expected: impl Fn(&kube::Error) -> bool,
        doing: &str,
        question: impl Fn() -> F,
    ) -> Result<Option<T>>
    where
        F: Future<Output = Result<T, kube::Error>>,
    {
        match self.ask(doing, question)? {
            Ok(answer) => Ok(Some(answer)),
            Err(refusal) if expected(&refusal) => Ok(None),
            Err(refusal) => Err(error::describe(refusal, doing, &self.server.url)),
        }
    }

    /// Asks until there is an answer, were it a refusal.
    pub(super) fn ask<T, F>(&self, doing: &str, question: impl Fn() -> F) -> Result<Result<T, kube::Error>>
    where
        F: Future<Output = Result<T, kube::Error>>,
    {
        let (began, silence, cleaning_up) = (Instant::now(), self.server.silence(), interrupt::asked());
        let mut attempts = 0;
        let stop = || !cleaning_up && interrupt::asked();
        let answered = until(silence, Pace::REMOTE, stop, || {
            let left = silence.saturating_sub(began.elapsed()).min(self.server.request);
            let asked = async { tokio::time::timeout(left, question()).await };
            attempts += 1;
            Ok::<_, Error>(match block_on(unless_interrupted(asked))? {
                Ok(Err(passing)) if attempts < ATTEMPTS && error::is_passing(&passing) => {
                    Check::Waiting(Some(passing))
                }
                Ok(answer) => Check::Done(answer),
                Err(_) => Check::Waiting(None),
            })
        })?;
        match answered {
            Waited::Done(answer) => Ok(answer),
            Waited::Stopped => Err(interrupted().into()),
            Waited::TimedOut(Some(refusal)) => Ok(Err(refusal)),
            Waited::TimedOut(None) => {
                self.server.silent.fetch_or(interrupt::asked(), Ordering::Relaxed);
                Err(error::silent(began.elapsed(), doing, &self.server.url))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::cluster::{Cluster, Unanswered};

    #[test]
    fn a_server_that_accepts_and_never_answers_is_named_after_a_bounded_time() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let server = Server {
            request: Duration::from_millis(100),
            silence: Duration::from_millis(300),
            ..Server::new(&url)
        };
        let began = Instant::now();
        let silent = Cluster::at(server).of::<Pod>("app").list("").unwrap_err();
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        assert!(silent.is::<Unanswered>());
        let text = format!("{silent:#}");
        let expected =
            format!("failed to list the Pods: the API server {url} does not answer: no answer within 0.");
        assert!(text.starts_with(&expected), "{text}");
    }
}
