//! Tests that every kind of object of a server is compared or listed as not covered.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use fixtures::TestServer;
use verify_core::not_covered::catalogues_not_compared;

/// The statements that read definitions and rows. A column whose name they hold is compared.
const STATEMENTS: [&str; 3] = [
    include_str!("../../src/postgres/definitions/cluster.rs"),
    include_str!("../../src/postgres/definitions/statements.rs"),
    include_str!("../../src/postgres/statements.rs"),
];

/// Columns that a function of the server prints as part of a definition.
const PRINTED: [(&str, &str, &str); 15] = [
    (
        "pg_get_constraintdef",
        "pg_constraint",
        "condeferrable condeferred confupdtype confdeltype confmatchtype conkey confkey \
        conpfeqop conppeqop conffeqop confdelsetcols conexclop confrelid conindid conperiod conbin connamespace contypid",
    ),
    (
        "pg_get_triggerdef",
        "pg_trigger",
        "tgtype tgfoid tgnargs tgattr tgargs tgqual tgoldtable tgnewtable tgconstrrelid \
        tgconstrindid tgdeferrable tginitdeferred tgname",
    ),
    ("pg_get_ruledef and pg_get_viewdef", "pg_rewrite", "ev_type is_instead ev_qual ev_action"),
    (
        "pg_get_partkeydef",
        "pg_partitioned_table",
        "partstrat partnatts partattrs partclass partcollation partexprs",
    ),
    (
        "pg_get_function_identity_arguments and _result",
        "pg_proc",
        "provariadic pronargs pronargdefaults prorettype proargtypes \
        proallargtypes proargmodes proargnames proretset prosqlbody proargdefaults",
    ),
    ("pg_get_expr", "pg_attrdef", "adbin"),
    ("pg_identify_object", "pg_cast", "castsource casttarget"),
    ("pg_identify_object", "pg_operator", "oprleft oprright oprkind"),
    ("pg_identify_object", "pg_transform", "trftype trflang"),
    ("pg_identify_object", "pg_user_mapping", "umuser umserver"),
    ("pg_identify_object", "pg_opclass", "opcmethod"),
    ("pg_identify_object", "pg_opfamily", "opfmethod"),
    ("pg_identify_object", "pg_publication_rel", "prpubid"),
    ("pg_identify_object", "pg_publication_namespace", "pnpubid pnnspid"),
    ("pg_identify_object", "pg_default_acl", "defaclrole defaclnamespace defaclobjtype"),
];

/// Columns that are not compared, with the reason.
const EXCLUDED: [(&str, &str, &str); 18] = [
    ("secrets", "pg_authid", "rolpassword"),
    ("a dump names other grantors", "pg_auth_members", "grantor"),
    ("state of this server", "pg_database", "datlastsysoid datfrozenxid datminmxid dathasloginevt"),
    ("secrets, which not every role may see", "pg_user_mapping", "umoptions"),
    (
        "state of this server's files and statistics",
        "pg_class",
        "reltype relfilenode relpages reltuples relallvisible relallfrozen \
        relfrozenxid relminmxid relrewrite relnatts relhasindex relhasrules relhastriggers relhassubclass relchecks relisshared",
    ),
    (
        "follows from the type, or is state of this server",
        "pg_attribute",
        "attlen attbyval attalign attcacheoff atthasdef \
        atthasmissing attmissingval",
    ),
    ("the parents are compared; a dump sets these anew", "pg_attribute", "attislocal attinhcount"),
    ("PostgreSQL does not use it, and a partition may lack it", "pg_attribute", "attndims"),
    ("the parents are compared; a dump sets these anew", "pg_constraint", "conislocal"),
    ("state of the index in this server", "pg_index", "indcheckxmin indnkeyatts"),
    (
        "follows from the range type",
        "pg_range",
        "rngmultitypid rngconstruct2 rngconstruct3 rngmltconstruct0 rngmltconstruct1 rngmltconstruct2",
    ),
    ("true of all languages but the server's own", "pg_language", "lanispl"),
    ("follows from other columns", "pg_type", "typarray typbasetype typtypmod typisdefined typndims"),
    ("pg_dump restores it through the extension", "pg_extension", "extrelocatable"),
    (
        "the version of a collation belongs to the server; not compared",
        "pg_collation",
        "collversion collctype",
    ),
    ("the initial privileges are those of the server's own objects", "pg_init_privs", "privtype"),
    ("follows from the operator family", "pg_amop", "amoplefttype amoprighttype amopmethod"),
    (
        "not compared: what subscriptions connect to, and their state",
        "pg_subscription",
        "subskiplsn subenabled subbinary substream \
        subtwophasestate subdisableonerr subpasswordrequired subrunasowner subfailover subconninfo suborigin",
    ),
];

/// Catalogues that hold nothing of their own, with the reason.
const OTHERS: [(&str, &str); 7] = [
    ("pg_shdescription", "shobj_description reads it"),
    ("pg_largeobject", "large objects are compared as rows"),
    ("pg_largeobject_metadata", "large objects are compared as rows"),
    ("pg_depend", "follows from the definitions"),
    ("pg_shdepend", "follows from the definitions"),
    ("pg_statistic", "statistics of the planner, which ANALYZE gathers anew"),
    ("pg_statistic_ext_data", "statistics of the planner, which ANALYZE gathers anew"),
];

/// Fails where this major version has a catalogue or a column that is neither compared nor listed.
pub(crate) fn everything_is_compared_or_listed(server: &TestServer) -> Result<()> {
    let rows = server.psql(
        "postgres",
        "SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
         WHERE c.relnamespace = 'pg_catalog'::regnamespace AND c.relkind = 'r' AND a.attnum > 0 ORDER BY 1, a.attnum",
    )?;
    let text = STATEMENTS.concat();
    let words: BTreeSet<&str> = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
    let listed = PRINTED.iter().chain(&EXCLUDED).flat_map(|(_, catalogue, columns)| {
        columns.split_whitespace().map(move |column| (*catalogue, column))
    });
    let listed: BTreeSet<(&str, &str)> = listed.collect();
    let skipped: BTreeSet<&str> =
        catalogues_not_compared().chain(OTHERS.iter().map(|(catalogue, _)| *catalogue)).collect();
    let mut unknown = Vec::new();
    for row in rows.lines() {
        let (catalogue, column) = row.split_once('|').context("two columns")?;
        if skipped.contains(catalogue) || column == "oid" && words.contains(catalogue) {
            continue;
        }
        // `pg_identify_object` prints the names.
        let named = column.ends_with("name") || column.ends_with("namespace");
        let compared = named || words.contains(column) || listed.contains(&(catalogue, column));
        if !words.contains(catalogue) || !compared {
            unknown.push(row);
        }
    }
    ensure!(unknown.is_empty(), "PostgreSQL {} also has {unknown:#?}", server.major());
    Ok(())
}
