//! A port of a pod as a port of this machine, through the API server.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

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

/// Forwards all connections, each by a request of its own.
async fn forward_all(listener: TcpListener, pods: Api<Pod>, pod: String, port: u16) {
    // Dropped with this task, which ends its connections.
    let mut connections = JoinSet::new();
    while let Ok((connection, _)) = listener.accept().await {
        let (pods, pod) = (pods.clone(), pod.clone());
        // An error closes the connection, whose client reports that.
        connections.spawn(async move { forward(connection, &pods, &pod, port).await });
    }
}

async fn forward(mut connection: TcpStream, pods: &Api<Pod>, pod: &str, port: u16) -> Result<()> {
    let mut forwarder = pods.portforward(pod, &[port]).await?;
    let mut stream = forwarder.take_stream(port).context("the API server sent no stream")?;
    copy_bidirectional(&mut connection, &mut stream).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::{SinkExt, StreamExt};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;
    use tokio_tungstenite::tungstenite::Message;
    use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
    use verify_core::postgres::{Connection, Environment, SessionOptions, Settings};

    use crate::cluster::Cluster;
    use crate::cluster::kind::Server;

    /// Answers a request for port 5432 as an API server and kubelet do: with a WebSocket that has a channel of data and one of
    /// errors, each of which begins with the port.
    async fn answer(client: TcpStream, server: String) -> Option<()> {
        #[expect(clippy::result_large_err, reason = "the signature is that of the handshake")]
        let protocol = |_: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
            let chosen = http::HeaderValue::from_static("v4.channel.k8s.io");
            response.headers_mut().insert(http::header::SEC_WEBSOCKET_PROTOCOL, chosen);
            Ok(response)
        };
        let web_socket = tokio_tungstenite::accept_hdr_async(client, protocol).await.ok()?;
        let (mut to_client, mut from_client) = web_socket.split();
        for channel in [0, 1] {
            let [low, high] = 5432_u16.to_le_bytes();
            to_client.send(Message::binary(vec![channel, low, high])).await.ok()?;
        }
        let (mut from_server, mut to_server) = UnixStream::connect(server).await.ok()?.into_split();
        let answers = async move {
            let mut buffer = vec![0; 8_192];
            while let Ok(length @ 1..) = from_server.read(&mut buffer).await {
                let frame = [&[0], &buffer[..length]].concat();
                if to_client.send(Message::binary(frame)).await.is_err() {
                    break;
                }
            }
            let _ = to_client.close().await;
        };
        let requests = async move {
            while let Some(Ok(Message::Binary(frame))) = from_client.next().await {
                if to_server.write_all(&frame[1..]).await.is_err() {
                    break;
                }
            }
        };
        tokio::join!(answers, requests);
        Some(())
    }

    #[test]
    fn a_server_behind_a_forwarded_port_answers_several_connections() {
        let postgres = fixtures::server(15).unwrap();
        let conninfo = postgres.conninfo("postgres");
        let word =
            |name: &str| conninfo.split(' ').find_map(|word| word.strip_prefix(name)).unwrap().to_owned();
        let socket = format!("{}/.s.PGSQL.{}", word("host=").trim_matches('\''), word("port="));
        let api = block_on(async { TcpListener::bind("127.0.0.1:0").await.unwrap() });
        let url = format!("http://{}/", api.local_addr().unwrap());
        runtime().spawn(async move {
            while let Ok((client, _)) = api.accept().await {
                tokio::spawn(answer(client, socket.clone()));
            }
        });
        let cluster = Cluster::at(Server::new(&url));
        let forward = Forward::start(&cluster.of::<Pod>("app"), "pg-0", 5432).unwrap();
        let address = forward.address();
        let through = format!("host=127.0.0.1 port={} user=postgres dbname=postgres", address.port());
        let settings = Settings::parse(&through, &Environment::default()).unwrap();
        let connect = || Connection::open(&settings, &SessionOptions::verification(10_000, 10_000));
        let value = |connection: &mut Connection, sql: &str| {
            connection.query(sql).unwrap()[0].get(0).unwrap().to_owned()
        };
        let (mut first, mut second) = (connect().unwrap(), connect().unwrap());
        assert_eq!(value(&mut second, "SELECT 6 * 7"), "42");
        let long = value(&mut first, "SELECT pg_catalog.repeat('x', 100000)");
        assert_eq!(long, "x".repeat(100_000));
        drop((first, second));
        assert_eq!(value(&mut connect().unwrap(), "SELECT 1"), "1");
        drop(forward);
        connect().map(|_| ()).unwrap_err();

        // Without an API server nothing is forwarded.
        let nowhere = Cluster::at(Server::new("http://127.0.0.1:1/"));
        let refused = Forward::start(&nowhere.of::<Pod>("app"), "pg-0", 5432).unwrap_err();
        assert_eq!(refused.to_string(), "failed to forward port 5432 of the pod pg-0");
    }
}
