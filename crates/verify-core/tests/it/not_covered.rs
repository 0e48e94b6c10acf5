//! Tests that every kind of object of a server is compared or listed as not covered.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use fixtures::TestServer;
use verify_core::not_covered::catalogues_not_compared;

/// Catalogues that hold nothing of their own: rows that are compared, and what follows from other catalogues.
const OTHERS: [&str; 5] = [
    // Rows that are compared.
    "pg_largeobject",
    "pg_largeobject_metadata",
    "pg_inherits",
    // What follows from other catalogues.
    "pg_depend",
    "pg_shdepend",
];

/// Columns of the catalogues that are compared in part: what is compared of them, or is of this server alone, and what
/// "definitions of tables", "definitions of sequences" and "privileges and comments" list.
const COLUMNS: [(&str, &str, &str); 3] = [
    (
        "pg_attribute",
        "attrelid attname atttypid atttypmod attisdropped attlen attalign attbyval attcacheoff atthasmissing \
         attmissingval attndims",
        "attnum attnotnull atthasdef attidentity attgenerated attislocal attinhcount attcollation attstorage \
         attcompression attoptions attfdwoptions attstattarget attacl",
    ),
    (
        "pg_class",
        "oid relname relnamespace reltype relfilenode relpages reltuples relallvisible relallfrozen reltoastrelid \
         relhasindex relisshared relkind relnatts relhasrules relhastriggers relhassubclass relispopulated relrewrite \
         relfrozenxid relminmxid relispartition relchecks",
        "reloftype relowner relam reltablespace relpersistence relrowsecurity relforcerowsecurity relreplident relacl \
         reloptions relpartbound",
    ),
    ("pg_sequence", "seqrelid seqincrement seqcycle", "seqtypid seqstart seqmax seqmin seqcache"),
];

/// Fails where this major version has a kind of object that is neither compared nor listed.
pub(crate) fn everything_is_compared_or_listed(server: &TestServer) -> Result<()> {
    let rows = server.psql(
        "postgres",
        "SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'pg_catalog'::regnamespace AND c.relkind = 'r'",
    )?;
    let known: BTreeSet<&str> = catalogues_not_compared().chain(OTHERS).collect();
    let unknown: Vec<&str> = rows.lines().filter(|catalogue| !known.contains(catalogue)).collect();
    ensure!(unknown.is_empty(), "PostgreSQL {} also has {unknown:?}", server.major());
    for (catalogue, compared, listed) in COLUMNS {
        let columns = server.psql(
            "postgres",
            &format!(
                "SELECT attname FROM pg_attribute WHERE attrelid = '{catalogue}'::regclass AND attnum > 0"
            ),
        )?;
        let known: BTreeSet<&str> = compared.split_whitespace().chain(listed.split_whitespace()).collect();
        let unknown: Vec<&str> =
            columns.lines().map(str::trim).filter(|column| !known.contains(column)).collect();
        ensure!(unknown.is_empty(), "PostgreSQL {}: {catalogue} also has {unknown:?}", server.major());
    }
    Ok(())
}
