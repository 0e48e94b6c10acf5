//! The one asynchronous runtime, for the clients of Kubernetes and S3; everything else blocks.

use std::future::Future;
use std::sync::OnceLock;

use tokio::runtime::{Builder, Runtime};

/// Tasks that go on in the background: streams of commands in pods, their signs of life.
const WORKERS: usize = 2;

/// The runtime, which starts when it is first asked for.
pub(crate) fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let built = Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build();
        built.unwrap_or_else(|error| panic!("the system gives no threads: {error}"))
    })
}

/// Waits for a future.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    runtime().block_on(future)
}
