//! Tests of requests to a faulty service: a server that answers from a script.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::Bucket;
use super::client::Limits;
use super::object_draft::ObjectDraft;
use verify_drill::store::{Credentials, Draft as _, Existing, Location, Secret, Store as _};

/// A server that gives each request the next answer, and says at the end what was asked.
struct Script {
    endpoint: String,
    thread: JoinHandle<Vec<String>>,
}

impl Script {
    fn new(answers: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let answers: Vec<String> = answers.iter().map(|answer| (*answer).to_owned()).collect();
        let answer_all = move || answers.iter().map(|answer| answer_one(&listener, answer)).collect();
        Self { endpoint, thread: thread::spawn(answer_all) }
    }

    fn bucket(&self) -> Bucket {
        Bucket::open(&location(&self.endpoint)).unwrap()
    }

    /// Each request: method, path, and the headers that make it conditional.
    fn asked(self) -> Vec<String> {
        self.thread.join().unwrap()
    }
}

fn location(endpoint: &str) -> Location {
    let ini = Secret::new("[p]\naws_access_key_id=id\naws_secret_access_key=secret\n");
    Location {
        bucket: "b".to_owned(),
        prefix: String::new(),
        region: Some("r".to_owned()),
        endpoint: Some(endpoint.to_owned()),
        path_style: true,
        ca_pem: None,
        credentials: Credentials::File { ini, profile: "p".to_owned() },
        retain: None,
        retain_mode: None,
    }
}

/// Takes one request on a connection of its own, and closes it after the answer.
fn answer_one(listener: &TcpListener, answer: &str) -> String {
    let (mut stream, _) = listener.accept().unwrap();
    let head = read_head(&mut stream);
    let header = |name: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
    };
    let length: usize = header("content-length").map_or(0, |length| length.parse().unwrap());
    stream.read_exact(&mut vec![0; length]).unwrap();
    stream.write_all(answer.as_bytes()).unwrap();
    let request =
        head.lines().next().unwrap().split('?').next().unwrap().trim_end_matches(" HTTP/1.1").to_owned();
    ["range", "if-match", "if-none-match"].into_iter().fold(request, |text, name| match header(name) {
        Some(value) => format!("{text} {name}: {value}"),
        None => text,
    })
}

fn read_head(stream: &mut TcpStream) -> String {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// An answer with this status line, headers and body.
fn answer(status: &str, headers: &str, length: usize, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}")
}

fn refused(status: &str, code: &str) -> String {
    let body = format!("<Error><Code>{code}</Code><Message>refused</Message></Error>");
    answer(status, "", body.len(), &body)
}

/// `"1"`, as SHA-256 in Base64.
const SHA256_OF_1: &str = "x-amz-checksum-sha256: a4ayc/80/OGda4BO/1o/V0etpOqiLx1JwB5S3beHW0s=\r\n";
const LOST: &str = "";

fn shown<T>(result: Result<T>) -> Result<T, String> {
    result.map_err(|error| {
        format!("{error:#}").rsplit_once(": ").map_or(String::new(), |(_, last)| last.to_owned())
    })
}

#[test]
fn an_answer_that_breaks_off_is_taken_up_where_it_broke() {
    let first = answer("200 OK", "etag: \"e\"\r\n", 10, "01234");
    let rest = answer("206 Partial Content", "etag: \"e\"\r\n", 5, "56789");
    let script = Script::new(&[&first, &rest]);
    assert_eq!(script.bucket().get("k", 10).unwrap().unwrap(), b"0123456789");
    assert_eq!(script.asked(), ["GET /b/k", "GET /b/k range: bytes=5- if-match: \"e\""]);
}

#[test]
fn an_object_that_was_replaced_while_it_was_read_is_not_mixed_with_the_new_one() {
    let first = answer("200 OK", "etag: \"e\"\r\n", 10, "01234");
    let script = Script::new(&[&first, &refused("412 Precondition Failed", "PreconditionFailed")]);
    assert_eq!(shown(script.bucket().get("k", 10)), Err("it was replaced while it was read".to_owned()));
}

#[test]
fn a_put_whose_answer_was_lost_is_ours_where_the_object_is() {
    let taken = refused("412 Precondition Failed", "PreconditionFailed");
    let conditional = "PUT /b/k if-none-match: *";
    for (head, expected) in [
        (answer("200 OK", SHA256_OF_1, 1, ""), Ok(())),
        (answer("200 OK", SHA256_OF_1, 2, ""), Err(())),
        (answer("200 OK", "", 1, ""), Err(())),
    ] {
        let script = Script::new(&[LOST, &taken, &head]);
        let put = script.bucket().put_new("k", b"1").map_err(|error| {
            assert!(format!("{error:#}").contains("it already exists"), "{error:#}");
        });
        assert_eq!(put, expected, "{head}");
        assert_eq!(script.asked(), [conditional, conditional, "HEAD /b/k"]);
    }
    // Without a lost answer the object belongs to another writer, whatever it is.
    let script = Script::new(&[&taken]);
    assert!(format!("{:#}", script.bucket().put_new("k", b"1").unwrap_err()).contains("it already exists"));
    assert_eq!(script.asked(), [conditional]);
}

#[test]
fn transient_failures_are_retried_and_others_reported_at_once() {
    let busy = refused("503 Slow Down", "SlowDown");
    let conflict = refused("409 Conflict", "ConditionalRequestConflict");
    let done = answer("200 OK", "", 0, "");
    let script = Script::new(&[&busy, &conflict, &done]);
    script.bucket().put_new("k", b"1").unwrap();
    assert_eq!(script.asked().len(), 3);
    let script = Script::new(&[&refused("403 Forbidden", "AccessDenied")]);
    let error = format!("{:#}", script.bucket().put_new("k", b"1").unwrap_err());
    assert!(
        error.ends_with(&format!("failed to write s3://b/k at {}: AccessDenied: refused", script.endpoint)),
        "{error}"
    );
    assert_eq!(script.asked().len(), 1);
    let script = Script::new(&[&busy, &busy, &busy, &busy]);
    assert!(format!("{:#}", script.bucket().put_new("k", b"1").unwrap_err()).ends_with("SlowDown: refused"));
    assert_eq!(script.asked().len(), 4);
}

#[test]
fn what_cannot_be_stored_stays_on_this_machine() {
    let (absent, found) = (answer("404 Not Found", "", 0, ""), answer("200 OK", "", 0, ""));
    let script = Script::new(&[&absent, &found, &refused("403 Forbidden", "AccessDenied")]);
    let draft = ObjectDraft::new(script.bucket(), "k", Existing::Refuse).unwrap();
    let error = Box::new(draft).keep(&mut |to| Ok(to.write_all(b"hours of work")?)).unwrap_err();
    let text = error.to_string();
    let path = text.strip_prefix("failed to store the document; it is complete in ").unwrap();
    assert_eq!(std::fs::read_to_string(path).unwrap(), "hours of work");
    std::fs::remove_file(path).unwrap();
    assert_eq!(script.asked(), ["HEAD /b/k", "HEAD /b/", "PUT /b/k if-none-match: *"]);
}

#[test]
fn what_was_not_finished_is_nowhere() {
    let (absent, found) = (answer("404 Not Found", "", 0, ""), answer("200 OK", "", 0, ""));
    let script = Script::new(&[&absent, &found]);
    let draft = ObjectDraft::new(script.bucket(), "k", Existing::Refuse).unwrap();
    let path = draft.path().to_owned();
    assert!(path.exists());
    Box::new(draft).keep(&mut |_| anyhow::bail!("the connection broke")).unwrap_err();
    assert!(!path.exists());
    assert_eq!(script.asked(), ["HEAD /b/k", "HEAD /b/"]);
}

/// Limits that a test can wait for.
fn short() -> Limits {
    let limit = Duration::from_millis(200);
    Limits { answer: limit, total: 3 * limit, silence: limit, assembly: limit }
}

/// A service that accepts connections, answers the first request of each with `beginning`, and then stays silent.
/// Its address, a client of it, and the number of connections so far.
fn silent(beginning: &'static str) -> (String, Bucket, Arc<AtomicU32>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let connections = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&connections);
    thread::spawn(move || {
        let mut open = Vec::new();
        for mut stream in listener.incoming().flatten() {
            counted.fetch_add(1, Ordering::Relaxed);
            if !beginning.is_empty() {
                read_head(&mut stream);
                let _ = stream.write_all(beginning.as_bytes());
            }
            open.push(stream);
        }
    });
    let bucket = Bucket::open_within(&location(&endpoint), short()).unwrap();
    (endpoint, bucket, connections)
}

#[test]
fn a_service_that_never_answers_is_given_up_and_named() {
    let (endpoint, bucket, _) = silent("");
    let checks: [(&str, &dyn Fn() -> Result<()>); 6] = [
        ("read", &|| bucket.get("k", 10).map(drop)),
        ("inspect", &|| bucket.head("k").map(drop)),
        ("write", &|| bucket.put_new("k", b"1")),
        ("write", &|| bucket.put("k", &mut std::io::repeat(0).take(17 << 20), Existing::Replace)),
        ("list", &|| bucket.list("").map(drop)),
        ("delete", &|| bucket.delete("k")),
    ];
    for (doing, request) in checks {
        let began = Instant::now();
        let error = format!("{:#}", request().unwrap_err());
        assert!(error.contains(&format!("failed to {doing}")) && error.contains(&endpoint), "{error}");
        assert!(error.contains("timeout"), "{error}");
        assert!(began.elapsed() < Duration::from_secs(6), "{doing}: {:?}", began.elapsed());
    }
}

#[test]
fn an_object_that_stops_arriving_is_given_up() {
    let (endpoint, bucket, _) = silent("HTTP/1.1 200 OK\r\netag: \"e\"\r\ncontent-length: 10\r\n\r\n01234");
    let began = Instant::now();
    let error = format!("{:#}", bucket.get("k", 100).unwrap_err());
    assert!(error.contains(&endpoint) && error.contains("no byte arrived for 0.2 s"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
    let (_, bucket, connections) = silent("HTTP/1.1 200 OK\r\netag: \"e\"\r\ncontent-length: 10\r\n\r\n");
    let error = format!("{:#}", bucket.get("k", 100).unwrap_err());
    assert!(error.contains("after 0 of the object"), "{error}");
    assert_eq!(connections.load(Ordering::Relaxed), 1, "it was asked again");
}

#[test]
fn the_posture_of_a_bucket_is_what_the_service_says() {
    use verify_doctor::Missing;
    use verify_doctor::facts::bucket::{ExpirationRule, Holds};

    let said = |body: &str| answer("200 OK", "", body.len(), body);
    let rules = "<LifecycleConfiguration>\
        <Rule><ID>old</ID><Filter><Prefix>lab/</Prefix></Filter><Status>Enabled</Status>\
        <Expiration><Days>14</Days></Expiration></Rule>\
        <Rule><ID>off</ID><Filter><Prefix></Prefix></Filter><Status>Disabled</Status>\
        <Expiration><Days>1</Days></Expiration></Rule>\
        <Rule><ID>markers</ID><Filter><Prefix></Prefix></Filter><Status>Enabled</Status>\
        <Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration></Rule>\
        <Rule><ID>versions</ID><Filter><Prefix></Prefix></Filter><Status>Enabled</Status>\
        <NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays></NoncurrentVersionExpiration></Rule>\
        </LifecycleConfiguration>";
    let encryption = "<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault>\
        <SSEAlgorithm>AES256</SSEAlgorithm></ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>";
    let versioning = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    let lock =
        "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>";
    let look = |answers: [String; 4]| {
        let script = Script::new(&answers.each_ref().map(String::as_str));
        let location = Location { prefix: "/lab/".to_owned(), ..location(&script.endpoint) };
        let found = super::posture("b".to_owned(), &location, Holds::Backups).unwrap();
        assert_eq!(script.asked().len(), 4);
        found
    };
    let good = look([said(rules), said(encryption), said(versioning), said(lock)]);
    let rule = ExpirationRule { name: "old".to_owned(), prefix: "lab/".to_owned(), days: 14 };
    assert_eq!((good.prefix.as_str(), good.lifecycle), ("lab/", Ok(vec![rule])));
    assert_eq!((good.is_encrypted, good.is_versioned, good.is_locked), (Ok(true), Ok(true), Ok(true)));

    let none = look([
        refused("404 Not Found", "NoSuchLifecycleConfiguration"),
        refused("404 Not Found", "ServerSideEncryptionConfigurationNotFoundError"),
        said("<VersioningConfiguration/>"),
        refused("404 Not Found", "ObjectLockConfigurationNotFoundError"),
    ]);
    assert_eq!((none.lifecycle, none.is_encrypted), (Ok(vec![]), Ok(false)));
    assert_eq!((none.is_versioned, none.is_locked), (Ok(false), Ok(false)));

    let denied = look([
        refused("403 Forbidden", "AccessDenied"),
        refused("405 Method Not Allowed", "MethodNotAllowed"),
        said(versioning),
        refused("404 Not Found", "NoSuchBucket"),
    ]);
    let needs = |fact: Missing| match fact {
        Missing::Unknown { needs, .. } => needs,
        Missing::NotApplicable(_) => "nothing".to_owned(),
    };
    assert_eq!(needs(denied.lifecycle.unwrap_err()), "s3:GetLifecycleConfiguration");
    assert_eq!(needs(denied.is_encrypted.unwrap_err()), "nothing");
    assert_eq!(needs(denied.is_locked.unwrap_err()), "a bucket that can be reached from here");
}
