//! A backup tool on tokio: its own `tokio_postgres::Config`, an invariant, progress, a limit of time, and every kind of error.
//!
//! `cargo run -p verify-core --features async --example async_backup_tool -- 'host=db dbname=shop' 'host=restored dbname=shop'`

use std::ops::ControlFlow;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use verify_core::asynchronous::{capture, verify};
use verify_core::event::Event;
use verify_core::finding::Verdict;
use verify_core::invariant::{Expect, Invariant};
use verify_core::plan::Plan;
use verify_core::postgres::{Environment, Settings};
use verify_core::tokio_postgres::Config;
use verify_core::{Error, ErrorKind};

/// The longest time for one pass over a database.
const LIMIT: Duration = Duration::from_secs(3_600);
const ATTEMPTS_MAX: u32 = 3;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let parsed: Result<Vec<Config>, _> = arguments.iter().map(|text| text.parse()).collect();
    let Ok([source, restored]) = parsed.as_deref() else {
        eprintln!("usage: async_backup_tool SOURCE RESTORED");
        return ExitCode::from(2);
    };
    let runtime = tokio::runtime::Runtime::new().expect("the system gives no threads");
    match runtime.block_on(verify_restore(source, restored)) {
        Ok(Verdict::Pass) => ExitCode::SUCCESS,
        Ok(Verdict::Fail) => ExitCode::from(1),
        Ok(Verdict::Inconclusive) => ExitCode::from(3),
        Err(error) => {
            eprintln!("failed to {error}\n{}", hint(&error));
            ExitCode::from(2)
        }
    }
}

/// Takes a manifest of the source, and compares the restored database with it.
pub(crate) async fn verify_restore(source: &Config, restored: &Config) -> verify_core::Result<Verdict> {
    let plan = Plan::default().with_invariants([Invariant {
        name: "every table has a name".to_owned(),
        sql: "SELECT oid FROM pg_class WHERE relname = ''".to_owned(),
        expect: Expect::NoRows,
    }]);
    let (source, restored) = (settings(source)?, settings(restored)?);
    let rows = Arc::new(AtomicU64::new(0));
    let manifest = Arc::new(again(|| capture(source.clone(), plan.clone(), counter(&rows))).await?);
    // … restore the backup …
    let comparison =
        again(|| verify(manifest.clone(), restored.clone(), plan.clone(), counter(&rows))).await?;
    println!("verdict: {}, {} rows read", comparison.verdict(), rows.load(Ordering::Relaxed));
    Ok(comparison.verdict())
}

fn settings(config: &Config) -> verify_core::Result<Settings> {
    Settings::from_config(config, "", &Environment::default())
}

/// Progress: counts rows.
fn counter(rows: &Arc<AtomicU64>) -> impl Fn(Event) -> ControlFlow<()> + Send + Sync + 'static {
    let rows = rows.clone();
    move |event| {
        if let Event::Read { rows: more, .. } = event {
            rows.fetch_add(more, Ordering::Relaxed);
        }
        ControlFlow::Continue(())
    }
}

/// Does it again where that may help. Work that takes too long is dropped, which ends its statements on the server.
async fn again<T, F: Future<Output = verify_core::Result<T>>>(
    work: impl Fn() -> F,
) -> verify_core::Result<T> {
    let mut attempt = 1;
    loop {
        let done = tokio::time::timeout(LIMIT, work()).await;
        match done.unwrap_or_else(|_| Err(Error::new(ErrorKind::Timeout, "finish: it took too long"))) {
            Err(error) if error.is_retryable() && attempt < ATTEMPTS_MAX => {
                eprintln!("attempt {attempt}: failed to {error}");
                tokio::time::sleep(Duration::from_secs(1 << attempt)).await;
                attempt += 1;
            }
            done => return done,
        }
    }
}

/// Returns who has to act on an error, and the remedy.
pub(crate) fn hint(error: &Error) -> String {
    let whom = match error.kind() {
        ErrorKind::Settings | ErrorKind::Authentication => "correct the connection settings",
        ErrorKind::Privilege => "ask the database's owner for a privilege",
        ErrorKind::Connection | ErrorKind::Timeout | ErrorKind::PoolExhausted | ErrorKind::Blocked => {
            "try again later"
        }
        ErrorKind::Version | ErrorKind::Unsuitable => "choose another server",
        ErrorKind::Server { sqlstate } => return format!("check the server's log for {sqlstate}"),
        ErrorKind::Manifest | ErrorKind::File => "check the file",
        ErrorKind::Protocol => "report a defect",
        ErrorKind::Cancelled => "nothing: it was asked for",
        _ => "read the text",
    };
    match error.hint() {
        Some(hint) => format!("{whom}: {hint}"),
        None => whom.to_owned(),
    }
}
