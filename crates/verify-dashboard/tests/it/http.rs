//! Answers and refusals of the server.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::server::{Dashboard, HOSTILE, missing_rows};

#[test]
fn pages_follow_the_store() {
    let directory = tempfile::tempdir().unwrap();
    let dashboard = Dashboard::start(directory.path(), None);
    dashboard.wait_for("/", "No report of a database is stored yet.");
    dashboard.store_restore("shop", Vec::new(), 30);
    dashboard.wait_for("/", "1 d 6 h ago");
    dashboard.store_restore("shop", vec![missing_rows()], 2);
    let page = dashboard.wait_for("/", "fail");
    assert!(page.body.contains("/runs/2"), "{}", page.body);
    assert!(dashboard.get("/history").body.contains("row.missing shop.orders: 3 rows are missing"));
    assert!(dashboard.get("/runs/2").body.contains("3 rows are missing"));
    assert_eq!(dashboard.get("/runs/3").status, 404);
    assert_eq!(dashboard.get("/nothing").status, 404);
    let history = dashboard.get("/api/v1/history.json");
    assert!(history.head.contains("application/json") && history.body.contains("\"sequence\":2"));
    let report = dashboard.get("/api/v1/runs/2.json").body;
    assert_eq!(report, std::fs::read_to_string(directory.path().join("000002/report.json")).unwrap());
    let metrics = dashboard.get("/metrics").body;
    assert!(
        metrics.contains("statelab_verify_verdict{database=\"shop\",cluster=\"\",verdict=\"fail\"} 1.0"),
        "{metrics}"
    );
    assert_eq!(dashboard.get("/healthz").status, 200);
}

#[test]
fn every_answer_forbids_scripts_from_elsewhere_and_names_are_inert() {
    let directory = tempfile::tempdir().unwrap();
    let dashboard = Dashboard::start(directory.path(), None);
    dashboard.store_restore(HOSTILE, vec![missing_rows()], 1);
    dashboard.wait_for("/", "fail");
    for path in
        ["/", "/history", "/runs/1", "/runs/9", "/metrics", "/style.css", "/live.js", "/healthz", "/x"]
    {
        let answer = dashboard.get(path);
        for header in ["content-security-policy: default-src 'none'", "nosniff", "no-referrer", "no-store"] {
            assert!(answer.head.contains(header), "{path}: {}", answer.head);
        }
        let is_page = answer.head.contains("text/html");
        let is_inert = !answer.body.contains("<img") && !answer.body.contains("<script>");
        assert!(is_inert || !is_page, "{path}: {}", answer.body);
    }
    // A path of the store cannot be read through an address.
    for path in ["/runs/..%2f..%2fetc%2fpasswd", "/runs/%00", "/api/v1/runs/../1.json", "/runs/-1"] {
        assert!([400, 404].contains(&dashboard.get(path).status), "{path}");
    }
}

#[test]
fn the_doctors_findings_and_the_storage_have_pages() {
    let directory = tempfile::tempdir().unwrap();
    let dashboard = Dashboard::start(directory.path(), None);
    let page = dashboard.wait_for("/doctor", "Examined at").body;
    for text in ["volume.full", "is 97 % full", "Inconclusive", "the right to list schedules.velero.io"] {
        assert!(page.contains(text), "{text}: {page}");
    }
    let page = dashboard.get("/storage").body;
    for text in ["NFS", "1.0 GiB", "97%", "Unknown: it is forbidden"] {
        assert!(page.contains(text), "{text}: {page}");
    }
    assert!(dashboard.get("/api/v1/doctor.json").body.contains("\"code\":\"volume.full\""));
}

#[test]
fn nothing_can_be_changed() {
    let directory = tempfile::tempdir().unwrap();
    let dashboard = Dashboard::start(directory.path(), None);
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        for path in ["/", "/runs/1", "/api/v1/history.json", "/metrics"] {
            let request = format!(
                "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
            assert_eq!(dashboard.send(&request).status, 405, "{method} {path}");
        }
    }
}

#[test]
fn a_token_is_needed_where_there_is_one_and_another_site_is_refused_where_there_is_none() {
    let directory = tempfile::tempdir().unwrap();
    let open = Dashboard::start(directory.path(), None);
    assert_eq!(open.get_with("/", "Host: attacker.example\r\n").status, 403);
    let token = directory.path().join("token");
    std::fs::write(&token, "correct horse battery\n").unwrap();
    let closed = Dashboard::start(directory.path(), Some(&token));
    for path in ["/", "/history", "/runs/1", "/events", "/metrics", "/api/v1/history.json", "/nothing"] {
        let refused = closed.get(path);
        assert_eq!(refused.status, 401, "{path}");
        assert!(refused.head.contains("www-authenticate: basic"), "{}", refused.head);
    }
    let host = "Host: other.example\r\n";
    assert_eq!(
        closed.get_with("/", &format!("{host}Authorization: Bearer correct horse batterx\r\n")).status,
        401
    );
    let page = closed.get_with("/", &format!("{host}Authorization: Bearer correct horse battery\r\n"));
    assert_eq!(page.status, 200);
    assert!(!page.body.contains("horse"));
    assert_ne!(closed.get("/healthz").status, 401);
}

#[test]
fn a_change_is_an_event() {
    let directory = tempfile::tempdir().unwrap();
    let dashboard = Dashboard::start(directory.path(), None);
    dashboard.wait_for("/", "No report");
    let mut stream = TcpStream::connect(dashboard.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
        .write_all(format!("GET /events HTTP/1.1\r\nHost: {}\r\n\r\n", dashboard.address).as_bytes())
        .unwrap();
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    assert!(lines.by_ref().any(|line| line.is_empty()), "the head ends");
    dashboard.store_restore("shop", Vec::new(), 1);
    assert!(lines.any(|line| line == "event: changed"));
}

#[test]
fn many_viewers_cost_little_memory() {
    let directory = tempfile::tempdir().unwrap();
    let dashboard = Dashboard::start(directory.path(), None);
    for hours in 0..50 {
        dashboard.store_restore("shop", Vec::new(), 50 - hours);
    }
    dashboard.wait_for("/history", "report 50");
    let resident_kib = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    let streams: Vec<TcpStream> = (0..100)
        .map(|_| {
            let mut stream = TcpStream::connect(dashboard.address).unwrap();
            let request = format!("GET /events HTTP/1.1\r\nHost: {}\r\n\r\n", dashboard.address);
            stream.write_all(request.as_bytes()).unwrap();
            stream
        })
        .collect();
    let load = || (0..200).for_each(|_| assert_eq!(dashboard.get("/history").status, 200));
    load();
    let before = resident_kib();
    (0..5).for_each(|_| load());
    let grown = resident_kib().saturating_sub(before);
    // A thousand pages that were kept would be 50 MiB; other tests of this process take some as well.
    assert!(grown < 32 << 10, "{grown} KiB more than {before}");
    drop(streams);
}
