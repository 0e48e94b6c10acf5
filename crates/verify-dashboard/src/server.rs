//! The server: it listens, reads the store again and again, and ends when it is asked to.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use verify_drill::runtime::{block_on, runtime};
use verify_drill::store::Store;

use crate::access::Access;
use crate::routes::{Shared, router};
use crate::snapshot::{LookAtPosture, Posture, Snapshot};

/// Interval at which the request to end is checked.
const STOP_POLL: Duration = Duration::from_millis(100);

/// Settings of a dashboard.
pub struct Settings {
    /// Address to listen on; with port 0, a free one.
    pub address: SocketAddr,
    pub access: Access,
    /// Interval at which the store is read.
    pub refresh: Duration,
    pub now: fn() -> Timestamp,
    /// Gathers the facts that `doctor` judges, and the interval at which it does.
    pub posture: Option<(LookAtPosture, Duration)>,
}

/// A dashboard that has its address.
pub struct Listening {
    listener: TcpListener,
    settings: Settings,
    store: Arc<dyn Store>,
}

/// Listens on the address.
///
/// # Errors
///
/// If the address is in use, or not one of this machine.
pub fn listen(settings: Settings, store: Arc<dyn Store>) -> Result<Listening> {
    let address = settings.address;
    let listener =
        block_on(TcpListener::bind(address)).with_context(|| format!("failed to listen on {address}"))?;
    Ok(Listening { listener, settings, store })
}

impl Listening {
    /// The address.
    ///
    /// # Errors
    ///
    /// If the system does not say.
    pub fn address(&self) -> Result<SocketAddr> {
        self.listener.local_addr().context("failed to find the address of the server")
    }

    /// Answers requests until `asked` to end.
    ///
    /// # Errors
    ///
    /// If the server cannot go on.
    pub fn serve(self, asked: fn() -> bool) -> Result<()> {
        let Self { listener, settings, store } = self;
        let Settings { access, refresh, now, posture, .. } = settings;
        let (sender, snapshots) = watch::channel(Snapshot::default());
        let shared = Arc::new(Shared::new(Arc::clone(&store), access, snapshots, now));
        let sender = Arc::new(sender);
        let reader = runtime().spawn(read_repeatedly(store, Arc::clone(&sender), refresh, now));
        let examiner =
            posture.map(|(look, period)| runtime().spawn(examine_repeatedly(look, sender, period, now)));
        block_on(async {
            let server = axum::serve(listener, router(shared)).into_future();
            tokio::select! {
                ended = server => ended.context("the server ended"),
                () = until(asked) => Ok(()),
            }
        })?;
        reader.abort();
        if let Some(examiner) = examiner {
            examiner.abort();
        }
        Ok(())
    }
}

/// Reads the store once an interval, one read at a time.
async fn read_repeatedly(
    store: Arc<dyn Store>,
    sender: Arc<watch::Sender<Snapshot>>,
    refresh: Duration,
    now: fn() -> Timestamp,
) {
    let mut ticks = interval(refresh);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let (before, store) = (sender.borrow().clone(), Arc::clone(&store));
        let seen = before.generation;
        let Ok(mut next) = tokio::task::spawn_blocking(move || before.next(&*store, now())).await else {
            return;
        };
        if next.generation != seen {
            // The examiner may have sent its own meanwhile.
            sender.send_modify(|current| {
                next.posture = current.posture.take();
                next.generation = current.generation + 1;
                *current = next;
            });
        }
    }
}

/// Examines the posture once an interval.
async fn examine_repeatedly(
    look: LookAtPosture,
    sender: Arc<watch::Sender<Snapshot>>,
    period: Duration,
    now: fn() -> Timestamp,
) {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let look = Arc::new(look);
    loop {
        ticks.tick().await;
        let look = Arc::clone(&look);
        let Ok(posture) = tokio::task::spawn_blocking(move || Posture::examine(&look, now())).await else {
            return;
        };
        sender.send_modify(|current| {
            current.posture = Some(Arc::new(posture));
            current.generation += 1;
        });
    }
}

async fn until(asked: fn() -> bool) {
    let mut ticks = interval(STOP_POLL);
    while !asked() {
        ticks.tick().await;
    }
}
