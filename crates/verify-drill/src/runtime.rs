//! The one asynchronous runtime, for the clients of Kubernetes and S3; everything else blocks.

use std::future::Future;
use std::pin::pin;
use std::sync::OnceLock;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use verify_core::Error;

use crate::interrupt::{self, interrupted};

/// Tasks that go on in the background: streams of commands in pods, their signs of life.
const WORKERS: usize = 2;
/// Interval at which a pending request checks whether a signal has arrived.
const SIGNAL_POLL: Duration = Duration::from_millis(50);

/// The runtime, which starts when it is first asked for.
pub fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let built = Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build();
        built.unwrap_or_else(|error| panic!("the system gives no threads: {error}"))
    })
}

/// Waits for a future.
pub fn block_on<F: Future>(future: F) -> F::Output {
    runtime().block_on(future)
}

/// Waits for a future, and drops it when a signal arrives meanwhile. One that begins after the signal belongs to the
/// clean-up, and runs to its end.
///
/// # Errors
///
/// [`ErrorKind::Cancelled`](verify_core::ErrorKind::Cancelled) if a signal arrived first.
pub async fn unless_interrupted<F: Future>(future: F) -> Result<F::Output, Error> {
    if interrupt::asked() {
        return Ok(future.await);
    }
    let mut future = pin!(future);
    loop {
        match tokio::time::timeout(SIGNAL_POLL, future.as_mut()).await {
            Ok(output) => return Ok(output),
            Err(_) if interrupt::asked() => return Err(interrupted()),
            Err(_) => {}
        }
    }
}
