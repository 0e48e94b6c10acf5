//! The statements that read definitions, qualified with `pg_catalog` as all of [`crate::postgres::statements`].
//!
//! Each gives the type of an object, its identity, the schema and the name of the relation that it belongs to, and
//! its attributes, named as their columns. An attribute with its default value is NULL, so that versions of PostgreSQL that lack it
//! agree.

/// Relations of other sessions' exclusive locks, those that were dropped after the transaction's snapshot, and what is printed from
/// either: no definition of them can be read. Type, identity, schema, name, object id, and whether it was dropped.
pub(super) const OUT_OF_REACH: &str = "WITH RECURSIVE blocked (oid) AS ( \
      SELECT l.relation FROM pg_catalog.pg_locks l WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock' \
        AND l.pid IS DISTINCT FROM pg_catalog.pg_backend_pid() \
        AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()) \
      UNION SELECT c.oid FROM pg_catalog.pg_class c WHERE pg_catalog.pg_table_is_visible(c.oid) IS NULL \
      UNION SELECT coalesce(r.ev_class, p.polrelid) FROM blocked b JOIN pg_catalog.pg_depend d \
        ON d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = b.oid \
      LEFT JOIN pg_catalog.pg_rewrite r ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND r.oid = d.objid \
      LEFT JOIN pg_catalog.pg_policy p ON d.classid = 'pg_catalog.pg_policy'::pg_catalog.regclass AND p.oid = d.objid \
      WHERE r.oid IS NOT NULL OR p.oid IS NOT NULL) \
    SELECT CASE c.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' ELSE 'table' END, \
      pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname), n.nspname, c.relname, c.oid, \
      pg_catalog.pg_table_is_visible(c.oid) IS NULL \
    FROM blocked b JOIN pg_catalog.pg_class c ON c.oid = b.oid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace";

/// Relations whose definitions are read; objects that belong to no relation always are.
pub(super) enum Scope<'a> {
    /// All but these.
    Without(&'a [u32]),
    /// Only these.
    Only(&'a [u32]),
}

/// The statements for a server of this `server_version_num`.
pub(super) fn all(version: u32, scope: &Scope<'_>) -> Vec<String> {
    let kept = &kept(scope);
    let since = |first: u32, sql: &'static str| if version >= first { sql } else { "NULL" };
    vec![
        schemas(),
        relations(since, kept),
        sequences(kept),
        columns(since, kept),
        constraints(since, kept),
        indexes(since, kept),
        triggers(kept),
        rules(kept),
        policies(kept),
        functions(since),
        aggregates(),
        types(since),
        collations(version),
        casts(),
        operators(),
        operator_families(),
        operator_classes(),
        conversions(),
        languages(),
        transforms(),
        access_methods(),
        text_search(),
        extensions(),
        foreign_data(),
        event_triggers(),
        publications(since),
        published(version, kept),
        subscriptions(since),
        statistics(since, kept),
        default_privileges(),
        system_privileges(),
        comments(),
        security_labels(),
    ]
}

/// The object `oid` of a catalogue, as `i`.
fn object(catalogue: &str, oid: &str) -> String {
    format!(
        "CROSS JOIN LATERAL pg_catalog.pg_identify_object('pg_catalog.{catalogue}'::pg_catalog.regclass, {oid}, 0) i"
    )
}

/// The extension that an object belongs to.
fn extension(catalogue: &str, oid: &str) -> String {
    format!(
        "(SELECT e.extname FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid \
          WHERE d.classid = 'pg_catalog.{catalogue}'::pg_catalog.regclass AND d.objid = {oid} AND d.objsubid = 0 \
            AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype = 'e' LIMIT 1) AS extension"
    )
}

pub(super) fn owner(oid: &str) -> String {
    format!("pg_catalog.pg_get_userbyid({oid}) AS owner")
}

/// Privileges by grantee, sorted; NULL if they are those that a new object has.
pub(super) fn privileges(acl: &str, object_type: &str, owner: &str) -> String {
    let default = format!("pg_catalog.acldefault({object_type}, {owner})");
    format!(
        "CASE WHEN {acl} IS NOT NULL THEN nullif({}, {}) END AS privileges",
        grants(acl),
        grants(&default)
    )
}

fn grants(acl: &str) -> String {
    format!(
        "coalesce((SELECT pg_catalog.string_agg(g.grants, ', ' ORDER BY g.grants COLLATE pg_catalog.\"C\") FROM ( \
          SELECT coalesce(pg_catalog.quote_ident(r.rolname), 'PUBLIC') || ': ' || pg_catalog.string_agg(DISTINCT x.privilege_type \
              || CASE WHEN x.is_grantable THEN ' with grant option' ELSE '' END, '/') AS grants \
          FROM pg_catalog.aclexplode({acl}) x LEFT JOIN pg_catalog.pg_roles r ON r.oid = x.grantee \
          GROUP BY x.grantee, r.rolname) g), 'none')"
    )
}

/// An array, sorted, as one text; NULL if it is empty.
fn sorted(array: &str, name: &str) -> String {
    format!(
        "(SELECT pg_catalog.string_agg(o.item, ', ' ORDER BY o.item COLLATE pg_catalog.\"C\") \
          FROM pg_catalog.unnest({array}) o (item)) AS \"{name}\""
    )
}

/// Options of a column, sorted, as one text; NULL if there are none. Without `pg_attver`, a number that PostgreSQL 15.20
/// gives every column by itself: that of a restored dump is another.
fn column_options(of: &str) -> String {
    format!(
        "(SELECT pg_catalog.string_agg(o.item, ', ' ORDER BY o.item COLLATE pg_catalog.\"C\") \
          FROM pg_catalog.unnest({of}.attoptions) o (item) WHERE NOT pg_catalog.starts_with(o.item, 'pg_attver='))"
    )
}

/// Options of foreign objects; values that may be secrets are left out.
fn foreign_options(array: &str) -> String {
    format!(
        "(SELECT pg_catalog.string_agg(o.option_name || CASE WHEN o.option_name ~* 'pass|secret|key|token|user' THEN '' \
            ELSE '=' || o.option_value END, ', ' ORDER BY o.option_name COLLATE pg_catalog.\"C\") \
          FROM pg_catalog.pg_options_to_table({array}) o) AS options"
    )
}

/// Schema-qualified name of an object of a catalogue, such as a collation or an operator class.
fn name_of(catalogue: &str, prefix: &str, oid: &str) -> String {
    format!(
        "(SELECT pg_catalog.quote_ident(q.nspname) || '.' || pg_catalog.quote_ident(named.{prefix}name) \
          FROM pg_catalog.{catalogue} named JOIN pg_catalog.pg_namespace q ON q.oid = named.{prefix}namespace WHERE named.oid = {oid})"
    )
}

fn collation(oid: &str) -> String {
    name_of("pg_collation", "coll", oid)
}

/// A function's name with the types of its arguments; NULL if there is none.
fn function(oid: &str, name: &str) -> String {
    format!("CASE WHEN {oid} <> 0 THEN {oid}::pg_catalog.regprocedure::pg_catalog.text END AS \"{name}\"")
}

/// True of an object that no other one, such as a range type, brings along.
fn not_internal(catalogue: &str, oid: &str) -> String {
    format!(
        "NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.{catalogue}'::pg_catalog.regclass \
           AND d.objid = {oid} AND d.objsubid = 0 AND d.deptype = 'i')"
    )
}

/// A text that only true values have.
fn flag(condition: &str, name: &str) -> String {
    format!("CASE WHEN {condition} THEN 'yes' END AS \"{name}\"")
}

/// The opposite.
fn unless(condition: &str, name: &str) -> String {
    format!("CASE WHEN NOT {condition} THEN 'no' END AS \"{name}\"")
}

/// True of relations of users, as `c`, that outlive their session, do not belong to TOAST, and are in `scope`.
fn kept(scope: &Scope<'_>) -> String {
    let (comparison, oids) = match scope {
        Scope::Without(oids) => ("<> ALL", oids),
        Scope::Only(oids) => ("= ANY", oids),
    };
    let oids: Vec<String> = oids.iter().map(ToString::to_string).collect();
    format!(
        "c.relpersistence <> 't' AND c.oid >= 16384 AND c.relnamespace <> 'pg_toast'::pg_catalog.regnamespace \
         AND c.oid {comparison} ('{{{}}}'::pg_catalog.oid[])",
        oids.join(",")
    )
}

/// Object ids below 16384 are the system's own.
fn schemas() -> String {
    let (object, extension, owner) =
        (object("pg_namespace", "n.oid"), extension("pg_namespace", "n.oid"), owner("n.nspowner"));
    let privileges = privileges("n.nspacl", "'n'", "n.nspowner");
    format!(
        "SELECT i.type, i.identity, NULL, NULL, {extension}, {owner}, {privileges} FROM pg_catalog.pg_namespace n {object} \
         WHERE (n.oid >= 16384 OR n.nspname = 'public') AND n.nspname !~ '^pg_(toast_)?temp_'"
    )
}

fn relations(since: impl Fn(u32, &'static str) -> &'static str, kept: &str) -> String {
    let (object, extension, owner) =
        (object("pg_class", "c.oid"), extension("pg_class", "c.oid"), owner("c.relowner"));
    let privileges =
        privileges("c.relacl", "CASE c.relkind WHEN 'S' THEN 's'::\"char\" ELSE 'r' END", "c.relowner");
    let options = sorted(
        "c.reloptions || (SELECT pg_catalog.array_agg('toast.' || o.item) FROM pg_catalog.unnest(t.reloptions) o (item))",
        "options",
    );
    let foreign = foreign_options("f.ftoptions").replace("AS options", "AS \"foreign options\"");
    let detaching = since(140_000, "CASE WHEN h.inhdetachpending THEN ' (being detached)' END");
    format!(
        "SELECT i.type, i.identity, n.nspname, c.relname, {extension}, {owner}, {privileges}, {options}, {foreign}, \
           CASE WHEN c.relpersistence = 'u' AND c.relkind <> 'p' THEN 'unlogged' END AS persistence, \
           (SELECT a.amname FROM pg_catalog.pg_am a WHERE a.oid = c.relam AND a.amname <> 'heap') AS \"access method\", \
           (SELECT s.spcname FROM pg_catalog.pg_tablespace s WHERE s.oid = c.reltablespace) AS tablespace, \
           CASE WHEN c.relforcerowsecurity THEN 'forced' WHEN c.relrowsecurity THEN 'enabled' END \
             || CASE WHEN c.relforcerowsecurity AND NOT c.relrowsecurity THEN ', not enabled' ELSE '' END AS \"row security\", \
           CASE c.relreplident WHEN 'd' THEN NULL WHEN 'n' THEN CASE WHEN c.relkind IN ('r', 'p') THEN 'nothing' END \
             WHEN 'f' THEN 'full' ELSE \
             (SELECT x.relname FROM pg_catalog.pg_index d JOIN pg_catalog.pg_class x ON x.oid = d.indexrelid \
              WHERE d.indrelid = c.oid AND d.indisreplident) END AS \"replica identity\", \
           nullif(pg_catalog.format_type(nullif(c.reloftype, 0), NULL), '???') AS \"of type\", \
           CASE WHEN c.relispartition THEN pg_catalog.pg_get_expr(c.relpartbound, c.oid) END AS \"partition bound\", \
           CASE WHEN c.relkind = 'p' THEN pg_catalog.pg_get_partkeydef(c.oid) END AS \"partition key\", \
           CASE WHEN c.relkind = 'p' THEN (SELECT x.relname FROM pg_catalog.pg_partitioned_table p \
             JOIN pg_catalog.pg_class x ON x.oid = p.partdefid WHERE p.partrelid = c.oid) END AS \"default partition\", \
           (SELECT pg_catalog.string_agg(h.inhparent::pg_catalog.regclass::pg_catalog.text || coalesce({detaching}, ''), ', ' ORDER BY h.inhseqno) \
            FROM pg_catalog.pg_inherits h WHERE h.inhrelid = c.oid) AS parents, \
           CASE WHEN c.relkind IN ('v', 'm') THEN pg_catalog.pg_get_viewdef(c.oid) END AS query, \
           (SELECT w.srvname FROM pg_catalog.pg_foreign_server w WHERE w.oid = f.ftserver) AS server \
         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         LEFT JOIN pg_catalog.pg_class t ON t.oid = c.reltoastrelid \
         LEFT JOIN pg_catalog.pg_foreign_table f ON f.ftrelid = c.oid {object} \
         WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S', 'c') AND {kept}"
    )
}

fn sequences(kept: &str) -> String {
    let object = object("pg_class", "c.oid");
    format!(
        "SELECT i.type, i.identity, n.nspname, c.relname, pg_catalog.format_type(s.seqtypid, NULL) AS \"data type\", \
           s.seqstart AS start, s.seqmin AS minimum, s.seqmax AS maximum, nullif(s.seqcache, 1) AS cache, \
           (SELECT CASE d.deptype WHEN 'i' THEN 'identity ' ELSE '' END || d.refobjid::pg_catalog.regclass::pg_catalog.text || '.' \
              || pg_catalog.quote_ident(a.attname) \
            FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid \
            WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.objsubid = 0 \
              AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i') \
            LIMIT 1) AS \"owned by\" \
         FROM pg_catalog.pg_sequence s JOIN pg_catalog.pg_class c ON c.oid = s.seqrelid \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace {object} WHERE {kept}"
    )
}

/// Columns. A default holds no columns, so the table's need not be named to show it: of a table with 1,600 of them that takes long. A
/// NOT NULL constraint, an object of its own from PostgreSQL 18 on, is an attribute of its column.
fn columns(since: impl Fn(u32, &'static str) -> &'static str, kept: &str) -> String {
    let collation = collation("nullif(a.attcollation, t.typcollation)");
    let privileges = privileges("a.attacl", "'c'", "c.relowner");
    let foreign = foreign_options("a.attfdwoptions").replace("AS options", "AS \"foreign options\"");
    let compression = since(140_000, "nullif(a.attcompression, '')");
    let invalid = since(
        180_000,
        "(SELECT pg_catalog.concat(CASE WHEN NOT k.convalidated THEN ' (not valid)' END, CASE WHEN k.connoinherit THEN ' (no inherit)' END) \
          FROM pg_catalog.pg_constraint k WHERE k.conrelid = a.attrelid AND k.contype = 'n' AND k.conkey = ARRAY[a.attnum] LIMIT 1)",
    );
    let options = column_options("a");
    format!(
        "SELECT i.type, i.identity, n.nspname, c.relname, pg_catalog.format_type(a.atttypid, a.atttypmod) AS data_type, \
           {collation} AS collation, {privileges}, {options} AS options, {foreign}, \
           CASE WHEN a.attnotnull THEN 'yes' || coalesce({invalid}, '') END AS \"not null\", \
           CASE a.attidentity WHEN 'a' THEN 'always' WHEN 'd' THEN 'by default' END AS identity_column, \
           CASE a.attgenerated WHEN 's' THEN 'stored' WHEN 'v' THEN 'virtual' END AS generated, \
           CASE WHEN a.attgenerated = '' THEN pg_catalog.pg_get_expr(d.adbin, 0) END AS \"default\", \
           CASE WHEN a.attgenerated <> '' THEN pg_catalog.pg_get_expr(d.adbin, d.adrelid) END AS \"generated as\", \
           nullif(a.attstorage, t.typstorage) AS storage, {compression} AS compression, \
           nullif(a.attstattarget, -1) AS \"statistics target\", \
           CASE WHEN c.relkind IN ('r', 'p', 'f', 'c') AND (c.relispartition OR NOT EXISTS \
               (SELECT FROM pg_catalog.pg_inherits h WHERE h.inhrelid = c.oid)) \
             THEN pg_catalog.rank() OVER (PARTITION BY a.attrelid ORDER BY a.attnum) END AS position \
         FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace JOIN pg_catalog.pg_type t ON t.oid = a.atttypid \
         LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum \
         CROSS JOIN LATERAL pg_catalog.pg_identify_object('pg_catalog.pg_class'::pg_catalog.regclass, c.oid, a.attnum) i \
         WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'c') AND a.attnum > 0 AND NOT a.attisdropped AND {kept}"
    )
}

/// Constraints except NOT NULL, which columns have, and constraint triggers. A foreign key that a partition has of its parent is
/// named by the parent's, as a restore names it anew; those that refer to a single partition follow from others.
fn constraints(since: impl Fn(u32, &'static str) -> &'static str, kept: &str) -> String {
    let enforced = since(180_000, "CASE WHEN NOT k.conenforced THEN 'no' END");
    let unvalidated = unless("k.convalidated", "validated");
    let no_inherit = flag("k.connoinherit AND k.contype = 'c'", "no inherit");
    format!(
        "SELECT i.type, CASE WHEN p.oid IS NULL THEN i.identity ELSE \
             'on ' || k.conrelid::pg_catalog.regclass::pg_catalog.text || ' of ' \
             || pg_catalog.quote_ident(p.conname) || ' on ' || p.conrelid::pg_catalog.regclass::pg_catalog.text END, \
           n.nspname, c.relname, CASE WHEN k.contype <> 'c' THEN pg_catalog.pg_get_constraintdef(k.oid) END AS definition, \
           CASE WHEN k.contype = 'c' THEN pg_catalog.pg_get_expr(k.conbin, k.conrelid) END AS \"check\", \
           {unvalidated}, {no_inherit}, {enforced} AS enforced, \
           (SELECT pg_catalog.format_type(t.typbasetype, t.typtypmod) FROM pg_catalog.pg_type t WHERE t.oid = k.contypid) AS \"base type\", \
           CASE WHEN k.contype = 'f' AND EXISTS (SELECT FROM pg_catalog.pg_trigger g \
             WHERE g.tgconstraint = k.oid AND g.tgenabled NOT IN ('O', 'A')) THEN 'disabled' END AS triggers \
         FROM pg_catalog.pg_constraint k \
         LEFT JOIN pg_catalog.pg_class c ON c.oid = k.conrelid LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         LEFT JOIN pg_catalog.pg_constraint p ON p.oid = k.conparentid AND k.contype = 'f' \
         CROSS JOIN LATERAL pg_catalog.pg_identify_object('pg_catalog.pg_constraint'::pg_catalog.regclass, k.oid, 0) i \
         WHERE k.contype IN ('c', 'f', 'p', 'u', 'x') AND k.oid >= 16384 AND coalesce({kept}, true) \
           AND k.conrelid IS DISTINCT FROM p.conrelid"
    )
}

fn indexes(since: impl Fn(u32, &'static str) -> &'static str, kept: &str) -> String {
    let (object, extension) = (object("pg_class", "c.oid"), extension("pg_class", "c.oid"));
    let nulls = since(150_000, "CASE WHEN x.indnullsnotdistinct THEN 'yes' END");
    let class = name_of("pg_opclass", "opc", "x.indclass[k - 1]");
    let collation = collation("nullif(x.indcollation[k - 1], coalesce(ta.attcollation, xt.typcollation))");
    let options = sorted("c.reloptions", "options");
    let index_options = column_options("xa");
    let (unique, primary, exclusion) = (
        flag("x.indisunique", "unique"),
        flag("x.indisprimary", "primary key"),
        flag("x.indisexclusion", "exclusion"),
    );
    let (clustered, immediate) =
        (flag("x.indisclustered", "clustered"), unless("x.indimmediate", "immediate"));
    let valid = unless("(x.indisvalid AND x.indisready AND x.indislive)", "valid");
    format!(
        "SELECT i.type, i.identity, tn.nspname, t.relname, {extension}, a.amname AS method, {unique}, {primary}, {exclusion}, {immediate}, \
           {valid}, {clustered}, {nulls} AS \"nulls not distinct\", {options}, \
           (SELECT s.spcname FROM pg_catalog.pg_tablespace s WHERE s.oid = c.reltablespace) AS tablespace, \
           (SELECT pg_catalog.string_agg(CASE WHEN k > x.indnkeyatts THEN 'include ' ELSE '' END \
              || coalesce(pg_catalog.quote_ident(ta.attname), 'expression') \
              || coalesce(' collate ' || {collation}, '') || CASE WHEN k > x.indnkeyatts THEN '' ELSE ' ' || coalesce({class}, '') END \
              || coalesce(' (' || {index_options} || ')', '') \
              || CASE WHEN k > x.indnkeyatts THEN '' ELSE CASE x.indoption[k - 1] & 3 WHEN 1 THEN ' desc nulls last' WHEN 2 THEN ' nulls first' \
                  WHEN 3 THEN ' desc' ELSE '' END END \
              || coalesce(' statistics ' || nullif(xa.attstattarget, -1)::pg_catalog.text, ''), ', ' ORDER BY k) \
            FROM pg_catalog.generate_series(1, x.indnatts) k \
            JOIN pg_catalog.pg_attribute xa ON xa.attrelid = c.oid AND xa.attnum = k \
            JOIN pg_catalog.pg_type xt ON xt.oid = xa.atttypid \
            LEFT JOIN pg_catalog.pg_attribute ta ON ta.attrelid = x.indrelid AND ta.attnum = x.indkey[k - 1] AND ta.attnum <> 0) AS columns, \
           pg_catalog.pg_get_expr(x.indexprs, x.indrelid) AS expressions, pg_catalog.pg_get_expr(x.indpred, x.indrelid) AS \"where\", \
           (SELECT h.inhparent::pg_catalog.regclass::pg_catalog.text FROM pg_catalog.pg_inherits h WHERE h.inhrelid = c.oid) AS \"part of\" \
         FROM pg_catalog.pg_index x JOIN pg_catalog.pg_class c ON c.oid = x.indexrelid JOIN pg_catalog.pg_am a ON a.oid = c.relam \
         JOIN pg_catalog.pg_class t ON t.oid = x.indrelid JOIN pg_catalog.pg_namespace tn ON tn.oid = t.relnamespace {object} WHERE {}",
        kept.replace("c.", "t.")
    )
}

/// Triggers except internal ones. One that a partition has of its parent is named by the parent's. Definitions without the name,
/// which such a one may have from before PostgreSQL 15, and without the condition.
fn triggers(kept: &str) -> String {
    let condition = r"'^(.{35,}) WHEN \((.+)\) EXECUTE FUNCTION'";
    format!(
        "SELECT i.type, CASE WHEN p.oid IS NULL THEN i.identity ELSE 'on ' || g.tgrelid::pg_catalog.regclass::pg_catalog.text || ' of ' \
             || pg_catalog.quote_ident(p.tgname) || ' on ' || p.tgrelid::pg_catalog.regclass::pg_catalog.text END, n.nspname, c.relname, \
           CASE g.tgenabled WHEN 'D' THEN 'disabled' WHEN 'R' THEN 'replica' WHEN 'A' THEN 'always' END AS enabled, \
           pg_catalog.regexp_replace(pg_catalog.replace(f.text, 'TRIGGER ' || pg_catalog.quote_ident(g.tgname) || ' ', 'TRIGGER '), \
             {condition}, '\\1 EXECUTE FUNCTION') AS definition, \
           (pg_catalog.regexp_match(f.text, {condition}))[2] AS \"when\" \
         FROM pg_catalog.pg_trigger g JOIN pg_catalog.pg_class c ON c.oid = g.tgrelid \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         LEFT JOIN pg_catalog.pg_trigger p ON p.oid = g.tgparentid \
         CROSS JOIN LATERAL pg_catalog.pg_get_triggerdef(g.oid) f (text) \
         CROSS JOIN LATERAL pg_catalog.pg_identify_object('pg_catalog.pg_trigger'::pg_catalog.regclass, g.oid, 0) i \
         WHERE (NOT g.tgisinternal OR p.oid IS NOT NULL AND NOT EXISTS \
             (SELECT FROM pg_catalog.pg_constraint k WHERE k.oid = g.tgconstraint AND k.contype = 'f')) AND {kept}"
    )
}

fn rules(kept: &str) -> String {
    let object = object("pg_rewrite", "r.oid");
    format!(
        "SELECT i.type, i.identity, n.nspname, c.relname, pg_catalog.pg_get_ruledef(r.oid) AS definition, \
           CASE r.ev_enabled WHEN 'D' THEN 'disabled' WHEN 'R' THEN 'replica' WHEN 'A' THEN 'always' END AS enabled \
         FROM pg_catalog.pg_rewrite r JOIN pg_catalog.pg_class c ON c.oid = r.ev_class \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace {object} WHERE r.rulename <> '_RETURN' AND {kept}"
    )
}

fn policies(kept: &str) -> String {
    let object = object("pg_policy", "p.oid");
    let restrictive = unless("p.polpermissive", "permissive");
    format!(
        "SELECT i.type, i.identity, n.nspname, c.relname, {restrictive}, \
           CASE p.polcmd WHEN 'r' THEN 'select' WHEN 'a' THEN 'insert' WHEN 'w' THEN 'update' WHEN 'd' THEN 'delete' END AS command, \
           (SELECT pg_catalog.string_agg(CASE r WHEN 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(r)) END, ', ' \
              ORDER BY pg_catalog.pg_get_userbyid(r)) FROM pg_catalog.unnest(p.polroles) r) AS roles, \
           pg_catalog.pg_get_expr(p.polqual, p.polrelid) AS using, pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid) AS \"with check\" \
         FROM pg_catalog.pg_policy p JOIN pg_catalog.pg_class c ON c.oid = p.polrelid \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace {object} WHERE {kept}"
    )
}

fn functions(since: impl Fn(u32, &'static str) -> &'static str) -> String {
    let (object, extension, owner) =
        (object("pg_proc", "p.oid"), extension("pg_proc", "p.oid"), owner("p.proowner"));
    let privileges = privileges("p.proacl", "'f'", "p.proowner");
    let body = since(140_000, "pg_catalog.pg_get_function_sqlbody(p.oid)");
    let settings = sorted("p.proconfig", "settings");
    let support = function("p.prosupport", "support");
    let (window, strict) = (flag("p.prokind = 'w'", "window"), flag("p.proisstrict", "strict"));
    let (definer, leakproof) = (flag("p.prosecdef", "security definer"), flag("p.proleakproof", "leakproof"));
    format!(
        "SELECT i.type, i.identity, NULL, NULL, {extension}, {owner}, {privileges}, l.lanname AS language, \
           pg_catalog.pg_get_function_identity_arguments(p.oid) AS arguments, pg_catalog.pg_get_function_result(p.oid) AS result, \
           pg_catalog.pg_get_expr(p.proargdefaults, 0) AS defaults, {window}, {strict}, {definer}, {leakproof}, \
           CASE p.provolatile WHEN 'i' THEN 'immutable' WHEN 's' THEN 'stable' END AS volatility, \
           CASE p.proparallel WHEN 's' THEN 'safe' WHEN 'r' THEN 'restricted' END AS parallel, \
           p.procost AS cost, nullif(p.prorows, 0) AS rows, {support}, {settings}, nullif(p.prosrc, '') AS body, \
           p.probin AS library, {body} AS \"sql body\", \
           (SELECT pg_catalog.string_agg(pg_catalog.format_type(t, NULL), ', ') FROM pg_catalog.unnest(p.protrftypes) t) AS transforms \
         FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang {object} \
         WHERE p.prokind <> 'a' AND p.oid >= 16384 AND {} AND p.pronamespace::pg_catalog.regnamespace::pg_catalog.text !~ '^pg_(toast_)?temp_'",
        not_internal("pg_proc", "p.oid")
    )
}

fn aggregates() -> String {
    let (object, extension, owner) =
        (object("pg_proc", "p.oid"), extension("pg_proc", "p.oid"), owner("p.proowner"));
    let privileges = privileges("p.proacl", "'f'", "p.proowner");
    let functions: Vec<String> = [
        ("aggtransfn", "transition"),
        ("aggfinalfn", "final"),
        ("aggcombinefn", "combine"),
        ("aggserialfn", "serialize"),
        ("aggdeserialfn", "deserialize"),
        ("aggmtransfn", "moving transition"),
        ("aggminvtransfn", "moving inverse"),
        ("aggmfinalfn", "moving final"),
    ]
    .iter()
    .map(|(column, name)| {
        format!("CASE WHEN g.{column} <> 0 THEN g.{column}::pg_catalog.oid::pg_catalog.regprocedure::pg_catalog.text END AS \"{name}\"")
    })
    .collect();
    let functions = functions.join(", ");
    format!(
        "SELECT i.type, i.identity, NULL, NULL, {extension}, {owner}, {privileges}, {functions}, \
           pg_catalog.pg_get_function_arguments(p.oid) AS arguments, pg_catalog.pg_get_function_result(p.oid) AS result, \
           nullif(g.aggkind, 'n') AS kind, nullif(g.aggnumdirectargs, 0) AS \"direct arguments\", \
           pg_catalog.format_type(g.aggtranstype, NULL) AS state, nullif(g.aggtransspace, 0) AS \"state size\", g.agginitval AS initial, \
           CASE WHEN g.aggmtranstype <> 0 THEN pg_catalog.format_type(g.aggmtranstype, NULL) END AS \"moving state\", \
           nullif(g.aggmtransspace, 0) AS \"moving state size\", g.aggminitval AS \"moving initial\", \
           CASE WHEN g.aggsortop <> 0 THEN g.aggsortop::pg_catalog.regoperator::pg_catalog.text END AS \"sort operator\", \
           CASE WHEN g.aggfinalextra THEN 'yes' END AS \"final extra\", nullif(g.aggfinalmodify, 'r') AS \"final modify\", \
           CASE WHEN g.aggmfinalextra THEN 'yes' END AS \"moving final extra\", nullif(g.aggmfinalmodify, 'r') AS \"moving final modify\", \
           CASE p.proparallel WHEN 's' THEN 'safe' WHEN 'r' THEN 'restricted' END AS parallel \
         FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_aggregate g ON g.aggfnoid = p.oid {object} WHERE p.oid >= 16384"
    )
}

/// Types except those of tables, and the array and multirange types that others bring along.
fn types(since: impl Fn(u32, &'static str) -> &'static str) -> String {
    let (object, extension, owner) =
        (object("pg_type", "t.oid"), extension("pg_type", "t.oid"), owner("t.typowner"));
    let privileges = privileges("t.typacl", "'T'", "t.typowner");
    let collation = collation(
        "CASE t.typtype WHEN 'd' THEN nullif(t.typcollation, b.typcollation) ELSE t.typcollation END",
    );
    let range_collation = self::collation("r.rngcollation");
    let class = name_of("pg_opclass", "opc", "r.rngsubopc");
    let multirange = since(140_000, "pg_catalog.format_type(nullif(r.rngmultitypid, 0), NULL)");
    let subscript = since(
        140_000,
        "CASE WHEN t.typsubscript <> 0 THEN t.typsubscript::pg_catalog.oid::pg_catalog.regprocedure::pg_catalog.text END",
    );
    let functions: Vec<String> = [
        ("typinput", "input"),
        ("typoutput", "output"),
        ("typreceive", "receive"),
        ("typsend", "send"),
        ("typmodin", "modifiers in"),
        ("typmodout", "modifiers out"),
        ("typanalyze", "analyze"),
    ]
    .iter()
    .map(|(column, name)| {
        format!(
            "CASE WHEN t.typtype = 'b' AND t.{column} <> 0 \
               THEN t.{column}::pg_catalog.oid::pg_catalog.regprocedure::pg_catalog.text END AS \"{name}\""
        )
    })
    .collect();
    let functions = functions.join(", ");
    format!(
        "SELECT i.type, i.identity, NULL, NULL, {extension}, {owner}, {privileges}, {functions}, {subscript} AS subscript, \
           CASE t.typtype WHEN 'b' THEN 'base' WHEN 'e' THEN 'enum' WHEN 'd' THEN 'domain' WHEN 'r' THEN 'range' WHEN 'p' THEN 'shell' END AS kind, \
           CASE WHEN t.typtype = 'b' THEN pg_catalog.concat_ws(' ', t.typlen, t.typbyval, t.typalign, t.typstorage, t.typcategory, t.typispreferred, \
             t.typdelim, pg_catalog.format_type(nullif(t.typelem, 0), NULL)) END AS layout, \
           CASE WHEN t.typtype = 'd' THEN pg_catalog.format_type(t.typbasetype, t.typtypmod) END AS \"base type\", \
           CASE WHEN t.typtype = 'd' AND t.typnotnull THEN 'yes' END AS \"not null\", \
           CASE WHEN t.typtype = 'd' THEN pg_catalog.pg_get_expr(t.typdefaultbin, 0) END AS \"default\", \
           CASE WHEN t.typtype = 'b' THEN t.typdefault END AS \"initial value\", {collation} AS collation, \
           (SELECT pg_catalog.string_agg(pg_catalog.quote_literal(e.enumlabel), ', ' ORDER BY e.enumsortorder) \
            FROM pg_catalog.pg_enum e WHERE e.enumtypid = t.oid) AS labels, \
           pg_catalog.format_type(nullif(r.rngsubtype, 0), NULL) AS subtype, {class} AS \"operator class\", {range_collation} AS \"range collation\", \
           CASE WHEN r.rngcanonical <> 0 THEN r.rngcanonical::pg_catalog.oid::pg_catalog.regprocedure::pg_catalog.text END AS canonical, \
           CASE WHEN r.rngsubdiff <> 0 THEN r.rngsubdiff::pg_catalog.oid::pg_catalog.regprocedure::pg_catalog.text END AS difference, \
           {multirange} AS multirange \
         FROM pg_catalog.pg_type t LEFT JOIN pg_catalog.pg_type b ON b.oid = t.typbasetype \
         LEFT JOIN pg_catalog.pg_range r ON r.rngtypid = t.oid LEFT JOIN pg_catalog.pg_class c ON c.oid = t.typrelid {object} \
         WHERE t.oid >= 16384 AND t.typtype <> 'm' AND (t.typtype <> 'c' OR c.relkind = 'c') \
           AND NOT EXISTS (SELECT FROM pg_catalog.pg_type e WHERE e.typarray = t.oid) \
           AND t.typnamespace::pg_catalog.regnamespace::pg_catalog.text !~ '^pg_(toast_)?temp_'"
    )
}

fn collations(version: u32) -> String {
    let (object, extension, owner) =
        (object("pg_collation", "o.oid"), extension("pg_collation", "o.oid"), owner("o.collowner"));
    let locale = match version {
        170_000.. => "o.colllocale",
        150_000.. => "o.colliculocale",
        // Before PostgreSQL 15 collcollate has it.
        _ => "CASE WHEN o.collprovider = 'i' THEN o.collcollate::pg_catalog.text END",
    };
    let rules = if version >= 160_000 { "o.collicurules" } else { "NULL" };
    let indeterministic = unless("o.collisdeterministic", "deterministic");
    format!(
        "SELECT i.type, i.identity, NULL, NULL, {extension}, {owner}, o.collprovider AS provider, {indeterministic}, \
           nullif(o.collencoding, -1) AS encoding, CASE WHEN o.collprovider = 'c' THEN o.collcollate END AS lc_collate, \
           CASE WHEN o.collprovider = 'c' THEN o.collctype END AS lc_ctype, {locale} AS locale, {rules} AS rules \
         FROM pg_catalog.pg_collation o {object} WHERE o.oid >= 16384"
    )
}

fn casts() -> String {
    let (object, extension) = (object("pg_cast", "k.oid"), extension("pg_cast", "k.oid"));
    let function = function("k.castfunc", "function");
    format!(
        "SELECT i.type, i.identity, NULL, NULL, {extension}, {function}, k.castcontext AS context, k.castmethod AS method \
         FROM pg_catalog.pg_cast k {object} WHERE k.oid >= 16384 AND {}",
        not_internal("pg_cast", "k.oid")
    )
}

fn operators() -> String {
    let (object, extension, owner) =
        (object("pg_operator", "o.oid"), extension("pg_operator", "o.oid"), owner("o.oprowner"));
    let (merges, hashes) = (flag("o.oprcanmerge", "merges"), flag("o.oprcanhash", "hashes"));
    format!(
        "SELECT i.type, i.identity, NULL, NULL, {extension}, {owner}, o.oprcode::pg_catalog.text AS function, {merges}, {hashes}, \
           pg_catalog.format_type(nullif(o.oprresult, 0), NULL) AS result, \
           CASE WHEN o.oprcom <> 0 THEN o.oprcom::pg_catalog.regoperator::pg_catalog.text END AS commutator, \
           CASE WHEN o.oprnegate <> 0 THEN o.oprnegate::pg_catalog.regoperator::pg_catalog.text END AS negator, \
           CASE WHEN o.oprrest <> 0 THEN o.oprrest::pg_catalog.text END AS restrict, \
           CASE WHEN o.oprjoin <> 0 THEN o.oprjoin::pg_catalog.text END AS join \
         FROM pg_catalog.pg_operator o {object} WHERE o.oid >= 16384"
    )
}

fn operator_families() -> String {
    let (object, extension, owner) =
        (object("pg_opfamily", "f.oid"), extension("pg_opfamily", "f.oid"), owner("f.opfowner"));
    format!(
        "SELECT i.type, i.identity, NULL, NULL, {extension}, {owner}, \
           (SELECT pg_catalog.string_agg(m.item, ', ' ORDER BY m.item COLLATE pg_catalog.\"C\") FROM ( \
              SELECT pg_catalog.concat_ws(' ', o.amopstrategy, o.amopopr::pg_catalog.regoperator::pg_catalog.text, o.amoppurpose, \
                nullif(o.amopsortfamily, 0)) AS item FROM pg_catalog.pg_amop o WHERE o.amopfamily = f.oid) m) AS operators, \
           (SELECT pg_catalog.string_agg(m.item, ', ' ORDER BY m.item COLLATE pg_catalog.\"C\") FROM ( \
              SELECT pg_catalog.concat_ws(' ', p.amprocnum, pg_catalog.format_type(p.amproclefttype, NULL), \
                pg_catalog.format_type(p.amprocrighttype, NULL), p.amproc::pg_catalog.oid::pg_catalog.regprocedure::pg_catalog.text) AS item \
              FROM pg_catalog.pg_amproc p WHERE p.amprocfamily = f.oid) m) AS functions \
         FROM pg_catalog.pg_opfamily f {object} WHERE f.oid >= 16384"
    )
}

fn operator_classes() -> String {
    let (object, extension, owner) =
        (object("pg_opclass", "o.oid"), extension("pg_opclass", "o.oid"), owner("o.opcowner"));
    let family = name_of("pg_opfamily", "opf", "o.opcfamily");
    let default = flag("o.opcdefault", "is default");
    format!(
        "SELECT i.type, i.identity, NULL, NULL, {extension}, {owner}, {family} AS family, {default}, \
           pg_catalog.format_type(o.opcintype, NULL) AS \"input type\", pg_catalog.format_type(nullif(o.opckeytype, 0), NULL) AS \"key type\" \
         FROM pg_catalog.pg_opclass o {object} WHERE o.oid >= 16384"
    )
}

fn conversions() -> String {
    let (object, extension, owner) =
        (object("pg_conversion", "k.oid"), extension("pg_conversion", "k.oid"), owner("k.conowner"));
    let default = flag("k.condefault", "is default");
    format!(
        "SELECT i.type, i.identity, NULL, NULL, {extension}, {owner}, k.conproc::pg_catalog.text AS function, {default}, \
           pg_catalog.pg_encoding_to_char(k.conforencoding) AS from, pg_catalog.pg_encoding_to_char(k.contoencoding) AS to \
         FROM pg_catalog.pg_conversion k {object} WHERE k.oid >= 16384"
    )
}

fn languages() -> String {
    let (object, extension, owner) =
        (object("pg_language", "l.oid"), extension("pg_language", "l.oid"), owner("l.lanowner"));
    let privileges = privileges("l.lanacl", "'l'", "l.lanowner");
    let (handler, inline, validator) = (
        function("l.lanplcallfoid", "handler"),
        function("l.laninline", "inline"),
        function("l.lanvalidator", "validator"),
    );
    let untrusted = unless("l.lanpltrusted", "trusted");
    format!(
        "SELECT i.type, i.identity, NULL, NULL, {extension}, {owner}, {privileges}, {handler}, {inline}, {validator}, {untrusted} \
         FROM pg_catalog.pg_language l {object} WHERE l.oid >= 16384"
    )
}

fn transforms() -> String {
    let (object, extension) = (object("pg_transform", "t.oid"), extension("pg_transform", "t.oid"));
    format!(
        "SELECT i.type, i.identity, NULL, NULL, {extension}, \
           CASE WHEN t.trffromsql <> 0 THEN t.trffromsql::pg_catalog.oid::pg_catalog.regprocedure::pg_catalog.text END AS \"from sql\", \
           CASE WHEN t.trftosql <> 0 THEN t.trftosql::pg_catalog.oid::pg_catalog.regprocedure::pg_catalog.text END AS \"to sql\" \
         FROM pg_catalog.pg_transform t {object} WHERE t.oid >= 16384"
    )
}

fn access_methods() -> String {
    let (object, extension) = (object("pg_am", "a.oid"), extension("pg_am", "a.oid"));
    format!(
        "SELECT i.type, i.identity, NULL, NULL, {extension}, a.amhandler::pg_catalog.text AS handler, a.amtype AS kind \
         FROM pg_catalog.pg_am a {object} WHERE a.oid >= 16384"
    )
}

/// Parsers, templates, dictionaries and configurations. Options of dictionaries can name files, no secrets.
fn text_search() -> String {
    let parts = [
        (
            "pg_ts_parser",
            "prs",
            "NULL::pg_catalog.oid",
            "pg_catalog.concat_ws(', ', o.prsstart, o.prstoken, o.prsend, o.prsheadline, o.prslextype)",
        ),
        (
            "pg_ts_template",
            "tmpl",
            "NULL::pg_catalog.oid",
            "pg_catalog.concat_ws(', ', o.tmplinit, o.tmpllexize)",
        ),
        (
            "pg_ts_dict",
            "dict",
            "o.dictowner",
            "(SELECT pg_catalog.quote_ident(t.tmplname) FROM pg_catalog.pg_ts_template t WHERE t.oid = o.dicttemplate) \
             || ' (' || coalesce(o.dictinitoption, '') || ')'",
        ),
        (
            "pg_ts_config",
            "cfg",
            "o.cfgowner",
            "(SELECT pg_catalog.quote_ident(p.prsname) FROM pg_catalog.pg_ts_parser p WHERE p.oid = o.cfgparser) || ': ' \
             || coalesce((SELECT pg_catalog.string_agg((SELECT y.alias FROM pg_catalog.ts_token_type(o.cfgparser) y WHERE y.tokid = m.maptokentype) \
                  || ' ' || m.mapseqno || ' ' || m.mapdict::pg_catalog.regdictionary::pg_catalog.text, ', ' ORDER BY m.maptokentype, m.mapseqno) \
                FROM pg_catalog.pg_ts_config_map m WHERE m.mapcfg = o.oid), '')",
        ),
    ];
    let parts: Vec<String> = parts
        .iter()
        .map(|(catalogue, prefix, owner, definition)| {
            let (object, extension) = (object(catalogue, "o.oid"), extension(catalogue, "o.oid"));
            format!(
                "SELECT i.type, i.identity, NULL AS of_schema, NULL AS of_name, {extension}, \
                   CASE WHEN {owner} IS NOT NULL THEN pg_catalog.pg_get_userbyid({owner}) END AS owner, {definition} AS definition \
                 FROM pg_catalog.{catalogue} o {object} WHERE o.oid >= 16384 AND o.{prefix}name IS NOT NULL"
            )
        })
        .collect();
    parts.join(" UNION ALL ")
}

fn extensions() -> String {
    let (object, owner) = (object("pg_extension", "e.oid"), owner("e.extowner"));
    format!(
        "SELECT i.type, i.identity, NULL, NULL, {owner}, e.extversion AS version, e.extnamespace::pg_catalog.regnamespace::pg_catalog.text AS schema, \
           (SELECT pg_catalog.string_agg(c.relid::pg_catalog.oid::pg_catalog.regclass::pg_catalog.text \
                || coalesce(' ' || nullif(e.extcondition[c.place], ''), ''), ', ' ORDER BY c.relid::pg_catalog.oid::pg_catalog.regclass::pg_catalog.text) \
            FROM pg_catalog.unnest(e.extconfig) WITH ORDINALITY c (relid, place)) AS configuration \
         FROM pg_catalog.pg_extension e {object}"
    )
}

/// Wrappers, servers, and user mappings without their options, which not every role may see.
fn foreign_data() -> String {
    let (wrapper, wrapper_extension) =
        (object("pg_foreign_data_wrapper", "w.oid"), extension("pg_foreign_data_wrapper", "w.oid"));
    let (server, server_extension) =
        (object("pg_foreign_server", "s.oid"), extension("pg_foreign_server", "s.oid"));
    let mapping = object("pg_user_mapping", "u.umid");
    let (wrapper_options, server_options) =
        (foreign_options("w.fdwoptions"), foreign_options("s.srvoptions"));
    let (wrapper_privileges, server_privileges) =
        (privileges("w.fdwacl", "'F'", "w.fdwowner"), privileges("s.srvacl", "'S'", "s.srvowner"));
    let (wrapper_owner, server_owner) = (owner("w.fdwowner"), owner("s.srvowner"));
    let (handler, validator) = (function("w.fdwhandler", "handler"), function("w.fdwvalidator", "validator"));
    format!(
        "SELECT i.type, i.identity, NULL AS of_schema, NULL AS of_name, {wrapper_extension}, {wrapper_owner}, {wrapper_privileges}, {wrapper_options}, \
           {handler}, {validator}, NULL AS wrapper, NULL AS kind, NULL AS version \
         FROM pg_catalog.pg_foreign_data_wrapper w {wrapper} WHERE w.oid >= 16384 \
         UNION ALL SELECT i.type, i.identity, NULL, NULL, {server_extension}, {server_owner}, {server_privileges}, {server_options}, NULL, NULL, \
           w.fdwname, s.srvtype, s.srvversion \
         FROM pg_catalog.pg_foreign_server s JOIN pg_catalog.pg_foreign_data_wrapper w ON w.oid = s.srvfdw {server} \
         UNION ALL SELECT i.type, i.identity, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL \
         FROM pg_catalog.pg_user_mappings u {mapping}"
    )
}

fn event_triggers() -> String {
    let (object, extension, owner) =
        (object("pg_event_trigger", "g.oid"), extension("pg_event_trigger", "g.oid"), owner("g.evtowner"));
    let (function, tags) = (function("g.evtfoid", "function"), sorted("g.evttags", "tags"));
    format!(
        "SELECT i.type, i.identity, NULL, NULL, {extension}, {owner}, g.evtevent AS event, {function}, {tags}, \
           CASE g.evtenabled WHEN 'D' THEN 'disabled' WHEN 'R' THEN 'replica' WHEN 'A' THEN 'always' END AS enabled \
         FROM pg_catalog.pg_event_trigger g {object} WHERE g.oid >= 16384"
    )
}

fn publications(since: impl Fn(u32, &'static str) -> &'static str) -> String {
    let (object, owner) = (object("pg_publication", "p.oid"), owner("p.pubowner"));
    let generated = since(180_000, "nullif(p.pubgencols, 'n')");
    let (all, root) = (flag("p.puballtables", "all tables"), flag("p.pubviaroot", "via root"));
    format!(
        "SELECT i.type, i.identity, NULL, NULL, {owner}, {all}, {root}, {generated} AS \"generated columns\", \
           pg_catalog.concat_ws(', ', CASE WHEN p.pubinsert THEN 'insert' END, CASE WHEN p.pubupdate THEN 'update' END, \
             CASE WHEN p.pubdelete THEN 'delete' END, CASE WHEN p.pubtruncate THEN 'truncate' END) AS actions \
         FROM pg_catalog.pg_publication p {object}"
    )
}

/// Tables of publications with their row filters and columns, and schemas.
fn published(version: u32, kept: &str) -> String {
    let object = object("pg_publication_rel", "p.oid");
    let (filter, columns) = if version >= 150_000 {
        (
            "pg_catalog.pg_get_expr(p.prqual, p.prrelid)",
            "(SELECT pg_catalog.string_agg(a.attname, ', ' ORDER BY a.attname COLLATE pg_catalog.\"C\") FROM pg_catalog.pg_attribute a \
              WHERE a.attrelid = p.prrelid AND a.attnum = ANY (p.prattrs))",
        )
    } else {
        ("NULL", "NULL")
    };
    let tables = format!(
        "SELECT i.type, i.identity, n.nspname AS of_schema, c.relname AS of_name, {filter} AS \"where\", {columns} AS columns \
         FROM pg_catalog.pg_publication_rel p JOIN pg_catalog.pg_class c ON c.oid = p.prrelid \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace {object} WHERE {kept}"
    );
    if version < 150_000 {
        return tables;
    }
    let object = self::object("pg_publication_namespace", "p.oid");
    format!(
        "{tables} UNION ALL SELECT i.type, i.identity, NULL, NULL, NULL, NULL FROM pg_catalog.pg_publication_namespace p {object}"
    )
}

/// Subscriptions of this database, without what they connect to, and whether they are enabled: a restore leaves that out. Only a superuser
/// may read their object ids and synchronous_commit before PostgreSQL 14.
fn subscriptions(since: impl Fn(u32, &'static str) -> &'static str) -> String {
    let owner = owner("s.subowner");
    let publications = sorted("s.subpublications", "publications");
    let commit = since(140_000, "s.subsynccommit");
    format!(
        "SELECT 'subscription', pg_catalog.quote_ident(s.subname), NULL, NULL, {owner}, s.subslotname AS slot, {commit} AS \"synchronous commit\", {publications} \
         FROM pg_catalog.pg_subscription s \
         WHERE s.subdbid = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())"
    )
}

fn statistics(since: impl Fn(u32, &'static str) -> &'static str, kept: &str) -> String {
    let (object, owner) = (object("pg_statistic_ext", "s.oid"), owner("s.stxowner"));
    let expressions = since(140_000, "pg_catalog.pg_get_expr(s.stxexprs, s.stxrelid)");
    format!(
        "SELECT i.type, i.identity, n.nspname, c.relname, {owner}, pg_catalog.array_to_string(s.stxkind, ', ') AS kinds, \
           {expressions} AS expressions, nullif(s.stxstattarget, -1) AS target, \
           (SELECT pg_catalog.string_agg(pg_catalog.quote_ident(a.attname), ', ' ORDER BY a.attname COLLATE pg_catalog.\"C\") \
            FROM pg_catalog.pg_attribute a WHERE a.attrelid = s.stxrelid AND a.attnum = ANY (s.stxkeys)) AS columns \
         FROM pg_catalog.pg_statistic_ext s JOIN pg_catalog.pg_class c ON c.oid = s.stxrelid \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace {object} WHERE {kept}"
    )
}

fn default_privileges() -> String {
    let object = object("pg_default_acl", "d.oid");
    format!(
        "SELECT i.type, i.identity, NULL, NULL, {} AS privileges FROM pg_catalog.pg_default_acl d {object}",
        grants("d.defaclacl")
    )
}

/// What was granted and revoked on the system's own objects since `initdb`; a dump omits those of the information schema.
fn system_privileges() -> String {
    let kinds = [
        ("pg_class", "relacl", "CASE o.relkind WHEN 'S' THEN 's'::\"char\" ELSE 'r' END", "relowner"),
        ("pg_proc", "proacl", "'f'", "proowner"),
        ("pg_namespace", "nspacl", "'n'", "nspowner"),
        ("pg_type", "typacl", "'T'", "typowner"),
        ("pg_language", "lanacl", "'l'", "lanowner"),
    ];
    let kinds: Vec<String> = kinds
        .iter()
        .map(|(catalogue, acl, object_type, owner)| {
            let object = object(catalogue, "o.oid");
            let before = format!("coalesce(p.initprivs, pg_catalog.acldefault({object_type}, o.{owner}))");
            let items = |from: &str, without: &str| {
                format!(
                    "(SELECT pg_catalog.string_agg(m.item, ', ' ORDER BY m.item COLLATE pg_catalog.\"C\") FROM ( \
                      SELECT g.grantee::pg_catalog.regrole::pg_catalog.text || ' ' || g.privilege_type AS item FROM pg_catalog.aclexplode({from}) g \
                      EXCEPT SELECT g.grantee::pg_catalog.regrole::pg_catalog.text || ' ' || g.privilege_type FROM pg_catalog.aclexplode({without}) g) m)"
                )
            };
            let acl = format!("o.{acl}");
            let (granted, revoked) = (items(&acl, &before), items(&before, &acl));
            format!(
                "SELECT i.type, i.identity, NULL AS of_schema, NULL AS of_name, {granted} AS granted, {revoked} AS revoked \
                 FROM pg_catalog.{catalogue} o LEFT JOIN pg_catalog.pg_init_privs p ON p.classoid = 'pg_catalog.{catalogue}'::pg_catalog.regclass \
                   AND p.objoid = o.oid AND p.objsubid = 0 {object} \
                 WHERE o.oid < 16384 AND o.oid <> 2200 AND {acl} IS NOT NULL AND {acl} IS DISTINCT FROM p.initprivs"
            )
        })
        .collect();
    format!(
        "SELECT * FROM ({}) s WHERE (s.granted IS NOT NULL OR s.revoked IS NOT NULL) \
           AND s.identity !~ '^information_schema([.]|$)'",
        kinds.join(" UNION ALL ")
    )
}

/// Comments on objects of users. A dump omits those on inherited constraints.
fn comments() -> String {
    "SELECT i.type, i.identity, NULL, NULL, d.description AS comment FROM pg_catalog.pg_description d \
     CROSS JOIN LATERAL pg_catalog.pg_identify_object(d.classoid, d.objoid, d.objsubid) i \
     WHERE (d.objoid >= 16384 OR d.classoid = 'pg_catalog.pg_largeobject'::pg_catalog.regclass OR d.objoid = 2200 AND d.description <> 'standard public schema') AND i.identity IS NOT NULL \
       AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE d.classoid = 'pg_catalog.pg_constraint'::pg_catalog.regclass \
         AND k.oid = d.objoid AND (k.coninhcount > 0 OR k.conparentid <> 0))"
        .to_owned()
}

fn security_labels() -> String {
    "SELECT i.type, i.identity, NULL, NULL, pg_catalog.string_agg(l.provider || ': ' || l.label, ', ' ORDER BY l.provider) AS \"security label\" \
     FROM pg_catalog.pg_seclabel l CROSS JOIN LATERAL pg_catalog.pg_identify_object(l.classoid, l.objoid, l.objsubid) i \
     WHERE i.identity IS NOT NULL GROUP BY 1, 2"
        .to_owned()
}
