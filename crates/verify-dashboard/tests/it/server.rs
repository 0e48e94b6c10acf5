//! A dashboard on a free port of this machine, over a store that a test fills.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use verify_core::compare::{Comparison, Coverage};
use verify_core::finding::{Code, Finding};
use verify_core::report::{Circumstances, Objectives, Recovery, Report, Side};
use verify_core::timeline::{Milestone, Reached, Rto};
use verify_dashboard::{Access, LookAtPosture, Settings, Token, listen};
use verify_doctor::facts::cluster::{Cluster, DatabasePod, Volume, VolumeKind};
use verify_doctor::{Facts, Missing};
use verify_drill::store::Folder;
use verify_evidence::chain::append;
use verify_evidence::envelope::Run;

/// A name that would run a script or change the text around it, if it could.
pub(crate) const HOSTILE: &str = "<img src=x onerror=alert(1)><script>alert(2)</script>\"'\u{202e}";

pub(crate) struct Dashboard {
    pub(crate) address: SocketAddr,
    pub(crate) store: Folder,
}

/// An answer: status, head and body.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Dashboard {
    /// Starts a dashboard; it ends with the process.
    pub(crate) fn start(directory: &Path, token: Option<&Path>) -> Self {
        let store = Folder::new(directory);
        let address = "127.0.0.1:0".parse().unwrap();
        let token = token.map(|path| Token::read(path).unwrap());
        let access = Access::choose(address, token, false).unwrap();
        let settings = Settings {
            address,
            access,
            refresh: Duration::from_millis(200),
            now: Timestamp::now,
            posture: Some((look(), Duration::from_secs(3_600))),
        };
        let listening = listen(settings, Arc::new(store.clone())).unwrap();
        let address = listening.address().unwrap();
        std::thread::spawn(move || listening.serve(|| false).unwrap());
        Self { address, store }
    }

    /// Stores the report of a restore of `database` that ended `hours` ago.
    pub(crate) fn store_restore(&self, database: &str, findings: Vec<Finding>, hours: i64) {
        let finished_at = Timestamp::now() - SignedDuration::from_hours(hours);
        let document = serde_json::to_value(report(database, findings, finished_at)).unwrap();
        let run = Run {
            id: format!("run-{hours}"),
            command: "restore".to_owned(),
            tool_version: "0.1.0".to_owned(),
            tool_sha256: "0".repeat(64),
            started_at: finished_at - SignedDuration::from_mins(6),
            finished_at,
            ..Run::default()
        };
        append(&self.store, &run, &document, None, &|| finished_at).unwrap();
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.get_with(path, &format!("Host: {}\r\n", self.address))
    }

    pub(crate) fn get_with(&self, path: &str, headers: &str) -> Answer {
        self.send(&format!("GET {path} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n"))
    }

    pub(crate) fn send(&self, request: &str) -> Answer {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head: head.to_lowercase(), body: body.to_owned() }
    }

    /// Waits until a page has a text.
    #[track_caller]
    pub(crate) fn wait_for(&self, path: &str, text: &str) -> Answer {
        let began = Instant::now();
        loop {
            let answer = self.get(path);
            if answer.body.contains(text) {
                return answer;
            }
            assert!(began.elapsed() < Duration::from_secs(30), "{path} has no {text:?}: {}", answer.body);
            std::thread::yield_now();
        }
    }
}

/// Gathers facts of a cluster with a full volume, whose names are hostile, and of nothing else.
fn look() -> LookAtPosture {
    Box::new(|| {
        let nothing = || Missing::not_applicable("not here");
        let mut facts = Facts::none(Timestamp::now(), verify_doctor::Objectives::default(), &nothing());
        let volume = Volume {
            claim: HOSTILE.to_owned(),
            class: None,
            kind: VolumeKind::Nfs,
            capacity_bytes: Some(1 << 30),
            used_percent: Ok(97),
        };
        let pod = DatabasePod {
            name: "pg-0".to_owned(),
            node: None,
            is_primary: true,
            mounts: Vec::new(),
            copied_as_files: BTreeSet::new(),
            lax_hooks: Vec::new(),
        };
        facts.cluster = Ok(Cluster {
            namespace: "app".to_owned(),
            pods: Ok(vec![pod]),
            volumes: Ok(vec![volume]),
            schedules: Err(Missing::unknown("it is forbidden", "the right to list schedules.velero.io")),
            backups: Err(nothing()),
            reports: Err(nothing()),
            locations: Err(nothing()),
            repositories: Err(nothing()),
            repository_password: Err(nothing()),
            snapshot_classes: Err(nothing()),
            storage_classes: Err(nothing()),
            agent_nodes: Err(nothing()),
            images: Err(nothing()),
            cnpg: Err(nothing()),
            longhorn: Err(nothing()),
            quotas: Err(nothing()),
        });
        Ok(facts)
    })
}

pub(crate) fn missing_rows() -> Finding {
    Finding::new(Code::RowMissing, "shop.orders", "3 rows are missing")
}

fn report(database: &str, findings: Vec<Finding>, started_at: Timestamp) -> Report {
    let side = |place: &str| Side { place: place.to_owned(), database: None };
    let parts = [(Milestone::Fetched, 60_000), (Milestone::Verified, 20_000)];
    let parts = parts.map(|(milestone, after_ms)| Reached { milestone, after_ms }).to_vec();
    Report::new(
        Circumstances {
            tool_version: "0.1.0".to_owned(),
            started_at,
            duration_ms: 80_000,
            source: side(database),
            restored: Some(side("copy")),
            manifest: None,
        },
        Comparison::new(findings, Coverage { tables: 2, rows: 1_000, ..Coverage::default() }),
        Recovery {
            rto: Some(Rto { total_ms: 80_000, parts }),
            rpo: None,
            objectives: Objectives { rto_ms: Some(600_000), rpo_ms: None },
        },
    )
}
