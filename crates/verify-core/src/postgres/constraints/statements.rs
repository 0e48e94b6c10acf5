//! The statements of the check, qualified with `pg_catalog` as all of [`crate::postgres::statements`].
//!
//! Expressions are printed by the server where only `pg_catalog` is searched, so that every other name in them is qualified.

/// Tables of the database: object id, name, bytes, whether partitioned, and the condition of a partition's rows.
pub(super) const TABLES: &str = "SELECT c.oid, n.nspname, c.relname, coalesce(pg_catalog.pg_relation_size(c.oid), 0), \
    c.relkind = 'p', \
    CASE WHEN c.relispartition AND c.relkind = 'r' THEN pg_catalog.pg_get_partition_constraintdef(c.oid) END \
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND c.oid >= 16384 \
    ORDER BY n.nspname COLLATE pg_catalog.\"C\", c.relname COLLATE pg_catalog.\"C\"";

/// Columns of primary keys, in order: table, column.
pub(super) const KEYS: &str = "SELECT i.indrelid, a.attname FROM pg_catalog.pg_index i \
    CROSS JOIN LATERAL pg_catalog.generate_series(0, i.indnkeyatts - 1) k \
    JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[k] \
    WHERE i.indisprimary AND i.indrelid >= 16384 ORDER BY i.indrelid, k";

/// Leaves of partitioned tables: table, leaf.
pub(super) const LEAVES: &str = "SELECT c.oid, p.relid::pg_catalog.oid FROM pg_catalog.pg_class c \
    CROSS JOIN LATERAL pg_catalog.pg_partition_tree(c.oid) p \
    WHERE c.relkind = 'p' AND c.oid >= 16384 AND p.isleaf ORDER BY 1, 2";

/// Columns that are not null: table, column, and whether that was not validated (from PostgreSQL 18 on).
pub(super) const NOT_NULL: &str = "SELECT a.attrelid, a.attname, \
    EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.conrelid = a.attrelid AND k.contype = 'n' \
      AND k.conkey = ARRAY[a.attnum] AND NOT k.convalidated) \
    FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid \
    WHERE c.relkind = 'r' AND c.oid >= 16384 AND a.attnum > 0 AND a.attnotnull AND NOT a.attisdropped \
    ORDER BY a.attrelid, a.attnum";

/// Check constraints: table, name, condition, whether validated, whether enforced (from PostgreSQL 18 on).
pub(super) const CHECKS: &str = "SELECT k.conrelid, k.conname, pg_catalog.pg_get_expr(k.conbin, k.conrelid), k.convalidated, \
    coalesce(pg_catalog.to_jsonb(k) OPERATOR(pg_catalog.->>) 'conenforced', 'true') = 'true' \
    FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_class c ON c.oid = k.conrelid \
    WHERE k.contype = 'c' AND c.relkind = 'r' AND c.oid >= 16384 \
    ORDER BY k.conrelid, k.conname COLLATE pg_catalog.\"C\"";

/// Stored generated columns: table, column, expression, type.
pub(super) const GENERATED: &str = "SELECT a.attrelid, a.attname, pg_catalog.pg_get_expr(d.adbin, d.adrelid), \
    pg_catalog.format_type(a.atttypid, a.atttypmod) \
    FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid \
    JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum \
    WHERE c.relkind = 'r' AND c.oid >= 16384 AND a.attgenerated = 's' AND NOT a.attisdropped \
    ORDER BY a.attrelid, a.attnum";

/// Columns of enums and domains, also in arrays: table, column, levels of arrays around the type; the type, as SQL and its kind,
/// and whether it is a domain that allows no NULL; then, one row each, the domain's constraints: name, condition, whether validated.
/// A composite or range type that holds one is listed as well, and cannot be looked into.
pub(super) const TYPES: &str = "WITH RECURSIVE chain AS ( \
      SELECT a.attrelid, a.attnum, a.attname, a.atttypid AS typid, 0 AS depth \
      FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid \
      WHERE c.relkind = 'r' AND c.oid >= 16384 AND a.attnum > 0 AND NOT a.attisdropped AND a.atttypid >= 16384 \
        AND a.attgenerated <> 'v' \
      UNION ALL \
      SELECT c.attrelid, c.attnum, c.attname, CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.typelem END, \
        CASE t.typtype WHEN 'd' THEN c.depth ELSE c.depth + 1 END \
      FROM chain c JOIN pg_catalog.pg_type t ON t.oid = c.typid \
      WHERE (t.typtype = 'd' OR t.typtype = 'b' AND t.typcategory = 'A' AND t.typelem <> 0) AND c.typid >= 16384) \
    SELECT c.attrelid, c.attname, c.depth, pg_catalog.format_type(t.oid, NULL), t.typtype, \
      t.typtype = 'd' AND t.typnotnull, k.conname, pg_catalog.pg_get_expr(k.conbin, 0), coalesce(k.convalidated, true) \
    FROM chain c JOIN pg_catalog.pg_type t ON t.oid = c.typid \
    LEFT JOIN pg_catalog.pg_constraint k ON k.contypid = t.oid AND k.contype = 'c' \
    WHERE t.typtype IN ('d', 'e') \
      OR t.typtype = 'c' AND EXISTS (SELECT FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type f ON f.oid = a.atttypid \
           WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND f.typtype IN ('d', 'e') AND f.oid >= 16384) \
      OR t.typtype = 'r' AND EXISTS (SELECT FROM pg_catalog.pg_range r JOIN pg_catalog.pg_type f ON f.oid = r.rngsubtype \
           WHERE r.rngtypid = t.oid AND f.typtype IN ('d', 'e')) \
    ORDER BY c.attrelid, c.attnum, c.depth, t.oid, k.conname COLLATE pg_catalog.\"C\"";

/// Foreign keys that no other implies: object id, name, both tables, type of match, whether validated, enforced and of periods
/// (both from PostgreSQL 18 on).
pub(super) const FOREIGN_KEYS: &str = "SELECT k.oid, k.conname, k.conrelid, k.confrelid, k.confmatchtype, k.convalidated, \
    coalesce(pg_catalog.to_jsonb(k) OPERATOR(pg_catalog.->>) 'conenforced', 'true') = 'true', \
    coalesce(pg_catalog.to_jsonb(k) OPERATOR(pg_catalog.->>) 'conperiod', 'false') = 'true' \
    FROM pg_catalog.pg_constraint k WHERE k.contype = 'f' AND k.conparentid = 0 AND k.conrelid >= 16384 \
    ORDER BY k.oid";

/// Columns of those: key; referencing and referenced column; operator; types of its operands unless polymorphic; collation of the
/// referenced column where it is another.
pub(super) const FOREIGN_KEY_COLUMNS: &str = "SELECT k.oid, f.attname, r.attname, \
    pg_catalog.format('OPERATOR(%I.%s)', n.nspname, o.oprname), \
    CASE WHEN lt.typtype <> 'p' THEN pg_catalog.format_type(lt.oid, NULL) END, \
    CASE WHEN rt.typtype <> 'p' THEN pg_catalog.format_type(rt.oid, NULL) END, \
    CASE WHEN f.attcollation <> r.attcollation THEN pg_catalog.format('%I.%I', cn.nspname, c.collname) END \
    FROM pg_catalog.pg_constraint k \
    CROSS JOIN LATERAL ROWS FROM (pg_catalog.unnest(k.conkey), pg_catalog.unnest(k.confkey), pg_catalog.unnest(k.conpfeqop)) \
      WITH ORDINALITY u(fk, pk, op, place) \
    JOIN pg_catalog.pg_attribute f ON f.attrelid = k.conrelid AND f.attnum = u.fk \
    JOIN pg_catalog.pg_attribute r ON r.attrelid = k.confrelid AND r.attnum = u.pk \
    JOIN pg_catalog.pg_operator o ON o.oid = u.op JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace \
    JOIN pg_catalog.pg_type lt ON lt.oid = o.oprleft JOIN pg_catalog.pg_type rt ON rt.oid = o.oprright \
    LEFT JOIN pg_catalog.pg_collation c ON c.oid = r.attcollation \
    LEFT JOIN pg_catalog.pg_namespace cn ON cn.oid = c.collnamespace \
    WHERE k.contype = 'f' AND k.conparentid = 0 AND k.conrelid >= 16384 ORDER BY k.oid, u.place";

/// The constraint that an index `i` belongs to.
const OF_INDEX: &str =
    "k.conindid = i.indexrelid AND k.conrelid = i.indrelid AND k.contype IN ('p', 'u', 'x')";

/// Unique and exclusion constraints, and unique indexes without one: index, table, name, whether a constraint, whether the index is
/// valid, its predicate, and whether NULLs are equal (from PostgreSQL 15 on).
pub(super) fn unique_indexes() -> String {
    format!(
        "SELECT i.indexrelid, i.indrelid, coalesce(k.conname, x.relname), k.oid IS NOT NULL, i.indisvalid, \
         pg_catalog.pg_get_expr(i.indpred, i.indrelid), \
         coalesce(pg_catalog.to_jsonb(i) OPERATOR(pg_catalog.->>) 'indnullsnotdistinct', 'false') = 'true' \
         FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indrelid \
         JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid LEFT JOIN pg_catalog.pg_constraint k ON {OF_INDEX} \
         WHERE c.relkind = 'r' AND c.oid >= 16384 AND (i.indisunique OR i.indisexclusion OR k.oid IS NOT NULL) \
         ORDER BY i.indexrelid"
    )
}

/// Keys of those: index; expression; column; collation; operator by which two rows conflict; whether that is the equality by which
/// values are grouped.
pub(super) fn unique_keys() -> String {
    let equality = |class: &str| {
        format!(
            "JOIN pg_catalog.pg_amop e ON e.amopfamily = {class}.opcfamily AND e.amopmethod = 403 AND e.amopstrategy = 3 \
             AND e.amoppurpose = 's' AND e.amoplefttype = {class}.opcintype AND e.amoprighttype = {class}.opcintype"
        )
    };
    format!(
        "SELECT i.indexrelid, pg_catalog.pg_get_indexdef(i.indexrelid, n, false), a.attname, \
         CASE WHEN i.indcollation[n - 1] <> 0 THEN pg_catalog.format('%I.%I', cn.nspname, l.collname) END, \
         pg_catalog.format('OPERATOR(%I.%s)', opn.nspname, o.oprname), \
         k.conexclop IS NULL AND (oc.opcdefault OR EXISTS (SELECT FROM pg_catalog.pg_opclass d {default} \
           WHERE d.opcmethod = 403 AND d.opcdefault AND d.opcintype = oc.opcintype AND e.amopopr = o.oid)) \
         FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indrelid \
         LEFT JOIN pg_catalog.pg_constraint k ON {OF_INDEX} \
         CROSS JOIN LATERAL pg_catalog.generate_series(1, i.indnkeyatts) n \
         JOIN pg_catalog.pg_opclass oc ON oc.oid = i.indclass[n - 1] \
         LEFT {own} \
         LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[n - 1] AND a.attnum <> 0 \
         LEFT JOIN pg_catalog.pg_collation l ON l.oid = i.indcollation[n - 1] \
         LEFT JOIN pg_catalog.pg_namespace cn ON cn.oid = l.collnamespace \
         LEFT JOIN pg_catalog.pg_operator o ON o.oid = coalesce(k.conexclop[n], e.amopopr) \
         LEFT JOIN pg_catalog.pg_namespace opn ON opn.oid = o.oprnamespace \
         WHERE c.relkind = 'r' AND c.oid >= 16384 AND (i.indisunique OR i.indisexclusion OR k.oid IS NOT NULL) \
         ORDER BY i.indexrelid, n",
        default = equality("d"),
        own = equality("oc"),
    )
}
