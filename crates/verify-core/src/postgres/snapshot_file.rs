//! The files of `pg_snapshots/`, in which PostgreSQL keeps exported snapshots (`snapmgr.c`, `ExportSnapshot`).
//!
//! The format is undocumented, so nothing is written before the server's own file was read and understood.

use std::collections::BTreeSet;

use super::anchor::TransactionSnapshot;

/// The transaction that offers the snapshot: it can be imported as long as this transaction runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Offerer {
    /// Process id.
    pub pid: i64,
    /// Virtual transaction id as `pg_locks` writes it: `backend/local`.
    pub vxid: String,
    /// Object id of the database.
    pub database_oid: u32,
}

impl Offerer {
    /// The name of a file of this offerer, as PostgreSQL would form it.
    pub(super) fn file_name(&self, number: u32) -> Option<String> {
        let (backend, local) = self.vxid.split_once('/')?;
        Some(format!("{:08X}-{:08X}-{number}", backend.parse::<u32>().ok()?, local.parse::<u32>().ok()?))
    }
}

/// The lines of a snapshot file. `recovery` is whether it was taken during recovery, `iso` 2 for repeatable read.
pub(super) fn lines(
    offerer: &Offerer,
    snapshot: &TransactionSnapshot,
    subtransactions: &BTreeSet<u64>,
    flags: Flags,
) -> Vec<String> {
    // The file holds 32-bit transaction ids, without their epoch.
    let short = |xid: &u64| *xid & 0xffff_ffff;
    let mut lines = vec![
        format!("vxid:{}", offerer.vxid),
        format!("pid:{}", offerer.pid),
        format!("dbid:{}", offerer.database_oid),
        "iso:2".to_owned(),
        format!("ro:{}", u8::from(flags.read_only)),
        format!("xmin:{}", short(&snapshot.xmin)),
        format!("xmax:{}", short(&snapshot.xmax)),
        format!("xcnt:{}", snapshot.xip.len()),
    ];
    lines.extend(snapshot.xip.iter().map(|xid| format!("xip:{}", short(xid))));
    lines.push("sof:0".to_owned());
    lines.push(format!("sxcnt:{}", subtransactions.len()));
    lines.extend(subtransactions.iter().map(|xid| format!("sxp:{}", short(xid))));
    lines.push(format!("rec:{}", u8::from(flags.recovery)));
    lines
}

/// Flags in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flags {
    pub read_only: bool,
    pub recovery: bool,
}

/// Returns whether this server's own file reads like the ones that [`lines`] writes.
///
/// On a standby the server lists all transactions in progress as sub-transactions; their order is its own, and an
/// overflow of them leaves the list out.
pub(super) fn understood(file: &str, offerer: &Offerer) -> bool {
    let found: Vec<&str> = file.lines().collect();
    let values = |key: &str| -> Option<BTreeSet<u64>> {
        found.iter().filter_map(|line| line.strip_prefix(key)).map(|value| value.parse().ok()).collect()
    };
    let one = |key: &str| values(key).filter(|set| set.len() == 1).and_then(|set| set.first().copied());
    let (Some(xmin), Some(xmax), Some(xip), Some(sub)) =
        (one("xmin:"), one("xmax:"), values("xip:"), values("sxp:"))
    else {
        return false;
    };
    let snapshot = TransactionSnapshot { xmin, xmax, xip };
    let flags = Flags { read_only: one("ro:") == Some(1), recovery: true };
    let overflowed = one("sof:") == Some(1);
    let mut expected = lines(offerer, &snapshot, &sub, flags);
    if overflowed {
        expected.retain(|line| !line.starts_with("sxcnt:"));
        expected.iter_mut().filter(|line| *line == "sof:0").for_each(|line| "sof:1".clone_into(line));
    }
    let sorted = |lines: Vec<String>| {
        let mut lines = lines;
        lines.sort();
        lines
    };
    let keys = |lines: &[String]| -> Vec<String> {
        let mut keys: Vec<String> =
            lines.iter().filter_map(|line| line.split_once(':')).map(|(key, _)| key.to_owned()).collect();
        keys.dedup();
        keys
    };
    let found: Vec<String> = found.iter().map(|line| (*line).to_owned()).collect();
    keys(&found) == keys(&expected) && sorted(found) == sorted(expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offerer() -> Offerer {
        Offerer { pid: 4_711, vxid: "4/27".to_owned(), database_oid: 16_384 }
    }

    #[test]
    fn a_file_reads_as_postgresql_writes_it() {
        let snapshot = TransactionSnapshot { xmin: 740, xmax: 745, xip: BTreeSet::from([740, 742]) };
        let flags = Flags { read_only: false, recovery: false };
        let text = lines(&offerer(), &snapshot, &BTreeSet::from([743]), flags).join("\n");
        assert_eq!(
            text,
            "vxid:4/27\npid:4711\ndbid:16384\niso:2\nro:0\nxmin:740\nxmax:745\nxcnt:2\nxip:740\nxip:742\nsof:0\nsxcnt:1\nsxp:743\nrec:0"
        );
        assert_eq!(offerer().file_name(1).unwrap(), "00000004-0000001B-1");
    }

    #[test]
    fn epochs_are_left_out() {
        let snapshot = TransactionSnapshot { xmin: (3 << 32) + 5, xmax: (3 << 32) + 6, xip: BTreeSet::new() };
        let text =
            lines(&offerer(), &snapshot, &BTreeSet::new(), Flags { read_only: false, recovery: false });
        assert!(text.contains(&"xmin:5".to_owned()) && text.contains(&"xmax:6".to_owned()), "{text:?}");
    }

    #[test]
    fn only_a_known_format_is_understood() {
        let good = "vxid:4/27\npid:4711\ndbid:16384\niso:2\nro:1\nxmin:740\nxmax:745\nxcnt:0\nsof:0\nsxcnt:2\nsxp:742\nsxp:740\nrec:1\n";
        assert!(understood(good, &offerer()));
        let overflowed = good.replace("sof:0\nsxcnt:2\nsxp:742\nsxp:740\n", "sof:1\n");
        assert!(understood(&overflowed, &offerer()));
        for (from, to) in [
            ("iso:2", "iso:3"),
            ("xmin", "xmim"),
            ("rec:1\n", "rec:1\nnew:1\n"),
            ("sof:0\n", ""),
            ("dbid:16384", "dbid:16385"),
            ("xmin:740\nxmax:745", "xmax:745\nxmin:740"),
        ] {
            assert!(!understood(&good.replace(from, to), &offerer()), "{from} -> {to}");
        }
    }
}
