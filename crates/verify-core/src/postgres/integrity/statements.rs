//! The statements of the checks, qualified with `pg_catalog` as all of [`crate::postgres::statements`].

use super::index::{Index, Key, Operator};
use crate::postgres::sandbox::own;
use crate::postgres::statements::{identifier, literal, qualified};
use crate::table::TableName;

/// Relations that are checked beyond their rows: b-trees (access method 403) and GIN indexes (2742) that the server uses, and tables of
/// heap (2), the system's own too. Access method, name, the table that it belongs to, about how many bytes are read, and whether
/// functions of the database may be called for that: in expressions, of operator classes, or of the types of columns.
pub(super) const CHECKED: &str = "SELECT c.oid, CASE c.relam WHEN 403 THEN 'btree' WHEN 2742 THEN 'gin' ELSE 'heap' END, \
    coalesce(n.nspname, c.relnamespace::pg_catalog.text), c.relname, tn.nspname, t.relname, \
    coalesce(CASE WHEN c.relkind = 'i' THEN pg_catalog.pg_relation_size(c.oid) + coalesce(pg_catalog.pg_table_size(h.oid), 0) \
      ELSE pg_catalog.pg_table_size(c.oid) END, 0), \
    coalesce(i.indrelid >= 16384 AND (EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.atttypid >= 16384) \
      OR EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid \
        AND d.refobjid >= 16384 AND d.refclassid IN ('pg_catalog.pg_proc'::pg_catalog.regclass, \
          'pg_catalog.pg_operator'::pg_catalog.regclass, 'pg_catalog.pg_opclass'::pg_catalog.regclass))), false) \
    FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid \
    LEFT JOIN pg_catalog.pg_class h ON h.oid = i.indrelid \
    LEFT JOIN pg_catalog.pg_class o ON o.reltoastrelid = coalesce(h.oid, c.oid) \
    LEFT JOIN pg_catalog.pg_class t ON t.oid = coalesce(o.oid, h.oid) \
    LEFT JOIN pg_catalog.pg_namespace tn ON tn.oid = t.relnamespace \
    WHERE c.relpersistence = 'p' AND (c.relkind = 'i' AND c.relam IN (403, 2742) AND i.indisvalid AND i.indisready AND i.indislive \
      OR c.relkind IN ('r', 'm', 't') AND c.relam = 2)";

/// Numbers of tables of other access methods, which are not checked.
pub(super) const UNCHECKED: &str = "SELECT coalesce(a.amname, c.relam::pg_catalog.text), pg_catalog.count(*) \
    FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_am a ON a.oid = c.relam \
    WHERE c.relpersistence = 'p' AND c.relkind IN ('r', 'm', 't') AND c.relam <> 2 GROUP BY 1 ORDER BY 1";

/// Selects whether the role is a superuser, its name, and whether the server is in recovery.
pub(super) const SESSION: &str = "SELECT pg_catalog.current_setting('is_superuser') OPERATOR(pg_catalog.=) 'on', current_user, \
    pg_catalog.pg_is_in_recovery()";

/// Keeps event triggers from firing, and a long check from being ended, on servers that would.
pub(super) const UNDISTURBED: &str = "SELECT pg_catalog.set_config(s.name, \
    CASE s.name WHEN 'event_triggers' THEN 'off' ELSE '0' END, false) \
    FROM pg_catalog.pg_settings s WHERE s.name IN ('event_triggers', 'transaction_timeout')";

/// Maximum number of faults of a table that are shown.
pub(super) const FAULTS_SHOWN: u64 = 3;

/// Schema in which an extension is installed by state-lab.
pub(super) fn extension_schema(name: &str) -> String {
    format!("state_lab_{name}")
}

/// Selects whether the server has the extension `$1`, the schema in which the database has it, and the server's version.
pub(super) const EXTENSION: &str = "SELECT EXISTS (SELECT FROM pg_catalog.pg_available_extensions a WHERE a.name = $1), \
     (SELECT n.nspname FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace \
      WHERE e.extname = $1), pg_catalog.current_setting('server_version_num')";

/// Fails where the server lacks an extension's code.
pub(super) fn load(name: &str) -> String {
    format!("LOAD '$libdir/{name}'")
}

/// One transaction, as it is one message.
pub(super) fn install_extension(name: &str) -> String {
    let schema = extension_schema(name);
    format!("CREATE SCHEMA {schema}; CREATE EXTENSION {name} SCHEMA {schema}")
}

/// Takes both away again.
pub(super) fn remove_extension(name: &str) -> String {
    format!("DROP EXTENSION {name}; DROP SCHEMA {}", extension_schema(name))
}

/// The functions of the extension `$1` with their arguments' types, and whether the role may call them. Somebody's function of the same name in the same schema
/// cannot have exactly these too, so it is never taken for that.
pub(super) const EXTENSION_FUNCTIONS: &str = "SELECT p.proname, p.proargtypes::pg_catalog.text, \
       pg_catalog.has_function_privilege(p.oid, 'EXECUTE') AND pg_catalog.has_schema_privilege(p.pronamespace, 'USAGE') \
     FROM pg_catalog.pg_extension e \
     JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.refobjid = e.oid \
       AND d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.deptype = 'e' \
     JOIN pg_catalog.pg_proc p ON p.oid = d.objid AND p.pronamespace = e.extnamespace WHERE e.extname = $1";

/// Checks the b-tree `$1`, and where `$2` says so that it has every row of its table, which calls the functions that it
/// indexes, and, if `unique`, that it has no value twice. The arguments' types are spelled out, see [`EXTENSION_FUNCTIONS`].
pub(super) fn check_index(schema: &str, unique: bool) -> String {
    let unique = if unique { ", $2::pg_catalog.bool" } else { "" };
    format!(
        "SELECT {}.bt_index_check($1::pg_catalog.oid::pg_catalog.regclass, $2::pg_catalog.bool{unique})",
        identifier(schema)
    )
}

/// Checks that the pages of the GIN index `$1` are consistent.
pub(super) fn check_gin(schema: &str) -> String {
    format!("SELECT {}.gin_index_check($1::pg_catalog.oid::pg_catalog.regclass)", identifier(schema))
}

/// Checks all pages of the table `$1` and the values in TOAST: the number of faults, then block, item, column and text of
/// the first ones.
pub(super) fn check_table(schema: &str) -> String {
    format!(
        "SELECT pg_catalog.count(*) OVER (), f.blkno, f.offnum, f.attnum, pg_catalog.left(f.msg, 1000) \
         FROM {}.verify_heapam($1::pg_catalog.oid::pg_catalog.regclass, false::pg_catalog.bool, true::pg_catalog.bool, \
           'none'::pg_catalog.text, NULL::pg_catalog.int8, NULL::pg_catalog.int8) f LIMIT {FAULTS_SHOWN}",
        identifier(schema)
    )
}

/// A row where the visibility map of the table `$1` may be wrong about what is visible to all: the server goes by transactions
/// of other databases and replication slots too (before PostgreSQL 17), which the map rightly does not.
pub(super) fn check_visible(schema: &str) -> String {
    format!("SELECT 1 FROM {} LIMIT 1", visibility(schema, "pg_check_visible"))
}

/// Faults of the map: the number of rows that it marks all-visible and that this transaction does not see, then their first positions.
pub(super) fn check_seen(schema: &str, name: &TableName) -> String {
    format!(
        "SELECT pg_catalog.count(*) OVER (), v.place::pg_catalog.text FROM {} AS v (place) \
         WHERE NOT EXISTS (SELECT FROM ONLY {} t WHERE t.ctid = v.place) LIMIT {FAULTS_SHOWN}",
        visibility(schema, "pg_check_visible"),
        qualified(name)
    )
}

/// The number of rows that the visibility map of the table `$1` marks all-frozen and that are not, then their first positions.
pub(super) fn check_frozen(schema: &str) -> String {
    format!(
        "SELECT pg_catalog.count(*) OVER (), v.place::pg_catalog.text FROM {} AS v (place) LIMIT {FAULTS_SHOWN}",
        visibility(schema, "pg_check_frozen")
    )
}

fn visibility(schema: &str, function: &str) -> String {
    format!("{}.{function}($1::pg_catalog.oid::pg_catalog.regclass)", identifier(schema))
}

/// Indexes of other access methods than b-tree that the server uses, of tables of heap: index, its name, its table's name, access method,
/// bytes of the table, percentage of its pages to spread the sample over, predicate; then for each key its number, expression and
/// collation, and for each operator of its class by which a value may find itself: the operator, and whether its right operand is a
/// query of text search.
pub(super) const SAMPLED: &str = "SELECT x.oid, xn.nspname, x.relname, tn.nspname, t.relname, am.amname, \
      coalesce(pg_catalog.pg_relation_size(t.oid), 0), \
      least(100, 6400.0 * pg_catalog.current_setting('block_size')::pg_catalog.int8 \
        / greatest(pg_catalog.pg_relation_size(t.oid), 1))::pg_catalog.float4, \
      pg_catalog.pg_get_expr(i.indpred, i.indrelid), n, pg_catalog.pg_get_indexdef(i.indexrelid, n, false), \
      CASE WHEN i.indcollation[n - 1] <> 0 THEN pg_catalog.format('%I.%I', cn.nspname, l.collname) END, o.operator, o.searches \
    FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid \
    JOIN pg_catalog.pg_namespace xn ON xn.oid = x.relnamespace JOIN pg_catalog.pg_am am ON am.oid = x.relam \
    JOIN pg_catalog.pg_class t ON t.oid = i.indrelid JOIN pg_catalog.pg_namespace tn ON tn.oid = t.relnamespace \
    CROSS JOIN LATERAL pg_catalog.generate_series(1, i.indnkeyatts) n \
    JOIN pg_catalog.pg_opclass oc ON oc.oid = i.indclass[n - 1] \
    LEFT JOIN pg_catalog.pg_collation l ON l.oid = i.indcollation[n - 1] \
    LEFT JOIN pg_catalog.pg_namespace cn ON cn.oid = l.collnamespace \
    LEFT JOIN LATERAL ( \
      SELECT pg_catalog.format('OPERATOR(%I.%s)', opn.nspname, op.oprname) AS operator, \
        op.oprright <> op.oprleft AS searches, \
        pg_catalog.array_position(ARRAY['=', '~=', '@>', '&&', '<@', '%', '@@']::pg_catalog.text[], \
          op.oprname::pg_catalog.text) AS place \
      FROM pg_catalog.pg_amop a JOIN pg_catalog.pg_operator op ON op.oid = a.amopopr \
      JOIN pg_catalog.pg_namespace opn ON opn.oid = op.oprnamespace \
      WHERE a.amopfamily = oc.opcfamily AND a.amoppurpose = 's' AND a.amoplefttype = oc.opcintype \
        AND (a.amoprighttype = oc.opcintype OR op.oprname = '@@' \
          AND a.amoplefttype = 'pg_catalog.tsvector'::pg_catalog.regtype AND a.amoprighttype = 'pg_catalog.tsquery'::pg_catalog.regtype)) o \
      ON o.place IS NOT NULL \
    WHERE x.relkind = 'i' AND x.relam <> 403 AND x.relpersistence = 'p' AND t.relam = 2 \
      AND i.indisvalid AND i.indisready AND i.indislive \
    ORDER BY i.indrelid, x.oid, n, o.place";

/// Leaves the planner no other index of the table than this one.
pub(super) fn only_index(oid: u32) -> String {
    format!(
        "SELECT pg_catalog.set_config('track_counts', 'on', true); \
         UPDATE pg_catalog.pg_index i SET indisvalid = false FROM pg_catalog.pg_index o \
         WHERE o.indexrelid = {oid} AND i.indrelid = o.indrelid AND i.indexrelid <> {oid} AND i.indisvalid"
    )
}

/// Builds an index anew, until the transaction is rolled back.
pub(super) fn rebuild(index: &Index, process_id: i32) -> String {
    format!("{}; REINDEX INDEX {}", own(process_id, &index.table), qualified(&index.name))
}

/// Makes the planner read rows through indexes, until the transaction ends.
pub(super) const BY_INDEX: &str = "SELECT pg_catalog.set_config(s.name, CASE WHEN s.name LIKE 'enable_%' THEN \
      CASE WHEN s.name IN ('enable_indexscan', 'enable_bitmapscan') THEN 'on' ELSE 'off' END ELSE '0' END, true) \
    FROM pg_catalog.pg_settings s WHERE s.name IN ('enable_indexscan', 'enable_bitmapscan', 'enable_seqscan', 'enable_tidscan', \
      'gin_fuzzy_search_limit')";

/// Number of rows that are looked up: those that changed last, and as many spread over the table.
pub(super) const NEWEST: usize = 500;
pub(super) const SPREAD: usize = 500;
/// Positions of the rows that changed last.
pub(super) fn newest_rows(index: &Index) -> String {
    format!(
        "SELECT ctid::pg_catalog.text FROM {}{} ORDER BY pg_catalog.age(xmin), ctid DESC LIMIT {NEWEST}",
        index.from(),
        predicate(index, "WHERE")
    )
}

/// Positions of rows of pages all over the table.
pub(super) fn spread_rows(index: &Index, pages_percent: &str) -> String {
    format!(
        "SELECT ctid::pg_catalog.text FROM {} TABLESAMPLE pg_catalog.system ({pages_percent}) REPEATABLE (0){} \
         ORDER BY pg_catalog.hashtext(ctid::pg_catalog.text), ctid LIMIT {SPREAD}",
        index.from(),
        predicate(index, "WHERE")
    )
}

/// Looks rows at these positions up by a column of the index. Of each row: `+` if it was found and its position if not, `-` if the operator
/// is not true of its value and itself, nothing if that is NULL.
pub(super) fn look_up(index: &Index, (key, operator): (&Key, &Operator), places: &[String]) -> String {
    let from = index.from();
    let Operator { name, searches } = operator;
    let expression = key.collated();
    let value = if *searches { LEXEME } else { "s.key" };
    format!(
        "SELECT CASE WHEN s.key IS NULL THEN '' WHEN (s.key {name} {value}) IS NOT TRUE THEN '-' \
           WHEN (SELECT true FROM {from} t WHERE {expression} {name} {value} AND t.ctid OPERATOR(pg_catalog.=) s.place{} LIMIT 1) THEN '+' \
           ELSE s.place::pg_catalog.text END \
         FROM (SELECT ctid AS place, {expression} AS key FROM {from} \
           WHERE ctid OPERATOR(pg_catalog.=) ANY (ARRAY[{}]::pg_catalog.tid[]) OFFSET 0) s",
        predicate(index, "AND"),
        places.iter().map(|place| literal(place)).collect::<Vec<_>>().join(", ")
    )
}

/// A query for the first lexeme of a text search vector.
const LEXEME: &str = "(pg_catalog.chr(39) OPERATOR(pg_catalog.||) pg_catalog.replace(pg_catalog.replace( \
    (pg_catalog.tsvector_to_array(s.key))[1], pg_catalog.chr(92), pg_catalog.repeat(pg_catalog.chr(92), 2)), \
    pg_catalog.chr(39), pg_catalog.repeat(pg_catalog.chr(39), 2)) OPERATOR(pg_catalog.||) pg_catalog.chr(39))::pg_catalog.tsquery";

fn predicate(index: &Index, keyword: &str) -> String {
    index.predicate.as_ref().map_or(String::new(), |predicate| format!(" {keyword} ({predicate})"))
}

/// Number of scans of an index in this transaction.
pub(super) fn scans(oid: u32) -> String {
    format!("SELECT coalesce(pg_catalog.pg_stat_get_xact_numscans({oid}::pg_catalog.oid), 0)")
}
