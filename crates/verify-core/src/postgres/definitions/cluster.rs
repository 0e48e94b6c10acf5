//! The statements that read definitions of the cluster: of its server, its roles, its tablespaces, and the database as a whole.
//!
//! They have the same columns as those of [`super::statements`].

use super::statements::{owner, privileges};

/// Settings of the type string whose values are kept. Others may hold secrets: commands, connections, what applications define.
const TEXTS: &str = "'datestyle', 'default_table_access_method', 'default_tablespace', 'default_text_search_config', 'lc_monetary', \
    'lc_numeric', 'lc_time', 'local_preload_libraries', 'restrict_nonsystem_relation_kind', 'role', 'search_path', \
    'session_preload_libraries', 'shared_preload_libraries', 'synchronous_standby_names', 'temp_tablespaces', 'timezone', \
    'timezone_abbreviations'";
/// Settings that belong to the place where a server runs.
const OF_THE_PLACE: &str = "'port', 'dynamic_shared_memory_type', 'shared_memory_type', 'unix_socket_permissions', 'log_file_mode', \
    'data_directory_mode', 'logging_collector', 'ssl', 'huge_pages'";

/// The statements for a server of this `server_version_num`.
pub(super) fn all(version: u32) -> Vec<String> {
    let mut all =
        vec![server(), roles(version), database(version), tablespaces(), collations(version), settings()];
    if version >= 150_000 {
        all.push(parameters());
    }
    all
}

/// What a copy of files has of its source, and nothing else has.
fn server() -> String {
    let readable = |function: &str, column: &str| {
        format!(
            "CASE WHEN pg_catalog.has_function_privilege('pg_catalog.{function}()', 'EXECUTE') \
               THEN (SELECT s.{column}::pg_catalog.text FROM pg_catalog.{function}() s) END"
        )
    };
    format!(
        "SELECT 'cluster', '', NULL, NULL, {} AS \"system identifier\", {} AS timeline, \
           pg_catalog.current_setting('data_checksums') AS \"data checksums\", \
           CASE WHEN pg_catalog.pg_has_role('pg_read_all_settings', 'USAGE') THEN 'all' END AS settings",
        readable("pg_control_system", "system_identifier"),
        readable("pg_control_checkpoint", "timeline_id"),
    )
}

/// Roles, except PostgreSQL's own, with what they are members of. Passwords are not read.
fn roles(version: u32) -> String {
    // Without a word of its own a membership inherits as its member does.
    let options = match version {
        160_000.. => {
            "|| CASE WHEN m.inherit_option AND NOT r.rolinherit THEN ' with inherit' \
               WHEN NOT m.inherit_option AND r.rolinherit THEN ' without inherit' ELSE '' END \
             || CASE WHEN m.set_option THEN '' ELSE ' without set' END"
        }
        _ => "",
    };
    let (everywhere, here) = (settings_of("r.oid", "0"), settings_of("r.oid", THIS_DATABASE));
    let label = label("pg_authid", "r.oid");
    format!(
        "WITH known AS MATERIALIZED ({KNOWN}) \
         SELECT 'role', pg_catalog.quote_ident(r.rolname), NULL, NULL, \
           CASE WHEN r.rolsuper THEN 'yes' END AS superuser, CASE WHEN NOT r.rolinherit THEN 'no' END AS inherit, \
           CASE WHEN r.rolcreaterole THEN 'yes' END AS createrole, CASE WHEN r.rolcreatedb THEN 'yes' END AS createdb, \
           CASE WHEN r.rolcanlogin THEN 'yes' END AS login, CASE WHEN r.rolreplication THEN 'yes' END AS replication, \
           CASE WHEN r.rolbypassrls THEN 'yes' END AS bypassrls, nullif(r.rolconnlimit, -1) AS \"connection limit\", \
           r.rolvaliduntil AS \"valid until\", \
           (SELECT pg_catalog.string_agg(g.grants, ', ' ORDER BY g.grants COLLATE pg_catalog.\"C\") FROM ( \
              SELECT DISTINCT pg_catalog.quote_ident(p.rolname) || CASE WHEN m.admin_option THEN ' with admin option' ELSE '' END {options} AS grants \
              FROM pg_catalog.pg_auth_members m JOIN pg_catalog.pg_roles p ON p.oid = m.roleid WHERE m.member = r.oid) g) AS memberships, \
           {everywhere} AS settings, {here} AS \"settings in this database\", \
           pg_catalog.shobj_description(r.oid, 'pg_authid') AS comment, {label} \
         FROM pg_catalog.pg_roles r WHERE r.rolname !~ '^pg_'"
    )
}

fn database(version: u32) -> String {
    let (provider, locale) = match version {
        170_000.. => ("d.datlocprovider", "d.datlocale"),
        150_000.. => ("d.datlocprovider", "d.daticulocale"),
        _ => ("'c'", "NULL"),
    };
    let rules = if version >= 160_000 { "d.daticurules" } else { "NULL" };
    let actual = match version {
        150_000.. => "pg_catalog.pg_database_collation_actual_version(d.oid)",
        _ => {
            "(SELECT pg_catalog.pg_collation_actual_version(c.oid) FROM pg_catalog.pg_collation c \
              WHERE c.collprovider = 'c' AND c.collcollate::pg_catalog.text = d.datcollate::pg_catalog.text ORDER BY c.oid LIMIT 1)"
        }
    };
    let (owner, privileges) = (owner("d.datdba"), privileges("d.datacl", "'d'", "d.datdba"));
    let (settings, label) = (settings_of("0", "d.oid"), label("pg_database", "d.oid"));
    format!(
        "WITH known AS MATERIALIZED ({KNOWN}) \
         SELECT 'database', pg_catalog.quote_ident(d.datname), NULL, NULL, {owner}, {privileges}, \
           pg_catalog.pg_encoding_to_char(d.encoding) AS encoding, d.datcollate AS lc_collate, d.datctype AS lc_ctype, \
           CASE {provider} WHEN 'c' THEN NULL WHEN 'i' THEN 'icu' WHEN 'b' THEN 'builtin' ELSE 'unknown' END AS \"locale provider\", \
           {locale} AS locale, {rules} AS rules, {actual} AS \"collation version\", \
           CASE WHEN NOT d.datallowconn THEN 'no' END AS \"allow connections\", CASE WHEN d.datistemplate THEN 'yes' END AS template, \
           nullif(d.datconnlimit, -1) AS \"connection limit\", \
           (SELECT nullif(t.spcname, 'pg_default') FROM pg_catalog.pg_tablespace t WHERE t.oid = d.dattablespace) AS tablespace, \
           {settings} AS settings, nullif(pg_catalog.shobj_description(d.oid, 'pg_database'), 'default administrative connection database') AS comment, \
           {label} \
         FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()"
    )
}

/// Tablespaces without their places, which a restore chooses anew.
fn tablespaces() -> String {
    let (owner, privileges) = (owner("t.spcowner"), privileges("t.spcacl", "'t'", "t.spcowner"));
    let label = label("pg_tablespace", "t.oid");
    format!(
        "SELECT 'tablespace', pg_catalog.quote_ident(t.spcname), NULL, NULL, {owner}, {privileges}, \
           pg_catalog.array_to_string(t.spcoptions, ', ') AS options, pg_catalog.shobj_description(t.oid, 'pg_tablespace') AS comment, {label} \
         FROM pg_catalog.pg_tablespace t WHERE t.spcname !~ '^pg_'"
    )
}

/// Collations that are in use, and that of the database, where the operating system has another version of them now than when what is
/// sorted by them was written.
fn collations(version: u32) -> String {
    let used = "SELECT 'collation version', pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.collname), NULL, NULL, \
           c.collversion AS recorded, pg_catalog.pg_collation_actual_version(c.oid) AS actual \
         FROM pg_catalog.pg_collation c JOIN pg_catalog.pg_namespace n ON n.oid = c.collnamespace \
         WHERE c.collversion <> pg_catalog.pg_collation_actual_version(c.oid) AND EXISTS (SELECT FROM pg_catalog.pg_depend d \
           WHERE d.refclassid = 'pg_catalog.pg_collation'::pg_catalog.regclass AND d.refobjid = c.oid)";
    if version < 150_000 {
        return used.to_owned();
    }
    format!(
        "{used} UNION ALL SELECT 'collation version', 'of the database', NULL, NULL, d.datcollversion, \
           pg_catalog.pg_database_collation_actual_version(d.oid) \
         FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database() \
           AND d.datcollversion <> pg_catalog.pg_database_collation_actual_version(d.oid)"
    )
}

/// Settings that the server was started with. What sessions, roles and databases set for themselves is theirs.
fn settings() -> String {
    format!(
        "SELECT 'setting', s.name, NULL, NULL, s.setting || coalesce(' ' || s.unit, '') AS value FROM pg_catalog.pg_settings s \
         WHERE s.source IN ('configuration file', 'command line', 'environment variable') AND s.name NOT IN ({OF_THE_PLACE}) \
           AND pg_catalog.strpos(s.name, '.') = 0 AND s.context <> 'internal' \
           AND (s.vartype <> 'string' OR pg_catalog.lower(s.name) IN ({TEXTS}))"
    )
}

/// Who may set what, from PostgreSQL 15 on.
fn parameters() -> String {
    format!(
        "SELECT 'parameter ACL', pg_catalog.quote_ident(p.parname), NULL, NULL, {} FROM pg_catalog.pg_parameter_acl p",
        privileges("p.paracl", "'p'", "10")
    )
}

const THIS_DATABASE: &str =
    "(SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())";
/// The settings whose values are kept.
const KNOWN: &str = "SELECT pg_catalog.lower(s.name) AS name, s.vartype FROM pg_catalog.pg_settings s";

/// The settings of a role or a database, or of a role in a database, without values that may be secrets.
fn settings_of(role: &str, database: &str) -> String {
    format!(
        "(SELECT pg_catalog.string_agg(v.setting, '; ' ORDER BY v.setting COLLATE pg_catalog.\"C\") FROM ( \
            SELECT CASE WHEN pg_catalog.strpos(o.name, '.') = 0 AND (k.vartype <> 'string' OR k.name IN ({TEXTS})) \
              THEN o.item ELSE o.name || ' (its value is not read)' END AS setting \
            FROM pg_catalog.pg_db_role_setting s CROSS JOIN LATERAL ( \
              SELECT i.item, pg_catalog.split_part(i.item, '=', 1) AS name FROM pg_catalog.unnest(s.setconfig) i (item)) o \
            LEFT JOIN known k ON k.name = pg_catalog.lower(o.name) \
            WHERE s.setrole = {role} AND s.setdatabase = {database}) v)"
    )
}

fn label(catalogue: &str, oid: &str) -> String {
    format!(
        "(SELECT pg_catalog.string_agg(l.provider || ': ' || l.label, ', ' ORDER BY l.provider COLLATE pg_catalog.\"C\") \
          FROM pg_catalog.pg_shseclabel l WHERE l.classoid = 'pg_catalog.{catalogue}'::pg_catalog.regclass AND l.objoid = {oid}) AS \"security label\""
    )
}
