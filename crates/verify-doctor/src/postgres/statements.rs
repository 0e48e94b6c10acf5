//! The statements of the checks. The session's search path is empty, and every function and relation is qualified, since a
//! database may hold others of the same names.

/// Version, database, recovery, clock in microseconds since 1970, whether all settings are visible.
pub(super) const IDENTITY: &str = "SELECT pg_catalog.current_setting('server_version_num'), pg_catalog.current_database(), \
    pg_catalog.pg_is_in_recovery(), (extract(epoch FROM pg_catalog.clock_timestamp()) * 1000000)::pg_catalog.int8, \
    pg_catalog.pg_has_role(current_user, 'pg_read_all_settings', 'USAGE')";

pub(super) const SYSTEM_IDENTIFIER: &str = "SELECT system_identifier FROM pg_catalog.pg_control_system()";

/// Settings with their values, and whether this session set them.
pub(super) const SETTINGS: &str =
    "SELECT name, coalesce(setting, ''), source IN ('client', 'session') FROM pg_catalog.pg_settings";

pub(super) const ARCHIVER: &str = "SELECT archived_count, last_archived_wal, \
    (extract(epoch FROM last_archived_time) * 1000000)::pg_catalog.int8, failed_count, last_failed_wal, \
    (extract(epoch FROM last_failed_time) * 1000000)::pg_catalog.int8 FROM pg_catalog.pg_stat_archiver";

/// The names in a directory of the server's machine.
pub(super) const LIST_DIRECTORY: &str = "SELECT name FROM pg_catalog.pg_ls_dir($1, false, false) name";

/// The value of one option in pgBackRest's configuration; nothing else of the file leaves the server.
pub(super) const QUEUE_MAX: &str = "SELECT (pg_catalog.regexp_match(pg_catalog.pg_read_file($1, 0, 1048576, true), \
    '(?n)^\\s*archive-push-queue-max\\s*=\\s*(\\S+)'))[1]";

pub(super) const SLOTS: &str = "SELECT slot_name, wal_status, active, \
    CASE WHEN pg_catalog.pg_is_in_recovery() THEN NULL \
         ELSE greatest(0, pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), restart_lsn))::pg_catalog.int8 END \
    FROM pg_catalog.pg_replication_slots WHERE NOT temporary ORDER BY slot_name COLLATE pg_catalog.\"C\"";

/// The processes that send WAL to a standby or receiver; base backups send it too.
pub(super) const STANDBYS: &str = "SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_get_wal_senders() s WHERE s.state IS DISTINCT FROM 'backup'";

pub(super) const PREPARED: &str = "SELECT gid, database, \
    (extract(epoch FROM prepared) * 1000000)::pg_catalog.int8 FROM pg_catalog.pg_prepared_xacts ORDER BY prepared";

pub(super) const UNLOGGED: &str = "SELECT n.nspname, c.relname FROM pg_catalog.pg_class c \
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'm') AND c.relpersistence = 'u' \
    ORDER BY 1, 2";

/// Indexes that are not valid, their tables, and whether another session holds the lock under which they are built.
pub(super) const INVALID_INDEXES: &str = "SELECT n.nspname, c.relname, tn.nspname, t.relname, \
    EXISTS (SELECT FROM pg_catalog.pg_locks l WHERE l.relation = i.indrelid AND l.granted \
      AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()) \
      AND l.mode = 'ShareUpdateExclusiveLock') \
    FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid \
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace JOIN pg_catalog.pg_class t ON t.oid = i.indrelid \
    JOIN pg_catalog.pg_namespace tn ON tn.oid = t.relnamespace \
    WHERE NOT i.indisvalid AND c.relpersistence <> 't' ORDER BY 1, 2";

/// Constraints that are not valid, and whether they are enforced, which before PostgreSQL 18 all are.
pub(super) fn constraints(major: u32) -> String {
    let enforced = if major >= 18 { "c.conenforced" } else { "true" };
    format!(
        "SELECT c.conname, n.nspname, t.relname, {enforced} FROM pg_catalog.pg_constraint c \
         JOIN pg_catalog.pg_class t ON t.oid = c.conrelid JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace \
         WHERE NOT c.convalidated AND t.relpersistence <> 't' ORDER BY 2, 3, 1"
    )
}

/// Sequences that feed an integer column: sequence, table, column, increment, whether the role may read each.
pub(super) const SEQUENCES: &str = "SELECT sn.nspname, s.relname, tn.nspname, t.relname, a.attname, q.seqincrement, \
    pg_catalog.has_schema_privilege(sn.oid, 'USAGE') AND pg_catalog.has_sequence_privilege(s.oid, 'SELECT'), \
    pg_catalog.has_schema_privilege(tn.oid, 'USAGE') \
      AND pg_catalog.has_column_privilege(t.oid, a.attnum, 'SELECT') \
    FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_class s ON s.oid = d.objid AND s.relkind = 'S' \
    JOIN pg_catalog.pg_namespace sn ON sn.oid = s.relnamespace JOIN pg_catalog.pg_sequence q ON q.seqrelid = s.oid \
    JOIN pg_catalog.pg_class t ON t.oid = d.refobjid AND t.relkind IN ('r', 'p') \
    JOIN pg_catalog.pg_namespace tn ON tn.oid = t.relnamespace \
    JOIN pg_catalog.pg_attribute a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid \
    WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass \
      AND d.deptype IN ('a', 'i') AND a.atttypid IN (20, 21, 23) AND s.relpersistence <> 't' ORDER BY 1, 2";

/// Last value of a sequence, whether it was returned, and the furthest value of its column.
pub(super) fn sequence_values(sequence: &str, table: &str, column: &str, increment: i64) -> String {
    let furthest = if increment > 0 { "max" } else { "min" };
    format!(
        "SELECT s.last_value, s.is_called, (SELECT pg_catalog.{furthest}(t.{column}) FROM {table} t) FROM {sequence} s"
    )
}

pub(super) const TABLESPACES: &str = "SELECT t.spcname, pg_catalog.pg_tablespace_location(t.oid) \
    FROM pg_catalog.pg_tablespace t WHERE pg_catalog.pg_tablespace_location(t.oid) <> '' ORDER BY 1";

/// True if the heartbeat's table may be read; no row if it does not exist.
pub(super) const HEARTBEAT: &str = "SELECT pg_catalog.has_schema_privilege(n.oid, 'USAGE') \
    AND pg_catalog.has_table_privilege(c.oid, 'SELECT') FROM pg_catalog.pg_class c \
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'state_lab' AND c.relname = 'heartbeat'";

pub(super) const SUBSCRIPTIONS: &str = "SELECT s.subname FROM pg_catalog.pg_subscription s \
    JOIN pg_catalog.pg_database d ON d.oid = s.subdbid \
    WHERE s.subenabled AND d.datname = pg_catalog.current_database() ORDER BY 1";

/// True if the jobs of pg_cron may be read; no row if this database has none.
pub(super) const CRON: &str = "SELECT pg_catalog.has_schema_privilege(n.oid, 'USAGE') \
    AND pg_catalog.has_table_privilege(c.oid, 'SELECT') FROM pg_catalog.pg_class c \
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'cron' AND c.relname = 'job'";

/// Active jobs of pg_cron: their ids alone, since a command may hold a secret.
pub(super) const CRON_JOBS: &str = "SELECT j.jobid FROM cron.job j WHERE j.active ORDER BY j.jobid";

pub(super) const FOREIGN_SERVERS: &str = "SELECT s.srvname, w.fdwname FROM pg_catalog.pg_foreign_server s \
    JOIN pg_catalog.pg_foreign_data_wrapper w ON w.oid = s.srvfdw ORDER BY 1";

pub(super) const EXTENSIONS: &str = "SELECT extname, extversion FROM pg_catalog.pg_extension ORDER BY 1";

pub(super) const AVAILABLE_EXTENSIONS: &str = "SELECT name FROM pg_catalog.pg_available_extensions";

/// Collations, by provider and locale, with the version that was recorded and that of the operating system now: those that
/// columns or the database use, or all.
pub(super) fn collations(major: u32, used: bool) -> String {
    let (locale, database_locale) = match major {
        17.. => ("coalesce(c.colllocale, c.collcollate)", "coalesce(d.datlocale, d.datcollate)"),
        15.. => ("coalesce(c.colliculocale, c.collcollate)", "coalesce(d.daticulocale, d.datcollate)"),
        _ => ("c.collcollate", ""),
    };
    let in_use = if used {
        " AND c.oid IN (SELECT a.attcollation FROM pg_catalog.pg_attribute a \
          JOIN pg_catalog.pg_class r ON r.oid = a.attrelid WHERE r.relkind IN ('r', 'i', 'm', 'p', 'I') AND r.oid >= 16384)"
    } else {
        ""
    };
    let collations = format!(
        "SELECT c.collprovider::pg_catalog.text || ':' || {locale}, c.collversion, pg_catalog.pg_collation_actual_version(c.oid) \
         FROM pg_catalog.pg_collation c WHERE c.collversion IS NOT NULL{in_use}"
    );
    // Before PostgreSQL 15 the version of the database's own collation is not recorded.
    let database = if major < 15 {
        String::new()
    } else {
        format!(
            " UNION SELECT d.datlocprovider::pg_catalog.text || ':' || {database_locale}, d.datcollversion, \
             pg_catalog.pg_database_collation_actual_version(d.oid) FROM pg_catalog.pg_database d \
             WHERE d.datcollversion IS NOT NULL AND d.datname = pg_catalog.current_database()"
        )
    };
    format!("{collations}{database} ORDER BY 1")
}
