//! A port of a pod as a port of this machine, through the API server.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::kind::Kind;
use verify_drill::runtime::{block_on, runtime, unless_interrupted};

/// Time limit of the API server and the kubelet to reach the port.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// A forwarded port. Connections to it are closed when this value is dropped.
#[derive(Debug)]
pub struct Forward {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Forward {
    /// Forwards a port of a pod to a free port of the loopback interface.
    ///
    /// # Errors
    ///
    /// If the pod does not exist, or the account may not forward its ports.
    pub fn start(pods: &Kind<Pod>, pod: &str, port: u16) -> Result<Self> {
        let doing = || format!("failed to forward port {port} of the pod {pod}");
        let api = pods.api().clone();
        let begun = async {
            // The right to forward is checked here and not at the first connection, which could only be closed.
            let first = tokio::time::timeout(START_TIMEOUT, api.portforward(pod, &[port])).await;
            first.context("the API server did not answer")??.abort();
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            anyhow::Ok((listener.local_addr()?, listener))
        };
        let (address, listener) = block_on(unless_interrupted(begun))?.with_context(doing)?;
        let task = runtime().spawn(forward_all(listener, api, pod.to_owned(), port));
        Ok(Self { address, task })
    }

    /// Address of the port on this machine.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Forwards one connection after the other: each has a request of its own, and closes with it.
async fn forward_all(listener: TcpListener, pods: Api<Pod>, pod: String, port: u16) {
    while let Ok((connection, _)) = listener.accept().await {
        // An error closes the connection, whose client reports that.
        let _ = forward(connection, &pods, &pod, port).await;
    }
}

async fn forward(mut connection: TcpStream, pods: &Api<Pod>, pod: &str, port: u16) -> Result<()> {
    let mut forwarder = pods.portforward(pod, &[port]).await?;
    let mut stream = forwarder.take_stream(port).context("the API server sent no stream")?;
    copy_bidirectional(&mut connection, &mut stream).await?;
    drop(stream);
    Ok(forwarder.join().await?)
}
