//! The dashboard in Chromium: no error, live progress, keyboard, contrast, narrow and dark.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use verify_core::event;
use verify_drill::watch::Event;
use verify_report::running::RunningFile;

use crate::server::{Dashboard, HOSTILE, missing_rows};

#[test]
fn pages_work_in_a_browser() {
    let directory = tempfile::tempdir().unwrap();
    let dashboard = Dashboard::start(directory.path(), None);
    for hours in 0..20 {
        let findings = if hours % 7 == 3 { vec![missing_rows()] } else { Vec::new() };
        dashboard.store_restore("shop", findings, 24 * (21 - hours));
    }
    dashboard.store_restore(HOSTILE, vec![missing_rows()], 2);
    dashboard.wait_for("/", "/runs/21");
    let running = RunningFile::begin(dashboard.store.clone(), "restore", Timestamp::now);
    running.add(&Event::Step("fetching the backup nightly-001".to_owned()));
    running.add(&Event::Measure(event::Event::Started { tables: 2, bytes_estimate: 1_000 }));
    running.add(&Event::Measure(event::Event::Read { rows: 420, bytes: 1, estimate_done: 420 }));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/browser.mjs");
    let address = format!("http://{}", dashboard.address);
    let finished = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&finished);
    let progress = std::thread::spawn(move || {
        let mut steps = 1..;
        while !asked.load(Ordering::SeqCst) {
            running.add(&Event::Step(format!("comparing table {}", steps.next().unwrap_or_default())));
            std::thread::park_timeout(Duration::from_millis(300));
        }
    });
    let screenshots = std::env::var("STATE_LAB_SCREENSHOTS").unwrap_or_default();
    let printed = fixtures::browser::run_script(&script, &[&address, &screenshots]);
    finished.store(true, Ordering::SeqCst);
    progress.join().unwrap();
    assert!(printed.unwrap().contains("all checks passed"));
}
