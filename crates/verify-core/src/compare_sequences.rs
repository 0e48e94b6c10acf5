//! Comparison of sequences.

use std::collections::{BTreeMap, BTreeSet};

use crate::compare::{ComparisonDraft, Doubts};
use crate::database::UNLOGGED_IN_RECOVERY;
use crate::finding::{Code, Finding};
use crate::heartbeat;
use crate::manifest::{Consistency, Manifest};
use crate::not_covered::Check;
use crate::sequence::{OwnedBy, Sequence, SequenceValue, Standing};

/// Sequences whose values the capture did not read when the restored database's were fixed.
#[derive(Clone, Copy)]
struct Apart {
    /// The time of the capture's, relative to those.
    when: &'static str,
    /// True if those may be later than the capture's; they may always be earlier.
    may_be_later: bool,
    /// True if the values of the restored sequence's column are known.
    column_known: bool,
}

impl ComparisonDraft<'_> {
    pub(crate) fn sequences(&mut self, source: &Manifest, restored: &Manifest) {
        let theirs: BTreeMap<_, _> =
            restored.sequences.iter().map(|sequence| (&sequence.name, sequence)).collect();
        let files = source.header.consistency.is_of_files();
        let apart = match source.header.consistency {
            Consistency::CommitOrder(_) => Some(("after the position at which recovery ended", false)),
            Consistency::ImportedSnapshot => Some(("at another time than the dump", true)),
            _ => None,
        };
        for ours in &source.sequences {
            match theirs.get(&ours.name) {
                None => self.find(Code::SequenceMissing, &ours.name, "the sequence is missing"),
                Some(_) if ours.unreadable.as_deref() == Some(UNLOGGED_IN_RECOVERY) => {
                    let message = "unlogged, and the source was a standby, which does not have its value";
                    self.not_covered(Check::Sequences, &ours.name, message);
                    self.findings.push(Finding::new(Code::UnloggedLost, &ours.name, message).excused());
                }
                Some(theirs) if is_reset(ours, theirs, files) => self.sequence_reset(ours, files),
                Some(theirs) => {
                    let is_empty = |owner: &OwnedBy| {
                        restored
                            .table(&owner.table)
                            .is_some_and(|table| table.is_measured() && table.rows() == 0)
                    };
                    let column_known = theirs
                        .owned_by
                        .as_ref()
                        .is_some_and(|owner| owner.furthest.is_some() || is_empty(owner));
                    self.sequence(
                        ours,
                        theirs,
                        apart.map(|(when, may_be_later)| Apart { when, may_be_later, column_known }),
                    );
                }
            }
        }
        let ours: BTreeSet<_> = source.sequences.iter().map(|sequence| &sequence.name).collect();
        for added in restored.sequences.iter().filter(|sequence| !ours.contains(&sequence.name)) {
            self.find(Code::SequenceAdded, &added.name, "the source has no such sequence");
        }
    }

    /// A sequence that seems to be behind, but was read by the capture at another time: only its column shows whether it is.
    fn sequence_earlier(&mut self, ours: &Sequence, apart: &Apart, found: i128, captured: i128) {
        let message =
            format!("its next value is {found}, and was {captured} when the capture read it, {}", apart.when);
        if apart.column_known {
            let reason = format!("{message}: compared with the values of its column alone");
            self.not_covered(Check::Sequences, &ours.name, reason);
        } else {
            self.not_covered(Check::Sequences, &ours.name, message.clone());
            let mut finding = Finding::new(Code::SequenceBehind, &ours.name, message)
                .with_hint("check where its values are in use");
            finding.doubt();
            self.findings.push(finding);
        }
    }

    /// A restore from files resets an unlogged sequence; one from a dump does not.
    fn sequence_reset(&mut self, ours: &Sequence, files: bool) {
        let message = "unlogged, so a restore from files resets it, and one from a dump does not";
        let finding = Finding::new(Code::UnloggedLost, &ours.name, message);
        self.not_covered(Check::Sequences, &ours.name, message);
        self.findings.push(if files { finding.excused() } else { finding });
    }

    /// `apart` is present if the values may be older than those that the capture read.
    fn sequence(&mut self, ours: &Sequence, theirs: &Sequence, apart: Option<Apart>) {
        let (Some(value), Some(earliest), Some(latest)) = (theirs.earliest, ours.earliest, ours.latest)
        else {
            let message = unread(ours, theirs);
            self.not_covered(Check::Sequences, &ours.name, message.clone());
            self.find(Code::SequenceUnreadable, &ours.name, message);
            return;
        };
        self.coverage.sequences += 1;
        if (ours.increment, ours.cycles) != (theirs.increment, theirs.cycles) {
            let options = |sequence: &Sequence| {
                let cycles = if sequence.cycles { "CYCLE" } else { "NO CYCLE" };
                format!("INCREMENT {} {cycles}", sequence.increment)
            };
            let message = format!("its options are {}, on the source {}", options(theirs), options(ours));
            self.find(Code::SequenceChanged, &ours.name, message);
            return;
        }
        let next = |value: SequenceValue| value.next(ours.increment);
        let hint = |furthest: i64| format!("SELECT setval('{}', {furthest})", ours.name);
        let name = &ours.name;
        if name.schema == heartbeat::SCHEMA && name.name == heartbeat::SEQUENCE {
            // It continues between a capture and a backup, and no other keys depend on it.
            return;
        }
        match (ours.standing(value), &apart) {
            (Some(Standing::Behind), Some(apart)) => {
                self.sequence_earlier(ours, apart, next(value), next(earliest));
            }
            (Some(Standing::Behind), None) => {
                let message = format!(
                    "its next value is {}, and was {} when the source was captured: it will return values again",
                    next(value),
                    next(earliest)
                );
                self.findings.push(
                    Finding::new(Code::SequenceBehind, &ours.name, message)
                        .with_hint(hint(latest.last_value)),
                );
                // At an unknown point in time only a collision is wrong.
                if self.doubts != Doubts::OfInstant {
                    return;
                }
            }
            // No key is given twice by one that is ahead.
            (Some(Standing::Ahead), Some(Apart { may_be_later: true, when, .. })) => {
                let message = format!(
                    "its next value is {}, and was {} when the capture read it, {when}",
                    next(value),
                    next(latest)
                );
                self.not_covered(Check::Sequences, &ours.name, message);
            }
            (Some(Standing::Ahead), _) => {
                let message =
                    format!("its next value is {}, further than the source's {}", next(value), next(latest));
                self.find(Code::SequenceAhead, &ours.name, message);
            }
            (Some(Standing::Accepted) | None, _) => {}
        }
        let Some(owner) = &theirs.owned_by else { return };
        if let Some(furthest) = owner.furthest.filter(|&furthest| theirs.collides(value, furthest)) {
            let message = format!(
                "its next value is {}, while {}.{} contains {furthest}: it will return a value that is in use",
                next(value),
                owner.table,
                owner.column
            );
            // Where the source had it the same way, the restore is not to blame.
            let on_source = ours.owned_by.as_ref().and_then(|owner| owner.furthest);
            let inherited = on_source.is_some_and(|furthest| ours.collides(earliest, furthest));
            let finding = Finding::new(Code::SequenceCollides, &ours.name, message).with_hint(hint(furthest));
            self.findings.push(if inherited { finding.excused() } else { finding });
        }
    }
}

/// Returns whether an unlogged sequence is as new, or cannot be read, as in the recovery in which a copy of files is compared.
fn is_reset(ours: &Sequence, theirs: &Sequence, files: bool) -> bool {
    let reset = match theirs.earliest {
        Some(value) => !value.is_called && ours.standing(value) == Some(Standing::Behind),
        None => files,
    };
    ours.unlogged && theirs.unlogged && reset
}

/// Reason why the values of a sequence cannot be compared.
fn unread(ours: &Sequence, theirs: &Sequence) -> String {
    let sides = [(ours, "on the source"), (theirs, "in the restored database")];
    let why = sides.iter().filter_map(|(sequence, side)| {
        Some(format!("could not be read {side}: {}", sequence.unreadable.as_ref()?))
    });
    let why: Vec<String> = why.collect();
    if why.is_empty() { "its value could not be read".to_owned() } else { why.join("; ") }
}
