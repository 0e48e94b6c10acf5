//! Copies of a Velero backup that are whole, and copies that were damaged in one way each.

use std::io::Write;
use std::process::Command;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use state_lab::replicas::{NewestComplete, Reading, Replica, compare};
use state_lab::s3::Bucket;

use crate::object_store::{ACCESS_KEY, Lock, ObjectStore, OwnBucket, SECRET_KEY};

const PREFIX: &str = "drills";
const PACK: &str = "kopia/shop/p1f2e-s93a1";

/// A bucket in each region, with the same two backups.
struct Regions<'a> {
    a: OwnBucket<'a>,
    b: OwnBucket<'a>,
}

fn gzip(value: &Value) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(value.to_string().as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// The objects of a backup, by key.
fn backup(name: &str, ended: Timestamp, volumes: &Value) -> Vec<(String, Vec<u8>)> {
    let began = ended - SignedDuration::from_mins(5);
    let status = json!({"phase": "Completed", "startTimestamp": began, "completionTimestamp": ended});
    let record = json!({"kind": "Backup", "metadata": {"name": name}, "status": status});
    vec![
        (format!("backups/{name}/{name}.tar.gz"), vec![7; 10_000]),
        (format!("backups/{name}/state-lab/shop.manifest"), b"manifest".to_vec()),
        (format!("backups/{name}/{name}-volumeinfo.json.gz"), gzip(volumes)),
        (format!("backups/{name}/velero-backup.json"), record.to_string().into_bytes()),
    ]
}

fn repository() -> Vec<(String, Vec<u8>)> {
    let object = |name: &str, content: &[u8]| (format!("kopia/shop/{name}"), content.to_vec());
    vec![
        object("kopia.repository", b"format"),
        object("p1f2e-s93a1", &[1; 200_000]),
        object("q1f2e-s93a1", &[2; 2_000]),
        object("xn0_1f2e-s93a1-c1", b"index"),
        object("xe1", b"epoch-marker"),
    ]
}

fn moved() -> Value {
    json!([{"pvcName": "data", "pvcNamespace": "shop", "backupMethod": "CSISnapshot", "snapshotDataMoved": true,
            "result": "succeeded", "snapshotDataMovementInfo": {"dataMover": "velero", "uploaderType": "kopia"}}])
}

impl<'a> Regions<'a> {
    /// `nightly-001` and `nightly-002`, which ended so long ago, in both regions.
    fn new(stores: &'a (ObjectStore, ObjectStore), ended: SignedDuration, volumes: &Value) -> Self {
        let regions = Self { a: stores.0.bucket(Lock::None), b: stores.1.bucket(Lock::None) };
        let ended = Timestamp::now() - ended;
        for side in [&regions.a, &regions.b] {
            let bucket = side.open(PREFIX);
            // Kopia writes without checksums, Velero with them.
            repository()
                .iter()
                .for_each(|(key, content)| side.overwrite(&format!("{PREFIX}/{key}"), content));
            for name in ["nightly-001", "nightly-002"] {
                backup(name, ended, volumes)
                    .iter()
                    .for_each(|(key, content)| bucket.put_new(key, content).unwrap());
            }
        }
        regions
    }

    fn compare(&self, backup: &str, reading: Reading) -> Replica {
        let (a, b) = (self.a.open(PREFIX), self.b.open(PREFIX));
        compare(&a, &b, backup, reading, Timestamp::now(), &|_| {}).unwrap()
    }

    fn verdict(&self) -> (String, Vec<(String, String)>, Option<String>) {
        let found = self.compare("nightly-002", Reading::WhereNeeded);
        let findings =
            found.findings.iter().map(|finding| (finding.code.as_str().to_owned(), finding.key.clone()));
        let newest = match &found.newest_complete {
            NewestComplete::Found { backup, .. } => Some(backup.clone()),
            NewestComplete::None { .. } => None,
        };
        (found.verdict.to_string(), findings.collect(), newest)
    }
}

fn healthy(newest: &str) -> (String, Vec<(String, String)>, Option<String>) {
    ("pass".to_owned(), Vec::new(), Some(newest.to_owned()))
}

fn failing(code: &str, key: &str, newest: Option<&str>) -> (String, Vec<(String, String)>, Option<String>) {
    ("fail".to_owned(), vec![(code.to_owned(), key.to_owned())], newest.map(str::to_owned))
}

#[test]
fn a_whole_copy_passes_by_checksum_or_by_reading() {
    let Some(stores) = ObjectStore::pair("a_whole_copy_passes") else { return };
    let regions = Regions::new(&stores, SignedDuration::ZERO, &moved());
    assert_eq!(regions.verdict(), healthy("nightly-002"));
    let depth = regions.compare("nightly-002", Reading::WhereNeeded).depth;
    assert_eq!((depth.objects, depth.by_checksum, depth.by_reading), (9, 4, 5));
    let depth = regions.compare("nightly-001", Reading::Everything).depth;
    assert_eq!((depth.objects, depth.by_checksum, depth.by_reading), (9, 0, 9));
}

#[test]
fn what_every_run_rewrites_and_what_only_the_copy_has_is_no_difference() {
    let Some(stores) = ObjectStore::pair("what_every_run_rewrites") else { return };
    let regions = Regions::new(&stores, SignedDuration::ZERO, &moved());
    regions.a.overwrite("drills/kopia/shop/kopia.maintenance", b"a");
    regions.b.overwrite("drills/kopia/shop/kopia.maintenance", b"b");
    regions.a.overwrite("drills/kopia/shop/_log_1", b"a");
    regions.a.overwrite("drills/kopia/shop/s93a1", b"a");
    regions.b.overwrite("drills/kopia/shop/p0", b"deleted in a");
    regions.b.overwrite("drills/backups/nightly-002/more", b"");
    assert_eq!(regions.verdict(), healthy("nightly-002"));
    assert_eq!(regions.compare("nightly-002", Reading::WhereNeeded).extra, 2);
}

#[test]
fn a_report_that_is_on_its_way_fails_no_copy() {
    let Some(stores) = ObjectStore::pair("a_report_that_is_on_its_way") else { return };
    let regions = Regions::new(&stores, SignedDuration::ZERO, &moved());
    let report = "backups/nightly-002/state-lab/reports/1.json";
    regions.a.overwrite(&format!("{PREFIX}/{report}"), b"{}");
    let notice = ("object.later".to_owned(), report.to_owned());
    assert_eq!(regions.verdict(), ("pass".to_owned(), vec![notice], Some("nightly-002".to_owned())));
}

#[test]
fn an_object_that_is_missing_changed_or_left_behind_is_found() {
    let Some(stores) = ObjectStore::pair("an_object_that_is_missing") else { return };
    let regions = Regions::new(&stores, SignedDuration::ZERO, &moved());
    let b = regions.b.open(PREFIX);
    let restore = |key: &str, content: &[u8]| regions.b.overwrite(&format!("{PREFIX}/{key}"), content);
    // A backup's own object: the older backup is not harmed.
    let manifest = "backups/nightly-002/state-lab/shop.manifest";
    b.delete(manifest).unwrap();
    assert_eq!(regions.verdict(), failing("object.missing", manifest, Some("nightly-001")));
    // Now both have a checksum, then the copy has none.
    b.put_new(manifest, b"manifesT").unwrap();
    assert_eq!(regions.verdict(), failing("object.different", manifest, Some("nightly-001")));
    restore(manifest, b"manifesT");
    assert_eq!(regions.verdict(), failing("object.different", manifest, Some("nightly-001")));
    restore(manifest, b"manifest");
    regions.a.overwrite(&format!("{PREFIX}/{manifest}"), b"Manifest");
    assert_eq!(regions.verdict(), failing("object.stale", manifest, Some("nightly-001")));
    restore(manifest, b"Manifest");
    assert_eq!(regions.verdict(), healthy("nightly-002"));
    // An object of the repository, which all backups need; one byte of the same length.
    let mut pack = vec![1; 200_000];
    pack[100_000] = 0;
    restore(PACK, &pack);
    assert_eq!(regions.verdict(), failing("object.different", PACK, None));
    restore(PACK, &[1; 199_999]);
    assert_eq!(regions.verdict(), failing("object.different", PACK, None));
    b.delete(PACK).unwrap();
    assert_eq!(regions.verdict(), failing("object.missing", PACK, None));
    restore(PACK, &[1; 200_000]);
    assert_eq!(regions.verdict(), healthy("nightly-002"));
}

#[test]
fn what_came_after_the_backup_and_is_missing_leaves_the_verdict_open_where_maintenance_ran() {
    let Some(stores) = ObjectStore::pair("what_came_after_the_backup") else { return };
    let regions = Regions::new(&stores, SignedDuration::from_hours(1), &moved());
    let key = "kopia/shop/p9-s9";
    regions.a.overwrite(&format!("{PREFIX}/{key}"), b"later");
    let open = ("inconclusive".to_owned(), vec![("object.later".to_owned(), key.to_owned())], None);
    assert_eq!(regions.verdict(), open);
}

#[test]
fn volumes_that_are_not_in_the_bucket_leave_the_verdict_open() {
    let Some(stores) = ObjectStore::pair("volumes_that_are_not_in_the_bucket") else { return };
    let snapshot = json!([{"pvcName": "data", "pvcNamespace": "shop", "backupMethod": "CSISnapshot", "result": "succeeded"}]);
    let regions = Regions::new(&stores, SignedDuration::ZERO, &snapshot);
    let found = regions.compare("nightly-002", Reading::WhereNeeded);
    assert_eq!(found.verdict.to_string(), "inconclusive");
    assert_eq!(found.not_covered.len(), 1);
    assert!(found.not_covered[0].reason.contains("CSI snapshot"));
    assert!(matches!(found.newest_complete, NewestComplete::None { .. }));
    // Velero did not say where the data are.
    for side in [&regions.a, &regions.b] {
        side.open(PREFIX).delete("backups/nightly-002/nightly-002-volumeinfo.json.gz").unwrap();
    }
    let found = regions.compare("nightly-002", Reading::WhereNeeded);
    assert_eq!(found.verdict.to_string(), "inconclusive");
    assert!(found.not_covered[0].reason.contains("volumeinfo.json.gz"), "{found:?}");
    // A backup without volumes is whole.
    let regions = Regions::new(&stores, SignedDuration::ZERO, &json!([]));
    assert_eq!(regions.verdict(), healthy("nightly-002"));
}

#[test]
fn the_command_says_it_with_its_exit_status() {
    let Some(stores) = ObjectStore::pair("the_command_says_it") else { return };
    let regions = Regions::new(&stores, SignedDuration::ZERO, &moved());
    let directory = tempfile::tempdir().unwrap();
    let table = |name: &str, store: &ObjectStore, bucket: &OwnBucket<'_>| {
        format!(
            "[regions.{name}]\nendpoint = \"{}\"\nregion = \"{}\"\nbucket = \"{}\"\nprefix = \"{PREFIX}\"\n",
            store.endpoint, store.region, bucket.name
        )
    };
    let toml = table("a", &stores.0, &regions.a)
        + &table("b", &stores.1, &regions.b)
        + "[regions.dead]\nbucket = \"velero\"\nendpoint = \"http://127.0.0.1:1\"\n";
    std::fs::write(directory.path().join("state-lab.toml"), toml).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("state-lab"));
        command.env_clear().env("HOME", directory.path()).current_dir(directory.path());
        command.env("AWS_ACCESS_KEY_ID", ACCESS_KEY).env("AWS_SECRET_ACCESS_KEY", SECRET_KEY);
        let output = command.arg("replicas").args(arguments).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (status, out, err) = run(&["nightly-002"]);
    assert_eq!(status, Some(0), "{out}{err}");
    assert!(out.starts_with("replica: pass\nnewest_complete_copy: nightly-002, begun 20"), "{out}");
    assert!(err.contains("comparing kopia/shop/: 5 objects\n"), "{err}");
    regions.b.open(PREFIX).delete(PACK).unwrap();
    let (status, out, _) = run(&["nightly-002", "--output", "json"]);
    let json: Value = serde_json::from_str(&out).unwrap();
    let found = (&json["verdict"], &json["findings"][0]["code"], &json["newest_complete"]["looked_at"]);
    assert_eq!((status, found), (Some(1), (&json!("fail"), &json!("object.missing"), &json!(2))));
    let (status, _, err) = run(&["nightly-003"]);
    assert!(status == Some(2) && err.contains("there are nightly-001, nightly-002"), "{err}");
    let (status, _, err) = run(&["nightly-002", "--to", "a"]);
    assert!(status == Some(2) && err.contains("are the same place"), "{err}");
    let (status, _, err) = run(&["nightly-002", "--to", "c"]);
    assert!(status == Some(2) && err.contains("the configuration names a, b, dead"), "{err}");
    let (status, _, err) = run(&["nightly-002", "--to", "dead"]);
    assert!(status == Some(2) && err.contains("hint: is the endpoint right"), "{err}");
}

#[test]
fn what_the_service_replicates_arrives_and_is_equal() {
    let test = "what_the_service_replicates_arrives";
    let Some((a, b)) = ObjectStore::pair(test) else { return };
    let (Some(a), Some(b)) = (a.shared_bucket(test), b.shared_bucket(test)) else { return };
    let folder = a.folder.clone().unwrap();
    let (original, copy): (Bucket, Bucket) = (a.open(&folder), b.open(&folder));
    for (key, content) in backup("nightly-001", Timestamp::now(), &json!([])) {
        original.put_new(&key, &content).unwrap();
    }
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let found = compare(&original, &copy, "nightly-001", Reading::WhereNeeded, Timestamp::now(), &|_| {})
            .unwrap();
        if found.verdict.to_string() == "pass" {
            assert_eq!((found.depth.objects, found.findings), (4, Vec::new()));
            break;
        }
        // On the way nothing but absence is seen.
        assert!(found.findings.iter().all(|finding| finding.code.as_str() == "object.missing"), "{found:?}");
        assert!(Instant::now() < deadline, "{found:?}");
        std::thread::sleep(Duration::from_millis(200));
    }
    let replication = copy.head("backups/nightly-001/velero-backup.json").unwrap().unwrap().replication;
    assert_eq!(replication.as_deref(), Some("REPLICA"));
}
