//! A backup tool that verifies its restores: it captures a manifest beside the backup, and compares the restored database with it.
//!
//! `cargo run -p verify-core --example backup_tool -- 'host=db dbname=shop' 'host=restored dbname=shop'`

use std::ops::ControlFlow;
use std::process::ExitCode;

use verify_core::capture::capture;
use verify_core::event::Event;
use verify_core::finding::Verdict;
use verify_core::manifest::Manifest;
use verify_core::plan::Plan;
use verify_core::postgres::{Environment, Postgres, Settings};
use verify_core::verify::verify;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [source, restored] = &arguments[..] else {
        eprintln!("usage: backup_tool SOURCE RESTORED");
        return ExitCode::from(2);
    };
    match verify_restore(source, restored) {
        Ok(Verdict::Pass) => ExitCode::SUCCESS,
        Ok(Verdict::Fail) => ExitCode::from(1),
        Ok(Verdict::Inconclusive) => ExitCode::from(3),
        Err(error) => {
            eprintln!("failed to {error}");
            error.hint().into_iter().for_each(|hint| eprintln!("hint: {hint}"));
            ExitCode::from(2)
        }
    }
}

/// Takes a manifest of the source, and compares the restored database with it.
pub(crate) fn verify_restore(source: &str, restored: &str) -> verify_core::Result<Verdict> {
    let plan = Plan::default();
    let manifest = stored_with_backup(source, &plan)?;
    // … restore the backup …
    let restored = Postgres::new(Settings::parse(restored, &Environment::default())?);
    let comparison = verify(&Manifest::read(&manifest[..])?, &restored, &plan, &progress)?;
    for finding in comparison.findings() {
        println!("{}: {} [{}]", finding.object, finding.message, finding.code());
    }
    println!("verdict: {}", comparison.verdict());
    Ok(comparison.verdict())
}

/// The file that belongs to the backup.
fn stored_with_backup(source: &str, plan: &Plan) -> verify_core::Result<Vec<u8>> {
    let source = Postgres::new(Settings::parse(source, &Environment::default())?);
    let mut file = Vec::new();
    capture(&source, plan, &progress)?.write(&mut file)?;
    Ok(file)
}

fn progress(event: Event) -> ControlFlow<()> {
    if let Event::TableRead { table, rows } = event {
        eprintln!("{table}: {rows} rows");
    }
    ControlFlow::Continue(())
}
