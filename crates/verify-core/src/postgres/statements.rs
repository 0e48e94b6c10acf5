//! Every statement that is sent to a server, qualified with `pg_catalog`: a restored database may hold
//! functions of the same names.

use crate::database::Slice;
use crate::digest::to_hex;
use crate::key::RowKey;
use crate::server_hash::{HASHED, HashedType};
use crate::table::{Column, Encoding, KeySource, Table, TableKind, TableName};

/// Version, recovery, database, encoding, system identifier, role, what limits a capture, and in microseconds since 1970 the start of the
/// server and the time since which it counts statistics.
pub(super) const IDENTITY: &str = "SELECT pg_catalog.current_setting('server_version_num'), \
    pg_catalog.pg_is_in_recovery(), d.oid, d.datname, pg_catalog.pg_encoding_to_char(d.encoding), \
    CASE WHEN pg_catalog.has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE') \
         THEN (SELECT s.system_identifier::pg_catalog.text FROM pg_catalog.pg_control_system() s) END, \
    current_user, pg_catalog.current_setting('wal_level'), \
    pg_catalog.current_setting('max_locks_per_transaction')::pg_catalog.int8 \
      * (pg_catalog.current_setting('max_connections')::pg_catalog.int8 \
         + pg_catalog.current_setting('max_prepared_transactions')::pg_catalog.int8), \
    (extract(epoch FROM pg_catalog.pg_postmaster_start_time()) * 1000000)::pg_catalog.int8, \
    (extract(epoch FROM pg_catalog.pg_stat_get_bgwriter_stat_reset_time()) * 1000000)::pg_catalog.int8 \
    FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()";

/// `server_version_num`.
pub(super) const VERSION: &str = "SELECT pg_catalog.current_setting('server_version_num')";

/// Selects whether a server is in recovery, if it does not report that by itself (before PostgreSQL 14).
pub(super) const IN_RECOVERY: &str = "SELECT pg_catalog.pg_is_in_recovery()";

/// Selects whether sessions are read-only by default.
pub(super) const DEFAULT_READ_ONLY: &str =
    "SELECT pg_catalog.current_setting('default_transaction_read_only') OPERATOR(pg_catalog.=) 'on'";

/// Lets values through as they are stored.
pub(super) const RAW_ENCODING: &str = "SET client_encoding = 'SQL_ASCII'";

/// Selects the process that serves the session. Where it is `$1`, which the server gave at the login, no pooler is between, and the
/// session, which may wait for others, is kept from being ended for that. (PostgreSQL 13 does not know the setting, so it
/// cannot be among those that a session starts with.)
pub(super) const SESSION: &str = "SELECT pg_catalog.pg_backend_pid(), (SELECT pg_catalog.set_config(s.name, '0', false) \
    FROM pg_catalog.pg_settings s WHERE s.name OPERATOR(pg_catalog.=) 'idle_session_timeout' \
      AND pg_catalog.pg_backend_pid() OPERATOR(pg_catalog.=) $1)";

/// Activity of the process `$1`: its state, and the kind of event that it waits for; no row if it has ended.
pub(super) const ACTIVITY: &str = "SELECT a.state, a.wait_event_type FROM pg_catalog.pg_stat_activity a \
    WHERE a.pid OPERATOR(pg_catalog.=) $1";

/// Releases the statistics that the transaction has read, so that they are read anew.
pub(super) const CLEAR_STATISTICS: &str = "SELECT pg_catalog.pg_stat_clear_snapshot()";

/// Activity of the server: the transaction's age in milliseconds, the other client sessions that run a statement, and the WAL that the
/// furthest standby has not replayed; on a standby, whose replay is not paused, the WAL that it has not replayed itself. NULL for what the role
/// may not see.
pub(super) const SERVER_ACTIVITY: &str = "SELECT (extract(epoch FROM pg_catalog.clock_timestamp() \
      - pg_catalog.transaction_timestamp()) * 1000)::pg_catalog.int8, \
    CASE WHEN s.seen THEN (SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_activity a \
      WHERE a.backend_type = 'client backend' AND a.state = 'active' \
        AND a.application_name <> pg_catalog.current_setting('application_name')) END, \
    CASE WHEN s.seen THEN coalesce(CASE WHEN NOT pg_catalog.pg_is_in_recovery() THEN (SELECT pg_catalog.max( \
          pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), r.replay_lsn)) FROM pg_catalog.pg_stat_replication r) \
        WHEN NOT pg_catalog.pg_is_wal_replay_paused() THEN pg_catalog.pg_wal_lsn_diff( \
          pg_catalog.pg_last_wal_receive_lsn(), pg_catalog.pg_last_wal_replay_lsn()) END, 0)::pg_catalog.int8 END \
    FROM (SELECT pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE')) s(seen)";

/// Sets a parameter until the transaction ends.
pub(super) fn set_local(name: &str, value: &str) -> String {
    // In a start-up message the empty identifier is quoted; here the server quotes it.
    let value = if value == "\"\"" { "" } else { value };
    format!("SET LOCAL {name} = {}; ", literal(value))
}

/// The server's data directory.
pub(super) const DATA_DIRECTORY: &str = "SELECT pg_catalog.current_setting('data_directory')";

/// Names of the other databases, including those that accept no connections: their contents are not read.
pub(super) const OTHER_DATABASES: &str = "SELECT d.datname FROM pg_catalog.pg_database d \
    WHERE NOT d.datistemplate AND d.datname <> pg_catalog.current_database() \
    ORDER BY d.datname COLLATE pg_catalog.\"C\"";

/// Number of prepared transactions of this database.
pub(super) const PREPARED_TRANSACTIONS: &str = "SELECT pg_catalog.count(*) FROM pg_catalog.pg_prepared_xacts p \
    WHERE p.database = pg_catalog.current_database()";

/// Foreign tables, whose rows another server or a file holds.
pub(super) const FOREIGN_TABLES: &str = "SELECT n.nspname, c.relname FROM pg_catalog.pg_class c \
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'f' \
    ORDER BY n.nspname COLLATE pg_catalog.\"C\", c.relname COLLATE pg_catalog.\"C\"";

/// The tables that others descend from, as partitions or by inheritance: child, then parent.
pub(super) const PARENTS: &str = "SELECT i.inhrelid, n.nspname, c.relname FROM pg_catalog.pg_inherits i \
    JOIN pg_catalog.pg_class c ON c.oid = i.inhparent JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.relkind IN ('r', 'p') ORDER BY i.inhrelid, n.nspname COLLATE pg_catalog.\"C\", c.relname COLLATE pg_catalog.\"C\"";

/// The levels of partitioning above each partition that holds rows, from the topmost down: one row a column of the key,
/// without a name for an expression. A bound holds no columns, so no table need be opened, or waited for, to show it.
pub(super) const PARTITION_LEVELS: &str = "SELECT l.oid, -v.depth, p.partstrat, \
    pg_catalog.pg_get_expr(v.relpartbound, 0), a.attname \
    FROM pg_catalog.pg_class l \
    CROSS JOIN LATERAL (SELECT c.oid, c.relpartbound, t.depth \
      FROM pg_catalog.pg_partition_ancestors(l.oid) WITH ORDINALITY t(relid, depth) \
      JOIN pg_catalog.pg_class c ON c.oid = t.relid WHERE c.relispartition) v \
    JOIN pg_catalog.pg_inherits i ON i.inhrelid = v.oid \
    JOIN pg_catalog.pg_partitioned_table p ON p.partrelid = i.inhparent \
    CROSS JOIN LATERAL pg_catalog.generate_series(0, p.partnatts - 1) k \
    LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[k] AND a.attnum <> 0 \
    WHERE l.relkind = 'r' AND l.relispartition AND l.oid >= 16384 ORDER BY l.oid, v.depth DESC, k";

/// The relations that hold rows. Object ids below 16384 are the system's own. Privileges on what was dropped since the
/// transaction's snapshot are NULL.
pub(super) const TABLES: &str = "SELECT c.oid, n.nspname, c.relname, c.relkind, c.relpersistence, c.relfilenode, \
    pg_catalog.has_schema_privilege(n.oid, 'USAGE'), pg_catalog.has_table_privilege(c.oid, 'SELECT'), \
    coalesce(pg_catalog.row_security_active(c.oid), false), c.relispopulated, rn.nspname, r.relname, \
    (SELECT e.extname FROM pg_catalog.pg_depend p JOIN pg_catalog.pg_extension e ON e.oid = p.refobjid \
     WHERE p.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND p.objid = c.oid AND p.objsubid = 0 \
       AND p.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND p.deptype = 'e' LIMIT 1) \
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    LEFT JOIN pg_catalog.pg_class r ON c.relispartition AND r.oid = pg_catalog.pg_partition_root(c.oid) \
    LEFT JOIN pg_catalog.pg_namespace rn ON rn.oid = r.relnamespace \
    WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't' AND c.oid >= 16384 \
    ORDER BY n.nspname COLLATE pg_catalog.\"C\", c.relname COLLATE pg_catalog.\"C\"";

/// The stored columns of those relations, sorted by name.
pub(super) const COLUMNS: &str = "SELECT a.attrelid, a.attnum, a.attname, \
    pg_catalog.format_type(a.atttypid, a.atttypmod), a.atttypid, a.attgenerated <> '', a.attnotnull \
    FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid \
    WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't' AND c.oid >= 16384 \
      AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated <> 'v' \
    ORDER BY a.attrelid, a.attname COLLATE pg_catalog.\"C\"";

/// Components of types; the row types of tables are left out.
pub(super) const TYPES: &str = "SELECT t.oid, t.typname, t.typtype, t.typbasetype, \
    CASE WHEN t.typcategory = 'A' THEN t.typelem ELSE 0 END, \
    coalesce(r.rngsubtype, m.rngsubtype, 0), t.typsend <> 0, \
    EXISTS (SELECT FROM pg_catalog.pg_depend p WHERE p.classid = 'pg_catalog.pg_type'::pg_catalog.regclass \
      AND p.objid = t.oid AND p.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND p.deptype = 'e') \
    FROM pg_catalog.pg_type t LEFT JOIN pg_catalog.pg_range r ON r.rngtypid = t.oid";

/// The join that [`TYPES`] needs from PostgreSQL 14 on, where multiranges came.
pub(super) const TYPES_MULTIRANGE: &str = " LEFT JOIN pg_catalog.pg_range m ON m.rngmultitypid = t.oid";
/// Its equivalent before.
pub(super) const TYPES_NO_MULTIRANGE: &str = " LEFT JOIN (SELECT 0::pg_catalog.oid AS rngsubtype) m ON false";
/// The end of [`TYPES`].
pub(super) const TYPES_WHERE: &str = " WHERE t.typtype IN ('b', 'd', 'e', 'r', 'm') \
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_type e WHERE e.oid = t.typelem AND e.typrelid <> 0)";

/// Unique indexes that could name rows: valid, immediate, without predicate or expression; and whether the planner has only such indexes of
/// the table to choose from as call no function of the database's own.
pub(super) const KEYS: &str = "SELECT i.indrelid, i.indisprimary, \
    (SELECT pg_catalog.string_agg(i.indkey[k]::pg_catalog.text, ' ' ORDER BY k) \
     FROM pg_catalog.generate_series(0, i.indnkeyatts - 1) k), \
    NOT EXISTS (SELECT FROM pg_catalog.pg_index o WHERE o.indrelid = i.indrelid \
      AND (o.indpred IS NOT NULL OR o.indexprs IS NOT NULL OR EXISTS ( \
        SELECT FROM pg_catalog.unnest(o.indclass::pg_catalog.oid[]) c(oid) WHERE c.oid >= 16384))) \
    FROM pg_catalog.pg_index i WHERE i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL \
      AND i.indexprs IS NULL AND i.indrelid >= 16384";

/// Number of large objects, and the bytes of the table that holds them.
pub(super) const LARGE_OBJECTS: &str = "SELECT pg_catalog.count(*), \
    pg_catalog.pg_table_size('pg_catalog.pg_largeobject'::pg_catalog.regclass) \
    FROM pg_catalog.pg_largeobject_metadata";

/// The sequences, and the columns that they feed: whether those can be read, and cheaply (by a b-tree, access method 403).
/// Privileges on what was dropped since are NULL.
pub(super) const SEQUENCES: &str = "SELECT n.nspname, c.relname, s.seqincrement, s.seqcycle, \
    pg_catalog.has_schema_privilege(n.oid, 'USAGE'), \
    tn.nspname, t.relname, a.attname, \
    coalesce(pg_catalog.has_schema_privilege(tn.oid, 'USAGE') AND pg_catalog.has_table_privilege(t.oid, 'SELECT') \
      AND NOT pg_catalog.row_security_active(t.oid), false) \
      AND a.atttypid IN ('pg_catalog.int2'::pg_catalog.regtype, 'pg_catalog.int4'::pg_catalog.regtype, \
                         'pg_catalog.int8'::pg_catalog.regtype) \
      AND EXISTS (SELECT FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class ic ON ic.oid = i.indexrelid \
        WHERE i.indrelid = t.oid AND i.indkey[0] = a.attnum AND i.indisvalid AND i.indpred IS NULL \
          AND ic.relam = 403), \
    c.relpersistence = 'u', coalesce(t.relpersistence = 'u', false), \
    pg_catalog.has_table_privilege(c.oid, 'SELECT'), current_user \
    FROM pg_catalog.pg_sequence s JOIN pg_catalog.pg_class c ON c.oid = s.seqrelid \
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    LEFT JOIN pg_catalog.pg_depend p ON p.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND p.objid = c.oid \
      AND p.objsubid = 0 AND p.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND p.deptype IN ('a', 'i') \
      AND p.refobjsubid > 0 \
    LEFT JOIN pg_catalog.pg_class t ON t.oid = p.refobjid \
    LEFT JOIN pg_catalog.pg_namespace tn ON tn.oid = t.relnamespace \
    LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = t.oid AND a.attnum = p.refobjsubid \
    WHERE c.relpersistence <> 't' AND c.oid >= 16384 \
    ORDER BY n.nspname COLLATE pg_catalog.\"C\", c.relname COLLATE pg_catalog.\"C\"";

/// Begins a read-only transaction with one snapshot.
pub(super) const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// Fixes the instant, and describes it: exported name, snapshot, position, microseconds since 1970. The time is the
/// statement's, which is before the snapshot: whatever committed by then is in it.
pub(super) const EXPORT: &str = "SELECT pg_catalog.pg_export_snapshot(), pg_catalog.pg_current_snapshot(), \
    CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() \
         ELSE pg_catalog.pg_current_wal_insert_lsn() END, \
    (extract(epoch FROM pg_catalog.statement_timestamp()) * 1000000)::pg_catalog.int8";

/// When the virtual transaction `$1` began, in microseconds since 1970, which is before it exported a snapshot: no row if it has ended, NULL
/// for a role that may not see it.
pub(super) const BEGAN: &str = "SELECT (extract(epoch FROM a.xact_start) * 1000000)::pg_catalog.int8 \
    FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a ON a.pid OPERATOR(pg_catalog.=) l.pid \
    WHERE l.locktype OPERATOR(pg_catalog.=) 'virtualxid' AND l.granted \
      AND l.virtualxid OPERATOR(pg_catalog.=) $1 AND l.virtualtransaction OPERATOR(pg_catalog.=) $1";

/// The relations that hold rows, with name and columns: by these they are read, and an ALTER TABLE may change them.
pub(super) const SHAPES: &str = "SELECT c.oid, n.nspname, c.relname, \
    (SELECT pg_catalog.string_agg(pg_catalog.format('%s %s %L', a.attnum, a.atttypid, a.attname), ', ' ORDER BY a.attnum) \
     FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) \
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't' AND c.oid >= 16384";

/// The position up to which a standby has replayed, and a time up to which it shows all commits, in microseconds since 1970: that of the last
/// commit that it replayed, else of the checkpoint that it started from, else now.
pub(super) const REPLAYED: &str = "SELECT pg_catalog.pg_last_wal_replay_lsn(), \
    (extract(epoch FROM coalesce(pg_catalog.pg_last_xact_replay_timestamp(), \
      CASE WHEN pg_catalog.has_function_privilege('pg_catalog.pg_control_checkpoint()', 'EXECUTE') \
           THEN (SELECT c.checkpoint_time FROM pg_catalog.pg_control_checkpoint() c) END, \
      pg_catalog.statement_timestamp())) * 1000000)::pg_catalog.int8";

/// Whether the server is in recovery, whether its replay is to pause already, and whether a setting that a standby can see makes commits wait
/// for its replay: its own, which may be the primary's too, or one of a role or database.
pub(super) const PAUSABLE: &str = "SELECT pg_catalog.pg_is_in_recovery(), \
    CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_is_wal_replay_paused() ELSE false END, \
    pg_catalog.current_setting('synchronous_commit') OPERATOR(pg_catalog.=) 'remote_apply' \
      OR EXISTS (SELECT FROM pg_catalog.pg_db_role_setting s \
        WHERE 'synchronous_commit=remote_apply' OPERATOR(pg_catalog.=) ANY (s.setconfig))";

/// Whether the replay is to pause.
pub(super) const PAUSE_REQUESTED: &str = "SELECT pg_catalog.pg_is_in_recovery() \
    AND pg_catalog.pg_is_wal_replay_paused()";

/// Whether the startup process rests between two records, before the next of which it sees that it is to pause. From PostgreSQL 14 on it
/// confirms that itself; before, it is seen in one of the waits that it makes only there.
pub(super) fn replay_rests(server_version: u32) -> &'static str {
    if server_version >= 140_000 {
        "SELECT pg_catalog.pg_get_wal_replay_pause_state() OPERATOR(pg_catalog.=) 'paused'"
    } else {
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_stat_activity a WHERE a.backend_type OPERATOR(pg_catalog.=) 'startup' \
           AND a.wait_event IN ('RecoveryPause', 'RecoveryWalStream', 'RecoveryRetrieveRetryInterval', 'RecoveryApplyDelay'))"
    }
}

pub(super) const PAUSE_REPLAY: &str = "SELECT pg_catalog.pg_wal_replay_pause()";

pub(super) const RESUME_REPLAY: &str = "SELECT pg_catalog.pg_wal_replay_resume()";

/// Resumes the replay once the session that holds the advisory lock `$1`, `$2` has ended.
pub(super) const RESUME_REPLAY_AFTER: &str = "WITH ended AS MATERIALIZED (SELECT pg_catalog.pg_advisory_lock($1, $2)) \
    SELECT pg_catalog.pg_wal_replay_resume() FROM ended \
    WHERE pg_catalog.pg_is_in_recovery()";

pub(super) const ADVISORY_LOCK: &str = "SELECT pg_catalog.pg_advisory_lock($1, $2)";

/// Whether the process `$1` waits for an advisory lock.
pub(super) const WAITS_FOR_LOCK: &str = "SELECT EXISTS (SELECT FROM pg_catalog.pg_locks l \
    WHERE l.locktype OPERATOR(pg_catalog.=) 'advisory' AND NOT l.granted AND l.pid OPERATOR(pg_catalog.=) $1)";

/// Has the server end an idle session within half a minute of the loss of its client's machine.
pub(super) const NOTICE_LOST_CLIENT: &str = "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; \
    SET tcp_keepalives_count = 4";

/// Keeps a session that waits for a lock on servers that would end it without its client, or for its long wait.
pub(super) const OUTLIVE_CLIENT: &str = "SELECT pg_catalog.set_config(s.name, '0', false) FROM pg_catalog.pg_settings s \
    WHERE s.name IN ('client_connection_check_interval', 'lock_timeout', 'statement_timeout', 'transaction_timeout')";

/// Whether a standby has replayed to before the position `$1`, given as text, or beyond it; and whether its startup process rests.
pub(super) const STANDS_AT: &str = "SELECT e.lsn OPERATOR(pg_catalog.<) $1::pg_catalog.pg_lsn, \
    e.lsn OPERATOR(pg_catalog.>) $1::pg_catalog.pg_lsn, e.lsn::pg_catalog.text, \
    EXISTS (SELECT FROM pg_catalog.pg_stat_activity a WHERE a.backend_type OPERATOR(pg_catalog.=) 'startup' \
      AND a.wait_event IN ('RecoveryPause', 'RecoveryRetrieveRetryInterval')) \
    FROM (SELECT pg_catalog.pg_last_wal_replay_lsn() AS lsn) e";

/// Whether the server is in recovery, and its system identifier where the role may read it.
pub(super) const STANDBY_OF: &str = "SELECT pg_catalog.pg_is_in_recovery(), \
    CASE WHEN pg_catalog.has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE') \
         THEN (SELECT s.system_identifier::pg_catalog.text FROM pg_catalog.pg_control_system() s) END";

/// Addresses of the standbys that stream from this server, first those for which no commit waits. Of a standby on the same
/// machine's socket there is none, nor where the role may not see it.
pub(super) const STANDBYS: &str = "SELECT pg_catalog.host(r.client_addr) FROM pg_catalog.pg_stat_replication r \
    WHERE r.state OPERATOR(pg_catalog.=) 'streaming' AND r.client_addr IS NOT NULL \
    GROUP BY 1 ORDER BY pg_catalog.bool_or(r.sync_state OPERATOR(pg_catalog.<>) 'async'), \
      pg_catalog.max(r.replay_lsn) DESC LIMIT 8";

/// The snapshot of this very moment, outside any transaction.
pub(super) const CURRENT_SNAPSHOT: &str = "SELECT pg_catalog.pg_current_snapshot()";

/// The transaction that has been open the longest, prepared ones included but for that of the process `$1`, for a message.
pub(super) const OLDEST_TRANSACTION: &str = "SELECT \
    t.who || ', open for ' || pg_catalog.date_trunc('second', pg_catalog.clock_timestamp() - t.since) \
    FROM (SELECT pg_catalog.format('process %s of %s (%s)', a.pid, coalesce(a.usename, 'an unknown role'), \
            coalesce(nullif(a.application_name, ''), 'no application name')) AS who, a.xact_start AS since \
          FROM pg_catalog.pg_stat_activity a WHERE a.backend_xid IS NOT NULL \
            AND a.pid NOT IN (pg_catalog.pg_backend_pid(), $1) \
          UNION ALL \
          SELECT pg_catalog.format('the prepared transaction %L of %s', p.gid, p.owner), p.prepared \
          FROM pg_catalog.pg_prepared_xacts p) t \
    ORDER BY t.since LIMIT 1";

/// Locks that keep a plain reader out, with who holds them; a prepared transaction has no process.
pub(super) const LOCK_HOLDERS: &str = "SELECT n.nspname, c.relname, \
    coalesce(pg_catalog.format('process %s (%s)', l.pid::pg_catalog.text, \
      coalesce(nullif(a.application_name, ''), 'no application name')), '') , l.pid IS NULL \
    FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_class c ON c.oid = l.relation \
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid \
    WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock' AND l.granted \
      AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())";

/// Opens the transaction that keeps row versions, and gives its id.
pub(super) const ANCHOR: &str = "BEGIN; SET LOCAL idle_in_transaction_session_timeout = 0; \
    SET LOCAL transaction_read_only = off; SELECT pg_catalog.pg_current_xact_id()";

/// Writes all WAL so far to this server's disk, so that no asynchronous commit that the snapshot saw can be lost. A
/// synchronous standby, which may be down, is not waited for.
pub(super) const FLUSH_WAL: &str = "SET LOCAL synchronous_commit = local; SELECT pg_catalog.pg_logical_emit_message(true, 'state-lab', 'flush')";

/// Identity of the session on a standby: process, virtual transaction.
pub(super) const VIRTUAL_TRANSACTION: &str = "SELECT pg_catalog.pg_backend_pid(), l.virtualtransaction \
    FROM pg_catalog.pg_locks l WHERE l.pid = pg_catalog.pg_backend_pid() AND l.locktype = 'virtualxid'";

/// The heartbeat's table, if it exists and can be read: relkind and privilege.
pub(super) const HEARTBEAT_EXISTS: &str = "SELECT c.relkind = 'r' AND c.relpersistence = 'p' \
    AND pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_table_privilege(c.oid, 'SELECT') \
    AND 5 = (SELECT pg_catalog.count(*) FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND NOT a.attisdropped \
      AND (a.attname, a.atttypid) IN (('id', 20), ('written_at', 1184), ('lsn', 3220), ('writer', 25), ('interval_ms', 20))) \
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    WHERE n.nspname = 'state_lab' AND c.relname = 'heartbeat'";

/// The newest beat.
pub(super) const HEARTBEAT_LAST: &str = "SELECT h.id, (extract(epoch FROM h.written_at) * 1000000)::pg_catalog.int8, \
    h.lsn, h.writer, h.interval_ms FROM ONLY state_lab.heartbeat h ORDER BY h.id DESC LIMIT 1";

/// The server's clock, and whether it tracks commit timestamps.
pub(super) const CLOCK: &str = "SELECT (extract(epoch FROM pg_catalog.clock_timestamp()) * 1000000)::pg_catalog.int8, \
    pg_catalog.current_setting('track_commit_timestamp') = 'on'";

/// Time of the last commit.
pub(super) const LAST_COMMIT: &str = "SELECT (extract(epoch FROM x.timestamp) * 1000000)::pg_catalog.int8 \
    FROM pg_catalog.pg_last_committed_xact() x";

/// Creates the heartbeat's table.
pub(super) const HEARTBEAT_INSTALL: &str = "CREATE SCHEMA IF NOT EXISTS state_lab; \
    CREATE TABLE IF NOT EXISTS state_lab.heartbeat ( \
      id pg_catalog.int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY, \
      written_at pg_catalog.timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(), \
      lsn pg_catalog.pg_lsn NOT NULL DEFAULT pg_catalog.pg_current_wal_insert_lsn(), \
      writer pg_catalog.text NOT NULL, \
      interval_ms pg_catalog.int8 NOT NULL)";

/// An identifier, quoted.
pub(super) fn identifier(name: &str) -> String {
    postgres_protocol::escape::escape_identifier(name)
}

/// A string constant, quoted.
pub(super) fn literal(text: &str) -> String {
    postgres_protocol::escape::escape_literal(text)
}

pub(super) fn qualified(name: &TableName) -> String {
    format!("{}.{}", identifier(&name.schema), identifier(&name.name))
}

/// Imports an exported snapshot into the transaction.
pub(super) fn import(snapshot: &str) -> String {
    format!("SET TRANSACTION SNAPSHOT {}", literal(snapshot))
}

pub(super) fn types(server_version: u32) -> String {
    let multirange = if server_version >= 140_000 { TYPES_MULTIRANGE } else { TYPES_NO_MULTIRANGE };
    format!("{TYPES}{multirange}{TYPES_WHERE}")
}

/// Locks tables without those that inherit from them.
pub(super) fn lock<'a>(tables: impl Iterator<Item = &'a TableName>, mode: &str) -> String {
    let names: Vec<String> = tables.map(|name| format!("ONLY {}", qualified(name))).collect();
    format!("LOCK TABLE {} IN {mode} MODE", names.join(", "))
}

/// The tables that the role can read, and whether it may keep writers out of them.
pub(super) fn fenced_tables(server_version: u32) -> String {
    let privileges =
        if server_version >= 170_000 { "UPDATE,DELETE,TRUNCATE,MAINTAIN" } else { "UPDATE,DELETE,TRUNCATE" };
    format!(
        "SELECT c.oid, n.nspname, c.relname, coalesce(pg_catalog.has_table_privilege(c.oid, '{privileges}'), false) \
         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND c.oid >= 16384 \
           AND pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_table_privilege(c.oid, 'SELECT') \
           AND NOT coalesce(pg_catalog.row_security_active(c.oid), false) ORDER BY c.oid"
    )
}

/// Who holds locks on the tables `$1` that keep a fence from standing: in words; and whether it is a transaction that began longer
/// than `$2` milliseconds ago and that does not give way as autovacuum does. Such a one comes first.
pub(super) const WRITERS: &str = "SELECT h.who || ' holds a ' || h.mode || ' on ' || h.relation \
      || coalesce(', in a transaction that has been open for ' || pg_catalog.date_trunc('second', pg_catalog.clock_timestamp() - h.since), ''), \
    (h.prepared OR coalesce(h.since OPERATOR(pg_catalog.<) pg_catalog.clock_timestamp() \
      - pg_catalog.make_interval(secs => $2::pg_catalog.int4 / 1000.0), false)) AND h.stays \
    FROM (SELECT CASE WHEN l.pid IS NULL THEN coalesce('the prepared transaction ' || pg_catalog.quote_literal(p.gid), 'a prepared transaction') \
            ELSE pg_catalog.format('process %s (%s)', l.pid, coalesce(nullif(a.application_name, ''), nullif(a.backend_type, 'client backend'), 'no application name')) END AS who, \
          l.mode, pg_catalog.format('%I.%I', n.nspname, c.relname) AS relation, \
          l.pid IS NULL AS prepared, coalesce(p.prepared, a.xact_start) AS since, \
          a.backend_type IS DISTINCT FROM 'autovacuum worker' AS stays \
        FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_class c ON c.oid = l.relation \
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
        LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid \
        LEFT JOIN (pg_catalog.pg_locks x JOIN pg_catalog.pg_prepared_xacts p ON p.transaction = x.transactionid) \
          ON l.pid IS NULL AND x.pid IS NULL AND x.virtualtransaction = l.virtualtransaction \
        WHERE l.locktype = 'relation' AND l.granted AND l.relation = ANY ($1) \
          AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()) \
          AND l.mode IN ('RowExclusiveLock', 'ShareUpdateExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock') \
          AND l.pid IS DISTINCT FROM pg_catalog.pg_backend_pid()) h \
    ORDER BY 2 DESC, h.since NULLS LAST LIMIT 1";

/// Begins the transaction of a fence, which ends by itself after `idle_ms` milliseconds without a statement.
pub(super) fn fence(idle_ms: u32) -> String {
    format!(
        "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL idle_in_transaction_session_timeout = {idle_ms}; \
         SET LOCAL synchronous_commit = off"
    )
}

/// Writes a record of the open transaction to the WAL, so that every later copy knows its id, and gives the id.
pub(super) const MARK_FENCE: &str = "SELECT pg_catalog.pg_current_xact_id() \
    FROM pg_catalog.pg_logical_emit_message(true, 'state-lab', 'fence')";

/// The sizes of the tables `$1`, which must be locked: bytes with TOAST, and pages without.
pub(super) const SIZES: &str = "SELECT o, coalesce(pg_catalog.pg_table_size(o), 0), \
    coalesce(pg_catalog.pg_relation_size(o), 0) / pg_catalog.current_setting('block_size')::pg_catalog.int8 \
    FROM pg_catalog.unnest($1) o";

/// The files that hold the tables `$1` at this moment, regardless of the snapshot.
pub(super) const FILENODES: &str =
    "SELECT o, coalesce(pg_catalog.pg_relation_filenode(o), 0) FROM pg_catalog.unnest($1) o";

/// The values of sequences, one row each, in order.
pub(super) fn sequence_values<'a>(names: impl Iterator<Item = (usize, &'a TableName)>) -> String {
    let parts: Vec<String> = names
        .map(|(i, name)| format!("SELECT {i}, last_value, is_called FROM {}", qualified(name)))
        .collect();
    parts.join(" UNION ALL ")
}

/// The furthest values of columns, one row each.
pub(super) fn furthest<'a>(columns: impl Iterator<Item = (usize, &'a TableName, &'a str, bool)>) -> String {
    let part = |(i, table, column, descending): (usize, &TableName, &str, bool)| {
        let function = if descending { "min" } else { "max" };
        let column = identifier(column);
        // The whole inheritance tree: a partitioned table's column is fed by one sequence.
        format!(
            "SELECT {i}, (SELECT pg_catalog.{function}({column})::pg_catalog.int8 FROM {})",
            qualified(table)
        )
    };
    columns.map(part).collect::<Vec<_>>().join(" UNION ALL ")
}

/// The sub-transactions in progress that the text of a snapshot from `$1` to `$2` omits.
pub(super) const SUBTRANSACTIONS: &str = "SELECT x FROM pg_catalog.generate_series($1, $2 - 1) x \
    WHERE pg_catalog.pg_xact_status(x::pg_catalog.text::pg_catalog.xid8) = 'in progress'";

/// Selects whether the transaction `$1`, given as text, is still in progress.
pub(super) const XACT_STATUS: &str = "SELECT pg_catalog.pg_xact_status($1::pg_catalog.xid8)";

/// Selects one of the transactions `$1`, or from `$2` on, that committed, if any did.
pub(super) const COMMITTED_LATER: &str = "SELECT x.xid::pg_catalog.text \
    FROM (SELECT pg_catalog.unnest($1::pg_catalog.int8[]) AS xid UNION ALL \
          SELECT pg_catalog.generate_series($2::pg_catalog.int8, \
            pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::pg_catalog.text::pg_catalog.int8 \
                OPERATOR(pg_catalog.-) 1::pg_catalog.int8)) x \
    WHERE pg_catalog.pg_xact_status(x.xid::pg_catalog.text::pg_catalog.xid8) OPERATOR(pg_catalog.=) 'committed' LIMIT 1";

/// Selects the number of transactions among `$1`, and from `$2` on to the last that the transaction's snapshot may see, that were neither
/// rolled back nor are in progress.
pub(super) const COMMITTED_SINCE: &str = "SELECT pg_catalog.count(*) \
    FROM (SELECT pg_catalog.unnest($1::pg_catalog.int8[]) AS xid UNION ALL \
          SELECT pg_catalog.generate_series($2::pg_catalog.int8, \
            pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::pg_catalog.text::pg_catalog.int8 \
                OPERATOR(pg_catalog.-) 1::pg_catalog.int8)) x \
    WHERE coalesce(pg_catalog.pg_xact_status(x.xid::pg_catalog.text::pg_catalog.xid8), 'unknown') NOT IN ('aborted', 'in progress')";

/// Selects whether the database has functions that remove rows, or make them visible, without a transaction.
pub(super) const HAS_SURGERY: &str = "SELECT EXISTS (SELECT FROM pg_catalog.pg_proc p \
    WHERE pg_catalog.strpos(p.probin, 'pg_surgery') OPERATOR(pg_catalog.>) 0)";

/// Selects whether a copy's WAL ends before the position `$1`, given as text, and where it ends.
pub(super) const ENDS_BEFORE: &str = "SELECT e.lsn OPERATOR(pg_catalog.<) $1::pg_catalog.pg_lsn, e.lsn::pg_catalog.text \
    FROM (SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() \
                      ELSE pg_catalog.pg_current_wal_insert_lsn() END AS lsn) e";

/// Selects whether a standby has replayed all WAL that it has, and waits for more.
pub(super) const WAITS_FOR_WAL: &str = "SELECT EXISTS (SELECT FROM pg_catalog.pg_stat_activity a \
    WHERE a.backend_type OPERATOR(pg_catalog.=) 'startup' \
      AND a.wait_event OPERATOR(pg_catalog.=) 'RecoveryRetrieveRetryInterval')";

/// Writes lines to a file of the server.
pub(super) fn write_file(lines: &[String], path: &str) -> String {
    let array: Vec<String> = lines.iter().map(|line| literal(line)).collect();
    format!("COPY (SELECT pg_catalog.unnest(ARRAY[{}])) TO {}", array.join(","), literal(path))
}

/// Reads the small file `$1` of the server.
pub(super) const READ_FILE: &str = "SELECT pg_catalog.pg_read_file($1, 0, 1000000)";

/// Writes one beat, of the writer `$1` that writes every `$2` milliseconds.
pub(super) const BEAT: &str =
    "INSERT INTO state_lab.heartbeat (writer, interval_ms) VALUES ($1, $2) RETURNING id";

/// Drops the beats up to `$1`.
pub(super) const PRUNE_BEATS: &str = "DELETE FROM state_lab.heartbeat WHERE id <= $1";

/// Runs a user's query behind a cursor, which accepts only a single SELECT or VALUES.
pub(super) fn declare(sql: &str) -> String {
    format!("DECLARE state_lab_invariant NO SCROLL CURSOR FOR {}", sql.trim().trim_end_matches(';'))
}

/// Streams a table, or a part of it, as binary COPY with the columns in the table's order.
pub(super) fn copy(slice: &Slice<'_>) -> String {
    let Slice { table, pages, keys } = *slice;
    if table.kind == TableKind::LargeObjects {
        let hashed = table.columns.iter().any(|column| column.encoding == Encoding::Sha256);
        let (open, close) = if hashed { ("pg_catalog.sha256(", ")") } else { ("", "") };
        let rows = LARGE_OBJECT_ROWS.replace("{", open).replace("}", close);
        return format!("COPY ({rows}) TO STDOUT (FORMAT binary)");
    }
    let name = qualified(&table.name);
    let condition = match pages {
        None => keys.and_then(|keys| has_key(table, keys)),
        Some(pages) => Some(is_within(pages)),
    };
    let direct = table.kind == TableKind::Table
        && condition.is_none()
        && table
            .columns
            .iter()
            .all(|column| matches!(column.encoding, Encoding::Binary | Encoding::Float) && !column.generated);
    if direct && !table.columns.is_empty() {
        let columns: Vec<String> = table.columns.iter().map(|column| identifier(&column.name)).collect();
        return format!("COPY {name} ({}) TO STDOUT (FORMAT binary)", columns.join(", "));
    }
    let columns: Vec<String> = table.columns.iter().map(expression).collect();
    let condition = condition.map_or_else(String::new, |condition| format!(" WHERE {condition}"));
    format!("COPY (SELECT {} FROM ONLY {name}{condition}) TO STDOUT (FORMAT binary)", columns.join(", "))
}

/// Condition that the rows of a range of pages satisfy.
fn is_within((from, to): (u32, Option<u32>)) -> String {
    let from = format!("ctid >= '({from},0)'::pg_catalog.tid");
    to.map_or_else(|| from.clone(), |to| format!("{from} AND ctid < '({to},0)'::pg_catalog.tid"))
}

/// Counts rows, and adds up their hashes. `sum` of 64-bit numbers is a `numeric`, which does not overflow.
pub(super) fn row_sum(slice: &Slice<'_>, seed: i64) -> String {
    let table = slice.table;
    let rows = match table.kind {
        TableKind::LargeObjects => "pg_catalog.pg_largeobject_metadata".to_owned(),
        TableKind::Table | TableKind::MaterializedView => format!("ONLY {}", qualified(&table.name)),
    };
    let value = |column: &Column| Some(HashedType::of(column)?.of_column(&identifier(&column.name), column));
    let hash = row_hash(table.columns.iter().filter_map(value), seed);
    let condition = slice.pages.map_or_else(String::new, |pages| format!(" WHERE {}", is_within(pages)));
    format!("SELECT pg_catalog.count(*), coalesce(pg_catalog.sum({hash}), 0) FROM {rows}{condition}")
}

/// Hashes a sample of each type that is hashed.
pub(super) fn sample_hash(seed: i64) -> String {
    let samples = HASHED.iter().map(|hashed| hashed.of_sample(&literal(hashed.sample)));
    format!("SELECT {}", row_hash(samples, seed))
}

/// Hash of values. That of a record alone is 31 times that of the values before plus that of the last one: in a sum over rows it would
/// not matter which values are in one row. The second hash, whose seed it is, makes it matter.
fn row_hash(values: impl Iterator<Item = String>, seed: i64) -> String {
    let values = values.collect::<Vec<_>>().join(", ");
    format!(
        "pg_catalog.hashint4extended(0, pg_catalog.hash_record_extended(ROW({values}), '{seed}'::pg_catalog.int8))"
    )
}

/// Condition that rows with these keys satisfy, and perhaps others: types may have equal values that are not the same. `None` for keys
/// that cannot be written as text with certainty.
fn has_key(table: &Table, keys: &[RowKey]) -> Option<String> {
    if !keys_have_text(table) {
        return None;
    }
    let columns: Vec<&Column> = table.key.columns.iter().map(|&i| &table.columns[i]).collect();
    let mut arrays: Vec<String> = columns.iter().map(|_| "{".to_owned()).collect();
    for key in keys {
        let fields = key.fields().filter(|fields| fields.len() == columns.len())?;
        for ((array, column), field) in arrays.iter_mut().zip(&columns).zip(fields) {
            array.push_str(if array.len() > 1 { "," } else { "" });
            array.push_str(&array_element(column, field?)?);
        }
    }
    let array = |(array, column): (String, &Column)| {
        let value = literal(&(array + "}"));
        format!("pg_catalog.unnest({value}::pg_catalog.{}[])", column.base_type)
    };
    let arrays: Vec<String> = arrays.into_iter().zip(columns.iter().copied()).map(array).collect();
    let names: Vec<String> = columns.iter().map(|column| identifier(&column.name)).collect();
    Some(format!("({}) IN (SELECT * FROM ROWS FROM ({}) AS k)", names.join(", "), arrays.join(", ")))
}

/// Returns whether the table has a key, of types of which every value has one text on every server.
pub(super) fn keys_have_text(table: &Table) -> bool {
    const TYPES: [&str; 6] = ["int2", "int4", "int8", "uuid", "text", "varchar"];
    let has_text =
        |column: &Column| column.encoding == Encoding::Binary && TYPES.contains(&column.base_type.as_str());
    table.key.source != KeySource::WholeRow && table.key.columns.iter().all(|&i| has_text(&table.columns[i]))
}

/// A binary value of such a type as an element of an array's text.
fn array_element(column: &Column, value: &[u8]) -> Option<String> {
    Some(match column.base_type.as_str() {
        "int2" => i16::from_be_bytes(value.try_into().ok()?).to_string(),
        "int4" => i32::from_be_bytes(value.try_into().ok()?).to_string(),
        "int8" => i64::from_be_bytes(value.try_into().ok()?).to_string(),
        "uuid" if value.len() == 16 => to_hex(value),
        "text" | "varchar" => {
            let text = std::str::from_utf8(value).ok().filter(|text| !text.contains('\0'))?;
            format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
        }
        _ => return None,
    })
}

/// Condition of the bounds of the partition `$1` and of its ancestors; and whether it may call functions that are
/// neither the server's own nor an extension's, which a hostile database may contain.
pub(super) fn partition_constraint() -> String {
    let of_an_extension = |class: &str, object: &str| {
        format!(
            "EXISTS (SELECT FROM pg_catalog.pg_depend x WHERE x.classid = {class} AND x.objid = {object} \
             AND x.deptype = 'e')"
        )
    };
    let trusted_type = |alias: &str| {
        let extension = of_an_extension("'pg_catalog.pg_type'::pg_catalog.regclass", &format!("{alias}.oid"));
        format!("({alias}.oid < 16384 OR {alias}.typtype = 'e' OR {extension})")
    };
    format!(
        "SELECT pg_catalog.pg_get_partition_constraintdef($1), \
         EXISTS (SELECT FROM pg_catalog.pg_partition_ancestors($1) p JOIN pg_catalog.pg_depend d \
           ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = p.relid AND d.objsubid = 0 \
             AND d.refclassid IN ('pg_catalog.pg_proc'::pg_catalog.regclass, \
               'pg_catalog.pg_operator'::pg_catalog.regclass, 'pg_catalog.pg_opclass'::pg_catalog.regclass) \
           WHERE NOT {reference}) \
         OR EXISTS (SELECT FROM pg_catalog.pg_partition_ancestors($1) p \
           JOIN pg_catalog.pg_partitioned_table k ON k.partrelid = p.relid \
           JOIN pg_catalog.pg_attribute a ON a.attrelid = p.relid AND a.attnum = ANY (k.partattrs) \
           JOIN pg_catalog.pg_type t ON t.oid = a.atttypid \
           LEFT JOIN pg_catalog.pg_type b ON b.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype \
             WHEN t.typcategory = 'A' THEN t.typelem END \
           WHERE NOT ({own} OR coalesce({base}, false)))",
        reference = of_an_extension("d.refclassid", "d.refobjid"),
        own = trusted_type("t"),
        base = trusted_type("b"),
    )
}

/// Selects whether a partition holds a row that `constraint`, as the server shows it, does not admit.
pub(super) fn holds_misplaced(partition: &TableName, constraint: &str) -> String {
    format!("SELECT EXISTS (SELECT FROM ONLY {} WHERE ({constraint}) IS FALSE)", qualified(partition))
}

/// A column as it travels. `format` calls the type's own output function; a cast to text could be somebody's.
fn expression(column: &Column) -> String {
    let name = identifier(&column.name);
    match column.encoding {
        Encoding::Binary | Encoding::Float => name,
        Encoding::Text => {
            format!("CASE WHEN {name} IS DISTINCT FROM NULL THEN pg_catalog.format('%s', {name}) END")
        }
        Encoding::Sha256 if column.base_type == "bytea" => format!("pg_catalog.sha256({name})"),
        Encoding::Sha256 => format!(
            "CASE WHEN {name} IS DISTINCT FROM NULL \
             THEN pg_catalog.sha256(pg_catalog.convert_to(pg_catalog.format('%s', {name}), 'UTF8')) END"
        ),
    }
}

/// Large objects with their contents (holes read as zeros), owner and privileges, columns sorted by name. The braces
/// surround what may be hashed.
const LARGE_OBJECT_ROWS: &str = "SELECT (SELECT pg_catalog.string_agg(i.item, ',' ORDER BY i.item COLLATE pg_catalog.\"C\") \
      FROM (SELECT pg_catalog.format('%s', a) AS item \
            FROM pg_catalog.unnest(coalesce(m.lomacl, pg_catalog.acldefault('L', m.lomowner))) a) i), \
    {pg_catalog.lo_get(m.oid)}, m.oid, pg_catalog.pg_get_userbyid(m.lomowner)::pg_catalog.text \
    FROM pg_catalog.pg_largeobject_metadata m";

/// Keeps a long statement from being ended, on servers that would.
pub(super) const NO_TRANSACTION_TIMEOUT: &str = "SELECT pg_catalog.set_config(s.name, '0', false) \
    FROM pg_catalog.pg_settings s WHERE s.name = 'transaction_timeout'";

/// Creates a database that holds nothing.
pub(super) fn create_database(name: &str) -> String {
    format!("CREATE DATABASE {} TEMPLATE template0", identifier(name))
}

pub(super) fn drop_database(name: &str) -> String {
    format!("DROP DATABASE IF EXISTS {}", identifier(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{CellWidth, Key, TableName};

    fn key(fields: &[&[u8]]) -> RowKey {
        let mut key = RowKey::EMPTY;
        assert!(fields.iter().all(|field| key.push(Some(field), CellWidth::Wide)));
        key
    }

    #[test]
    fn rows_are_asked_for_by_key_where_every_key_can_be_written() {
        let table = |first: &str| {
            Table::new(
                TableName::new("public", "t"),
                vec![Column::binary("a\"b", first), Column::binary("c", "text")],
                Key { source: KeySource::PrimaryKey, columns: vec![1, 0] },
            )
        };
        let keys = [key(&[b"it's \\ \"", &7_i32.to_be_bytes()]), key(&[b"x,y", &(-1_i32).to_be_bytes()])];
        let copy = |table: &Table| copy(&Slice { table, pages: None, keys: Some(&keys) });
        assert_eq!(
            copy(&table("int4")),
            "COPY (SELECT \"a\"\"b\", \"c\" FROM ONLY \"public\".\"t\" WHERE (\"c\", \"a\"\"b\") IN (SELECT * FROM ROWS FROM \
             (pg_catalog.unnest( E'{\"it''s \\\\\\\\ \\\\\"\",\"x,y\"}'::pg_catalog.text[]), \
             pg_catalog.unnest('{7,-1}'::pg_catalog.int4[])) AS k)) TO STDOUT (FORMAT binary)"
        );
        let whole = "COPY \"public\".\"t\" (\"a\"\"b\", \"c\") TO STDOUT (FORMAT binary)";
        // A type whose values have several texts, and a value that is not of the type.
        assert_eq!(copy(&table("numeric")), whole);
        assert_eq!(copy(&table("int8")), whole);
    }
}
