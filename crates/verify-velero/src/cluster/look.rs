//! Objects of any kind as JSON, for whoever only looks: what may not be read is no error, but a missing fact.

use anyhow::Result;
use http::Request;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, ListParams};
use serde_json::Value;
use verify_doctor::{Fact, Missing};

use super::client::Cluster;
use super::error;
use super::kind::Kind;

/// A kind of objects.
#[derive(Clone, Copy, Debug)]
pub struct Looked {
    /// Group and version: `apps/v1`, or `v1` of the core.
    pub api: &'static str,
    pub kind: &'static str,
    pub plural: &'static str,
}

impl Looked {
    fn resource(&self) -> ApiResource {
        let (group, version) = self.api.split_once('/').unwrap_or(("", self.api));
        ApiResource {
            group: group.to_owned(),
            version: version.to_owned(),
            api_version: self.api.to_owned(),
            kind: self.kind.to_owned(),
            plural: self.plural.to_owned(),
        }
    }

    /// The resource as a role names it: `schedules.velero.io`.
    fn right(&self) -> String {
        match self.api.split_once('/') {
            Some((group, _)) => format!("{}.{group}", self.plural),
            None => self.plural.to_owned(),
        }
    }
}

impl Cluster {
    /// All objects of a kind, in one namespace or in all.
    ///
    /// # Errors
    ///
    /// If the API server does not answer.
    pub fn look(&self, looked: &Looked, namespace: Option<&str>) -> Result<Fact<Vec<Value>>> {
        let objects = self.any(looked, namespace);
        let params = ListParams::default();
        let doing = format!("list the {}", looked.plural);
        let answer = objects.ask(&doing, || objects.api().list(&params))?;
        let listed =
            answered(answer, &doing, objects.server(), || format!("list on {}", looked.right()), looked)?;
        Ok(listed.map(|listed| listed.items.into_iter().map(json).collect()))
    }

    /// The object of this name, where there is one.
    ///
    /// # Errors
    ///
    /// If the API server does not answer.
    pub fn look_at(&self, looked: &Looked, namespace: &str, name: &str) -> Result<Fact<Option<Value>>> {
        let objects = self.any(looked, Some(namespace));
        let doing = format!("read the {} {name}", looked.kind);
        let answer = objects.ask(&doing, || objects.api().get_opt(name))?;
        let right = || format!("get on {} {name} in {namespace}", looked.right());
        let found = answered(answer, &doing, objects.server(), right, looked)?;
        Ok(found.map(|found| found.map(json)))
    }

    /// What the kubelet of a node reports of its pods' volumes.
    ///
    /// # Errors
    ///
    /// If the API server does not answer.
    pub fn look_at_kubelet(&self, node: &str) -> Result<Fact<Value>> {
        let looked = Looked { api: "v1", kind: "Node", plural: "nodes" };
        let nodes = self.any(&looked, None);
        let doing = format!("read the statistics of the node {node}");
        let path = format!("/api/v1/nodes/{node}/proxy/stats/summary");
        let question = || async {
            let request = Request::get(&path).body(Vec::new()).map_err(kube::Error::HttpError)?;
            nodes.api().clone().into_client().request::<Value>(request).await
        };
        let answer = nodes.ask(&doing, question)?;
        answered(answer, &doing, nodes.server(), || "get on nodes/proxy".to_owned(), &looked)
    }

    fn any(&self, looked: &Looked, namespace: Option<&str>) -> Kind<DynamicObject> {
        let resource = looked.resource();
        let api = match namespace {
            Some(namespace) => Api::namespaced_with(self.client(), namespace, &resource),
            None => Api::all_with(self.client(), &resource),
        };
        Kind::new(api, self.server())
    }
}

/// The object as the API server sent it.
fn json(object: DynamicObject) -> Value {
    serde_json::to_value(object).unwrap_or_default()
}

/// An answer: what was read, a missing right or kind, or an error.
fn answered<T>(
    answer: Result<T, kube::Error>,
    doing: &str,
    server: &str,
    right: impl FnOnce() -> String,
    looked: &Looked,
) -> Result<Fact<T>> {
    match answer {
        Ok(found) => Ok(Ok(found)),
        Err(refusal) if error::is_absent(&refusal) => Ok(Err(Missing::not_applicable(format!(
            "the cluster does not know the kind {} of {}",
            looked.kind, looked.api
        )))),
        Err(refusal) => match error::status(&refusal).map(|status| (status.code, status.message.clone())) {
            Some((401 | 403, message)) => Ok(Err(Missing::unknown(message, right()))),
            _ => Err(error::describe(refusal, doing, server)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::fake_server::FakeServer;
    use serde_json::json;

    const SCHEDULES: Looked = Looked { api: "velero.io/v1", kind: "Schedule", plural: "schedules" };

    #[test]
    fn objects_of_any_kind_are_read_as_they_are() {
        let fake = FakeServer::new(|target, _| match target {
            "/apis/velero.io/v1/namespaces/velero/schedules?" => {
                Some(json!([{ "metadata": { "name": "nightly" }, "spec": { "paused": true } }]))
            }
            "/api/v1/nodes/worker-1/proxy/stats/summary" => Some(json!({ "pods": [] })),
            _ => None,
        });
        let schedules = fake.cluster.look(&SCHEDULES, Some("velero")).unwrap().unwrap();
        assert_eq!(schedules[0]["spec"]["paused"], true);
        assert_eq!(fake.cluster.look_at_kubelet("worker-1").unwrap(), Ok(json!({ "pods": [] })));
        let Err(Missing::NotApplicable(reason)) = fake.cluster.look(&SCHEDULES, None).unwrap() else {
            panic!()
        };
        assert_eq!(reason, "the cluster does not know the kind Schedule of velero.io/v1");
        assert_eq!(fake.cluster.look_at(&SCHEDULES, "velero", "weekly").unwrap(), Ok(None));
    }

    #[test]
    fn a_refusal_names_the_right_and_no_answer_is_an_error() {
        let refusal = |code: u16| {
            let status = json!({ "status": "Failure", "message": "no", "reason": "", "code": code });
            Err::<(), _>(kube::Error::Api(serde_json::from_value(status).unwrap()))
        };
        let answered = |code: u16| {
            answered(
                refusal(code),
                "list them",
                "server",
                || format!("list on {}", SCHEDULES.right()),
                &SCHEDULES,
            )
        };
        assert_eq!(answered(403).unwrap(), Err(Missing::unknown("no", "list on schedules.velero.io")));
        assert!(answered(503).is_err());
    }
}
