//! The manifest as a file: the same bytes for the same input, and nothing else is accepted.

use std::sync::LazyLock;

use proptest::prelude::*;
use verify_core::ErrorKind;
use verify_core::capture::capture;
use verify_core::compare::compare;
use verify_core::definition::Definitions;
use verify_core::event;
use verify_core::finding::Verdict;
use verify_core::manifest::Manifest;
use verify_core::plan::Plan;

use crate::memory::{Memory, MemoryTable, definition};

fn manifest(rows: i64) -> Manifest {
    let tables =
        vec![MemoryTable::new("t", 0..rows), MemoryTable { keyed: false, ..MemoryTable::new("u", 0..5) }];
    let definitions = vec![definition("table", "public.t", &[("owner", "alice")])];
    capture(&Memory { tables, definitions, ..Memory::default() }, &Plan::default(), &event::ignore)
        .expect("a capture")
}

fn bytes(manifest: &Manifest) -> Vec<u8> {
    let mut bytes = Vec::new();
    manifest.write(&mut bytes).expect("memory can be written");
    bytes
}

#[test]
fn it_comes_back_whole_and_is_the_same_every_time() {
    for rows in [0, 100, 5_000] {
        let manifest = manifest(rows);
        let written = bytes(&manifest);
        assert_eq!(bytes(&manifest), written);
        assert_eq!(Manifest::read(&written[..]).expect("whole"), manifest);
    }
}

/// A manifest of other lines than those of `whole`, sealed as well as anybody can: neither hash has a key.
fn forged(whole: &[u8], change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    const SEAL_HASH: usize = 32;
    const SEAL_HEAD: usize = 8;
    let (frame, seal) = whole.split_at(whole.len() - SEAL_HEAD - SEAL_HASH);
    let mut lines = zstd::decode_all(frame).expect("a frame");
    let trailer = lines[..lines.len() - 1].iter().rposition(|byte| *byte == b'\n').expect("lines") + 1;
    lines.truncate(trailer);
    change(&mut lines);
    let (count, hash) = (lines.iter().filter(|byte| **byte == b'\n').count(), blake3::hash(&lines).to_hex());
    lines.extend(format!("{{\"trailer\":{{\"lines\":{count},\"blake3\":\"{hash}\"}}}}\n").bytes());
    let frame = zstd::encode_all(&lines[..], 1).expect("memory");
    [&frame[..], &seal[..SEAL_HEAD], blake3::hash(&frame).as_bytes()].concat()
}

/// Manifests with a list and with a sketch, and their files.
static WHOLE: LazyLock<[(Manifest, Vec<u8>); 2]> = LazyLock::new(|| {
    [50, 3_000].map(|rows| {
        let manifest = manifest(rows);
        let written = bytes(&manifest);
        (manifest, written)
    })
});

#[test]
fn a_forged_manifest_is_read_where_its_lines_are_those_of_a_manifest() {
    let whole = manifest(50);
    assert_eq!(Manifest::read(&forged(&bytes(&whole), |_| ())[..]).expect("sealed"), whole);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever the lines are, reading them ends, and what was read can be used.
    #[test]
    fn no_forged_line_panics(
        large in any::<bool>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(b"\"{}[]:,-0123456789abcnulltre\\ \0\xff".to_vec())), 1..4),
        cut in prop::option::of((any::<prop::sample::Index>(), 1_usize..200)),
    ) {
        let (whole, written) = &WHOLE[usize::from(large)];
        let forged = forged(written, |lines| {
            for (place, byte) in &damage {
                let place = place.index(lines.len() - 1);
                lines[place] = *byte;
            }
            if let Some((from, count)) = cut {
                let from = from.index(lines.len() - 1);
                lines.drain(from..(from + count).min(lines.len() - 1));
            }
        });
        if let Ok(read) = Manifest::read(&forged[..]) {
            let _ = compare(whole, &read);
            let _ = compare(&read, whole);
            bytes(&read);
        }
    }
}

proptest! {
    #[test]
    fn any_cut_is_refused(cut in 0.0..1.0_f64) {
        let written = bytes(&manifest(50));
        let cut = (written.len() as f64 * cut) as usize;
        let error = Manifest::read(&written[..cut]).expect_err("cut");
        prop_assert_eq!(error.kind(), &ErrorKind::Manifest);
    }

    #[test]
    fn any_flipped_bit_is_refused(at in 0.0..1.0_f64, bit in 0_u32..8) {
        let mut written = bytes(&manifest(50));
        let at = (written.len() as f64 * at) as usize;
        written[at] ^= 1 << bit;
        let error = Manifest::read(&written[..]).expect_err("flipped");
        prop_assert_eq!(error.kind(), &ErrorKind::Manifest);
    }

    #[test]
    fn anything_appended_is_refused(tail in prop::collection::vec(any::<u8>(), 1..60)) {
        let written = [bytes(&manifest(50)), tail].concat();
        let error = Manifest::read(&written[..]).expect_err("appended");
        prop_assert_eq!(error.kind(), &ErrorKind::Manifest);
    }

    #[test]
    fn garbage_is_refused(garbage in prop::collection::vec(any::<u8>(), 0..300)) {
        let error = Manifest::read(&garbage[..]).expect_err("garbage");
        prop_assert_eq!(error.kind(), &ErrorKind::Manifest);
    }
}

#[test]
fn every_single_byte_counts() {
    let written = bytes(&manifest(3));
    for at in 0..written.len() {
        let mut changed = written.clone();
        changed[at] = changed[at].wrapping_add(1);
        assert!(Manifest::read(&changed[..]).is_err(), "byte {at} of {}", written.len());
        assert!(Manifest::read(&written[..at]).is_err(), "cut at {at}");
    }
}

#[test]
fn another_version_is_refused_by_name() {
    let mut manifest = manifest(3);
    manifest.header.version += 1;
    let error = Manifest::read(&bytes(&manifest)[..]).expect_err("another version");
    assert_eq!(
        error.to_string(),
        "read the manifest: it is of version 4.1, and this state-lab reads 1.1 to 3.1"
    );
    assert_eq!(error.hint(), Some("use the state-lab that wrote it"));
}

#[test]
fn earlier_versions_have_fewer_definitions() {
    let before = Manifest { cluster: Definitions::Read(Vec::new()), ..manifest(3) };
    let mut before = Manifest { definitions: Definitions::Read(Vec::new()), ..before };
    before.header.version = 2;
    let read = Manifest::read(&bytes(&before)[..]).expect("the version before");
    assert_eq!(read.definitions, Definitions::Read(Vec::new()));
    assert!(matches!(&read.cluster, Definitions::Unread(reason) if reason.contains("did not read them")));

    let mut old = manifest(3);
    old.header.version = 1;
    old.definitions = Definitions::Read(Vec::new());
    let read = Manifest::read(&bytes(&old)[..]).expect("the version before");
    assert!(matches!(&read.definitions, Definitions::Unread(reason) if reason.contains("did not read them")));
    let comparison = compare(&read, &manifest(3));
    assert_eq!(comparison.verdict(), Verdict::Inconclusive, "{comparison:?}");
}

#[test]
fn definitions_that_could_not_be_read_come_back_as_such() {
    let unread = Manifest { definitions: Definitions::Unread("permission denied".to_owned()), ..manifest(3) };
    assert_eq!(Manifest::read(&bytes(&unread)[..]).expect("whole"), unread);
}

#[test]
fn it_is_json_lines_behind_plain_zstd() {
    let text = zstd::decode_all(&bytes(&manifest(3))[..]).expect("a plain zstd file");
    let text = String::from_utf8(text).expect("UTF-8");
    let kinds: Vec<String> = text
        .lines()
        .map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
            line.as_object().and_then(|line| line.keys().next().cloned()).expect("an object of one member")
        })
        .collect();
    assert_eq!(kinds, ["header", "table", "table", "definition", "pulse", "trailer"]);
}
