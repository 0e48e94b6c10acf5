//! An account's requests, by impersonation; none of them changes anything.

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::params::PostParams;
use kube::{Client, Config};
use serde_json::Value;
use tokio::runtime::Runtime;

/// One request. `dryRun` goes through admission and stores nothing.
pub(super) struct Request {
    method: &'static str,
    path: String,
    body: Vec<u8>,
}

impl Request {
    /// Creates an object of the kind at a path.
    pub(super) fn create(path: &str, object: &Value) -> Self {
        Self { method: "POST", path: format!("{path}?dryRun=All"), body: object.to_string().into() }
    }

    /// Merges fields into an object.
    pub(super) fn patch(path: &str, fields: &Value) -> Self {
        Self { method: "PATCH", path: format!("{path}?dryRun=All"), body: fields.to_string().into() }
    }

    pub(super) fn delete(path: &str) -> Self {
        Self { method: "DELETE", path: format!("{path}?dryRun=All"), body: Vec::new() }
    }

    pub(super) fn get(path: &str) -> Self {
        Self { method: "GET", path: path.to_owned(), body: Vec::new() }
    }

    /// Runs a command in a pod, but for the last step: without an upgrade of the connection the kubelet is never asked.
    pub(super) fn exec(namespace: &str, pod: &str, command: &[&str]) -> Self {
        let mut path = format!("/api/v1/namespaces/{namespace}/pods/{pod}/exec?stdout=true");
        for word in command {
            path += "&command=";
            path.extend(word.bytes().map(|byte| format!("%{byte:02x}")));
        }
        Self { method: "POST", path, body: Vec::new() }
    }

    fn is_exec(&self) -> bool {
        self.path.contains("/exec?")
    }
}

/// A service account.
pub(super) struct Account {
    pub(super) name: String,
    client: Client,
    runtime: Runtime,
}

impl Account {
    pub(super) fn of_service(namespace: &str, name: &str) -> Self {
        Self::of(&format!("system:serviceaccount:{namespace}:{name}"))
    }

    /// The account with this name as a user.
    fn of(user: &str) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let client = runtime.block_on(async {
            let kubeconfig = Kubeconfig::read().unwrap();
            let options = KubeConfigOptions::default();
            let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
            config.headers.push(("impersonate-user".parse().unwrap(), user.parse().unwrap()));
            Client::try_from(config).unwrap()
        });
        Self { name: user.to_owned(), client, runtime }
    }

    /// Whether the API server accepts a request; its refusal where it does not.
    pub(super) fn tries(&self, request: &Request) -> Result<(), String> {
        let mut asked =
            kube::core::Request::new("/").create(&PostParams::default(), request.body.clone()).unwrap();
        *asked.method_mut() = request.method.parse().unwrap();
        *asked.uri_mut() = request.path.parse().unwrap();
        if request.method == "PATCH" {
            let merge = "application/merge-patch+json".parse().unwrap();
            asked.headers_mut().insert("content-type", merge);
        }
        match self.runtime.block_on(self.client.request_text(asked)) {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if request.is_exec() && status.code == 400 => Ok(()),
            Err(kube::Error::Api(status)) => Err(status.message),
            Err(error) => Err(error.to_string()),
        }
    }
}
