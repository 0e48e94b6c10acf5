//! Buckets on a real S3 server.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, SystemTime};

use state_lab::s3::{Bucket, Checksum, Credentials, Location, Secret};
use verify_drill::duration::Period;

use crate::object_store::{ACCESS_KEY, Lock, ObjectStore, SECRET_KEY};

/// An error as a chain of causes.
fn refusal<T: std::fmt::Debug>(result: anyhow::Result<T>) -> String {
    format!("{:#}", result.unwrap_err())
}

#[test]
fn what_is_written_is_read_listed_looked_at_and_deleted() {
    let Some((store, _)) = ObjectStore::pair("what_is_written_is_read") else { return };
    let own = store.bucket(Lock::None);
    let (bucket, whole) = (own.open("pre/fix"), own.open(""));
    bucket.put_new("a/one", b"1").unwrap();
    bucket.put_new("a/b/ü two", &[2; 300_000]).unwrap();
    bucket.put_new("c", b"").unwrap();
    assert_eq!(bucket.get("a/one", 1).unwrap(), Some(b"1".to_vec()));
    assert_eq!(bucket.get("c", 0).unwrap(), Some(Vec::new()));
    assert_eq!(whole.get("pre/fix/a/b/ü two", 300_000).unwrap(), Some(vec![2; 300_000]));
    assert_eq!(bucket.get("none", 9).unwrap(), None);
    assert_eq!(bucket.head("none").unwrap(), None);
    assert!(refusal(bucket.get("a/b/ü two", 299_999)).ends_with("it is longer than 299999 bytes"));
    let keys = |prefix: &str| {
        bucket.list(prefix).unwrap().into_iter().map(|object| (object.key, object.size)).collect()
    };
    let listed: Vec<(String, u64)> = keys("");
    assert_eq!(listed, [("a/b/ü two".to_owned(), 300_000), ("a/one".to_owned(), 1), ("c".to_owned(), 0)]);
    let listed: Vec<(String, u64)> = keys("a/o");
    assert_eq!(listed, [("a/one".to_owned(), 1)]);
    assert_eq!(bucket.folders("").unwrap(), ["a"]);
    assert_eq!(bucket.folders("a/").unwrap(), ["b"]);
    let head = bucket.head("a/one").unwrap().unwrap();
    let sha256 = "a4ayc/80/OGda4BO/1o/V0etpOqiLx1JwB5S3beHW0s=".to_owned();
    assert_eq!((head.size, head.checksums), (1, BTreeMap::from([(Checksum::Sha256, sha256)])));
    assert_eq!(head.replication, None);
    bucket.delete("a/one").unwrap();
    assert_eq!(bucket.get("a/one", 1).unwrap(), None);
}

#[test]
fn more_than_a_page_is_listed() {
    let Some((store, _)) = ObjectStore::pair("more_than_a_page_is_listed") else { return };
    let own = store.bucket(Lock::None);
    let bucket = own.open("many");
    std::thread::scope(|scope| {
        for tens in 0..8 {
            let bucket = &bucket;
            scope.spawn(move || {
                (0..130).for_each(|ones| bucket.put_new(&format!("{tens}/{ones:03}"), b"").unwrap());
            });
        }
    });
    let listed = bucket.list("").unwrap();
    assert_eq!((listed.len(), listed[1_039].key.as_str()), (1_040, "7/129"));
}

#[test]
fn what_is_there_is_never_replaced_and_of_two_racers_one_wins() {
    let Some((store, _)) = ObjectStore::pair("what_is_there_is_never_replaced") else { return };
    let own = store.bucket(Lock::None);
    let bucket = own.open("");
    bucket.put_new("one", b"first").unwrap();
    let refused = refusal(bucket.put_new("one", b"second"));
    let expected = format!(
        "failed to write s3://{}/one at {}: it is there already, and evidence is never overwritten; use another key",
        own.name, store.endpoint
    );
    assert_eq!(refused, expected);
    assert_eq!(bucket.get("one", 9).unwrap().unwrap(), b"first");
    // The same content is no excuse.
    assert!(refusal(bucket.put_new("one", b"first")).contains("it is there already"));
    for round in 0..8 {
        let key = format!("race/{round}");
        let barrier = std::sync::Barrier::new(2);
        let race = |content: &'static [u8]| {
            barrier.wait();
            bucket.put_new(&key, content).is_ok()
        };
        let (one, other) = std::thread::scope(|scope| {
            let other = scope.spawn(|| race(b"other"));
            (race(b"one"), other.join().unwrap())
        });
        assert!(one ^ other, "round {round}: {one} {other}");
        assert_eq!(
            bucket.get(&key, 9).unwrap().unwrap(),
            if one { b"one".to_vec() } else { b"other".to_vec() }
        );
    }
}

#[test]
fn what_is_long_goes_in_parts_and_appears_whole_or_not() {
    let Some((store, _)) = ObjectStore::pair("what_is_long_goes_in_parts") else { return };
    let own = store.bucket(Lock::None);
    let bucket = own.open("");
    let long: Vec<u8> = (0..70_u32 << 20).map(|number| (number % 251) as u8).collect();
    bucket.put_new("long", &long).unwrap();
    assert!(bucket.get("long", 1 << 30).unwrap().unwrap() == long);
    // A checksum of checksums is none of the whole.
    assert_eq!(bucket.head("long").unwrap().unwrap().checksums, BTreeMap::new());
    assert!(refusal(bucket.put_new("long", &long)).contains("it is there already"));
    assert_eq!(own.unfinished(), 0);
}

#[test]
fn evidence_is_locked_where_it_is_asked_for() {
    let Some((store, _)) = ObjectStore::pair("evidence_is_locked_where_it_is_asked_for") else { return };
    let days = |days: u64| Some(Period::from_ms(days * 86_400_000));
    let put = |lock, retain| {
        let own = store.bucket(lock);
        let bucket = Bucket::open(&Location { retain, ..own.location("") }).unwrap();
        let put = bucket.put_new("evidence", b"1").map_err(|error| format!("{error:#}"));
        put.map(|()| own.retention("evidence"))
    };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let about = |found: Option<(String, i64)>, days: u64| {
        let (mode, until) = found.unwrap();
        let expected = (now + Duration::from_secs(days * 86_400)).as_secs();
        assert!(
            mode == "GOVERNANCE" && (until - i64::try_from(expected).unwrap()).abs() < 60,
            "{mode} {until}"
        );
    };
    assert_eq!(put(Lock::None, None), Ok(None));
    assert_eq!(put(Lock::OnRequest, None), Ok(None));
    about(put(Lock::OnRequest, days(30)).unwrap(), 30);
    about(put(Lock::ByDefault, None).unwrap(), 1);
    about(put(Lock::ByDefault, days(1)).unwrap(), 1);
    about(put(Lock::ByDefault, days(3)).unwrap(), 3);
    assert!(
        put(Lock::None, days(30))
            .unwrap_err()
            .contains("retain evidence for 30d, and the bucket has no object lock")
    );
}

#[test]
fn what_goes_wrong_is_told_in_the_words_of_the_service() {
    let Some((store, _)) = ObjectStore::pair("what_goes_wrong_is_told") else { return };
    let own = store.bucket(Lock::None);
    let open = |bucket: &str, endpoint: &str, secret: &str| {
        let ini = format!("[default]\naws_access_key_id={ACCESS_KEY}\naws_secret_access_key={secret}\n");
        let credentials = Credentials::File { ini: Secret::new(ini), profile: "default".to_owned() };
        let location = own.location("");
        Bucket::open(&Location {
            bucket: bucket.into(),
            endpoint: Some(endpoint.into()),
            credentials,
            ..location
        })
        .unwrap()
    };
    let absent = open("state-lab-none", &store.endpoint, SECRET_KEY);
    for refused in [
        refusal(absent.get("k", 9)),
        refusal(absent.head("k")),
        refusal(absent.list("k")),
        refusal(absent.put_new("k", b"")),
    ] {
        assert!(
            refused.contains("s3://state-lab-none/k at http://") && refused.contains(": NoSuchBucket: "),
            "{refused}"
        );
    }
    let stranger = open(&own.name, &store.endpoint, "another-secret");
    for refused in [refusal(stranger.get("k", 9)), refusal(stranger.put_new("k", b""))] {
        assert!(
            refused.contains("SignatureDoesNotMatch: ") && !refused.contains("another-secret"),
            "{refused}"
        );
    }
    assert!(refusal(stranger.head("k")).ends_with("HTTP status 403, forbidden"));
    let nowhere = open(&own.name, "http://127.0.0.1:1", SECRET_KEY);
    let refused = refusal(nowhere.put_new("k", b""));
    assert!(refused.contains("at http://127.0.0.1:1: ") && refused.contains("refused"), "{refused}");
}

#[test]
fn a_manifest_and_a_report_live_in_s3() {
    let Some((store, _)) = ObjectStore::pair("a_manifest_and_a_report_live_in_s3") else { return };
    let server = fixtures::server(18).unwrap();
    server.psql("postgres", "CREATE TABLE orders AS SELECT i AS id FROM generate_series(1, 100) i").unwrap();
    let own = store.bucket(Lock::OnRequest);
    let directory = tempfile::tempdir().unwrap();
    let toml =
        format!("[s3]\nendpoint = \"{}\"\nregion = \"{}\"\nretain = \"1h\"\n", store.endpoint, store.region);
    std::fs::write(directory.path().join("state-lab.toml"), toml).unwrap();
    server.copy_database("postgres", "restored").unwrap();
    let (database, restored) = (server.conninfo("postgres"), server.conninfo("restored"));
    let run = |arguments: &[&str]| {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("state-lab"));
        command.env_clear().env("HOME", directory.path()).current_dir(directory.path()).args(arguments);
        let output =
            command.env("AWS_ACCESS_KEY_ID", ACCESS_KEY).env("AWS_SECRET_ACCESS_KEY", SECRET_KEY).output();
        let output = output.unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let at = |key: &str| format!("s3://{}/{key}", own.name);
    let (manifest, report) = (at("m"), at("reports/r.json"));
    let capture = ["capture", &database, "-o", &manifest];
    let (status, out, err) = run(&capture);
    assert!(out.starts_with(&format!("manifest: {manifest}\n")), "{out}{err}");
    let passed = status;
    // At once, without reading the database.
    let (status, out, err) = run(&capture);
    assert_eq!((status, out.as_str()), (Some(2), ""));
    let told =
        format!("failed to write {manifest} at {}: it is there already; --force replaces it", store.endpoint);
    assert_eq!(err, format!("error: {told}\n"));
    let (status, ..) = run(&[&capture[..], &["--force"]].concat());
    assert_eq!(status, passed);
    let (status, out, err) = run(&["verify", &manifest, &restored, "--report", &report]);
    assert_eq!(status, passed, "{out}{err}");
    assert_eq!(run(&["show", &report]).1, out);
    assert_eq!(run(&["show", &manifest]).0, Some(0));
    assert_eq!(own.retention("m").unwrap().0, "GOVERNANCE");
    let (status, _, err) = run(&["show", &at("none")]);
    assert_eq!(status, Some(2));
    assert!(err.ends_with("none: there is no such object\n"), "{err}");
}
