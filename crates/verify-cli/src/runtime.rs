//! The one asynchronous runtime, on which the clients of S3 and of Kubernetes run.

use std::sync::OnceLock;

use tokio::runtime::{Builder, Runtime};

/// They wait for the network, and compute little.
const WORKERS: usize = 2;

/// Runs a future to its end on this thread. Not for a thread that is a worker of the runtime itself.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    runtime().block_on(future)
}

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .thread_name("network")
            .enable_all()
            .build()
            .expect("the system gives a thread and a descriptor")
    })
}
