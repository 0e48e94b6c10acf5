//! An API server for tests: a function answers, and the times of the requests are kept.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::{Request, Response, StatusCode};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

use super::Cluster;

/// The requests by the kind of object that they are for, in the plural.
type Requests = Arc<Mutex<BTreeMap<String, Vec<Instant>>>>;

pub(crate) struct FakeServer {
    pub(crate) cluster: Cluster,
    requests: Requests,
}

impl FakeServer {
    /// Answers with what `objects` gives for the path and query of a request and the time since the server was made.
    /// `None` is "not found"; a list is an array of objects.
    pub(crate) fn new(objects: impl Fn(&str, Duration) -> Option<Value> + Send + Sync + 'static) -> Self {
        let (requests, began, objects) = (Requests::default(), Instant::now(), Arc::new(objects));
        let kept = Arc::clone(&requests);
        let service = tower::service_fn(move |request: Request<Body>| {
            kept.lock().unwrap().entry(kind(request.uri().path())).or_default().push(Instant::now());
            let target = request.uri().path_and_query().unwrap().as_str().to_owned();
            let objects = Arc::clone(&objects);
            async move { Ok::<_, Infallible>(answer(objects(&target, began.elapsed()))) }
        });
        Self { cluster: Cluster::of_client(|| Client::new(service, "default")), requests }
    }

    /// The kinds that were asked for, with the shortest time between two requests.
    pub(crate) fn shortest_gaps(&self) -> BTreeMap<String, Duration> {
        let shortest = |times: &Vec<Instant>| times.windows(2).map(|pair| pair[1] - pair[0]).min();
        let requests = self.requests.lock().unwrap();
        requests
            .iter()
            .map(|(kind, times)| (kind.clone(), shortest(times).unwrap_or(Duration::MAX)))
            .collect()
    }
}

fn answer(found: Option<Value>) -> Response<Body> {
    let (status, body) = match found {
        Some(Value::Array(items)) => (StatusCode::OK, json!({ "metadata": {}, "items": items })),
        Some(object) => (StatusCode::OK, object),
        None => {
            let refusal = json!({ "kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404 });
            (StatusCode::NOT_FOUND, refusal)
        }
    };
    Response::builder().status(status).body(Body::from(body.to_string().into_bytes())).unwrap()
}

/// `pods` of `/api/v1/namespaces/app/pods/p`.
fn kind(path: &str) -> String {
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let within = &parts[if parts[0] == "api" { 2 } else { 3 }..];
    let kind = if within[0] == "namespaces" && within.len() > 2 { within[2] } else { within[0] };
    kind.to_owned()
}
