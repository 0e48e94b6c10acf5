//! Captures in parts on tables in memory: everything that a manifest has, and what one part meets.

use verify_core::capture::capture;
use verify_core::capture_part::capture_part;
use verify_core::database::Obstacle;
use verify_core::digest::HashKey;
use verify_core::event;
use verify_core::invariant::{Expect, Invariant};
use verify_core::manifest::Manifest;
use verify_core::merge::merge;
use verify_core::partial::PartNumber;
use verify_core::plan::Plan;
use verify_core::sequence::{Sequence, SequenceValue};
use verify_core::table::TableName;

use crate::memory::{Memory, MemoryTable, definition};

fn database() -> Memory {
    let value = Some(SequenceValue { last_value: 7, is_called: true });
    let obstacle = |name, obstacle| MemoryTable { obstacle: Some(obstacle), ..MemoryTable::new(name, 0..3) };
    Memory {
        tables: vec![
            MemoryTable::new("large", 0..3_000),
            MemoryTable::new("small", 0..5),
            MemoryTable::new("empty", 0..0),
            MemoryTable::new("truncated", 0..9),
            obstacle("denied", Obstacle::Unreadable("permission denied".into())),
            obstacle("broken", Obstacle::Damaged("invalid page".into())),
            obstacle("dropped", Obstacle::Dropped("it was dropped".into())),
            obstacle("locked", Obstacle::Locked("it is locked".into())),
        ],
        sequences: vec![Sequence {
            name: TableName::new("public", "s"),
            increment: 1,
            cycles: false,
            unlogged: false,
            owned_by: None,
            earliest: value,
            latest: value,
            unreadable: None,
        }],
        definitions: vec![definition("table", "public.small", &[("persistence", "permanent")])],
        cluster: vec![definition("role", "app", &[])],
        disturbed: vec![(TableName::new("public", "truncated"), "it was truncated".into())],
        ..Memory::default()
    }
}

fn written(manifest: &Manifest) -> Vec<u8> {
    let mut file = Vec::new();
    manifest.write(&mut file).expect("written to memory");
    file
}

#[test]
fn the_parts_of_a_database_are_its_manifest() {
    let invariant = Invariant { name: "stock".into(), sql: "SELECT 1".into(), expect: Expect::NoRows };
    let plan = Plan::default().with_invariants([invariant]);
    let database = database();
    let whole = capture(&database, &plan, &event::ignore).unwrap();
    for of in [1, 2, 3, 8] {
        let parts = (1..=of).map(|number| {
            let part = PartNumber::new(number, of).expect("one of them");
            let partial = capture_part(&database, part, HashKey([7; 32]), &plan, &event::ignore)?;
            assert_eq!(partial.tables().len(), database.tables.len());
            Ok::<_, verify_core::Error>((part.to_string(), partial))
        });
        assert_eq!(written(&merge(parts).unwrap()), written(&whole), "{of}");
    }
}
