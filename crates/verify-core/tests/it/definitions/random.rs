//! Random schemas with rows: statements of every kind, with odd names and expressions. Those that a server refuses are left out.

use fastrand::Rng;

/// Names that need quoting, and those that do not.
const NAMES: [&str; 8] = ["a", "b2", "select", "Mixed Case", "quo\"te", "ünï", "with.dot", "semi;--"];
/// Types of columns, each with values.
const TYPES: [(&str, &[&str]); 58] = [
    ("int", &["0", "-2147483648", "7", "3"]),
    ("bigint", &["9223372036854775807", "-1", "5"]),
    ("smallint", &["-32768", "12"]),
    ("numeric(12,3)", &["1.50", "-0.001", "'NaN'"]),
    ("numeric", &["1e40", "0.10", "'NaN'", "-7"]),
    ("text", &["''", "'a'", "'a '", "E'b\\\\n\\n\\t'", "'ünï'", "repeat('long ', 2000)"]),
    ("varchar(7)", &["'a'", "'b'", "''", "'1234567'"]),
    ("char(3)", &["'abc'", "'d'"]),
    ("bool", &["true", "false"]),
    ("date", &["'2020-02-29'", "'infinity'", "'0044-03-15 BC'"]),
    ("timestamptz(3)", &["'2020-01-01 00:00:00.123+02'", "'-infinity'", "now()"]),
    ("timestamp", &["'1999-12-31 23:59:59.999999'", "'infinity'"]),
    ("interval day to second", &["'3 days 04:05:06'", "'-1 second'"]),
    ("interval", &["'1 year -3 mons 2 days'", "'1 day'", "'24 hours'"]),
    ("uuid", &["'00000000-0000-0000-0000-000000000001'", "gen_random_uuid()"]),
    ("jsonb", &["'{\"a\": [1, 1.50, null]}'", "'\"x\"'", "'{}'"]),
    ("json", &["'{\"a\" : 1, \"a\":2}'", "'[]'"]),
    ("bytea", &["'\\x00ff'", "''", "decode(repeat('ab', 3000), 'hex')"]),
    ("int[]", &["'{1,2}'", "'{}'", "'{NULL}'", "'[2:3]={5,6}'", "'{{1},{2}}'"]),
    ("text[]", &["'{a,\"b c\",NULL}'", "'{\"NULL\"}'"]),
    ("inet", &["'10.0.0.1/8'", "'::1'"]),
    ("cidr", &["'10.0.0.0/8'", "'2001:db8::/32'"]),
    ("macaddr", &["'08:00:2b:01:02:03'"]),
    ("macaddr8", &["'08:00:2b:01:02:03:04:05'"]),
    ("tsrange", &["'[2020-01-01,2020-02-01)'", "'empty'", "'(,)'"]),
    ("int8range", &["'[1,5]'", "'empty'"]),
    ("numrange", &["'[1.0,2.50)'", "'(,3]'"]),
    ("float8", &["'NaN'", "'-0'", "1e-300", "0.1", "'Infinity'"]),
    ("float4", &["'NaN'", "'-0'", "0.1", "3.4e38"]),
    ("bit varying(5)", &["B'101'", "B''"]),
    ("bit(3)", &["B'101'"]),
    ("time", &["'24:00'", "'12:34:56.7'"]),
    ("timetz", &["'12:00+02'", "'23:59:60-11'"]),
    ("money", &["'$12.34'", "'-$0.01'"]),
    ("point", &["'(1,2)'", "'(-0,NaN)'"]),
    ("line", &["'{1,2,3}'"]),
    ("lseg", &["'[(0,0),(1,1)]'"]),
    ("box", &["'(1,1),(0,0)'"]),
    ("path", &["'((0,0),(1,1),(2,0))'", "'[(0,0),(1,1)]'"]),
    ("polygon", &["'((0,0),(1,1),(2,0))'"]),
    ("circle", &["'<(0,0),5>'"]),
    ("tsvector", &["'a:1A b:2'", "''"]),
    ("tsquery", &["'a & (b | !c:*)'"]),
    ("xml", &["'<a>x</a>'"]),
    ("jsonpath", &["'$.a[*] ? (@ > 1)'"]),
    ("pg_lsn", &["'16/B374D848'"]),
    ("pg_snapshot", &["'10:20:10,14'"]),
    ("name", &["'a name'"]),
    ("\"char\"", &["'x'", "''"]),
    ("oid", &["42"]),
    ("xid8", &["'42'"]),
    ("regclass", &["'pg_class'"]),
    ("app.mood", &["'fine'", "'it''s bad'"]),
    ("app.pair", &["'(1,\"a b\")'", "'(,)'"]),
    ("app.positive", &["5", "1"]),
    ("app.frange", &["'[1,2)'"]),
    ("app.mood[]", &["'{fine}'"]),
    ("app.pair[]", &["ARRAY['(1,x)'::app.pair]"]),
];
/// Extensions, with a type and its values.
const EXTENSIONS: [(&str, &str, &[&str]); 6] = [
    ("hstore", "hstore", &["'a=>1, b=>NULL'", "''"]),
    ("citext", "citext", &["'Case'", "'cASE'"]),
    ("ltree", "ltree", &["'a.b.c'", "''"]),
    ("cube", "cube", &["'(1,2),(3,4)'"]),
    ("seg", "seg", &["'1.5 .. 2.5'", "'6.25 +- 0.50'"]),
    ("intarray", "int[]", &["'{3,1,2}'"]),
];

/// Conditions over a column, by its type: each reads otherwise after a dump than it was written.
const CONDITIONS: [(&str, &str); 16] = [
    ("int", "{c} BETWEEN 1 AND 9"),
    ("int", "{c} IN (1, 2, 3) OR {c} IS NULL"),
    ("int", "({c} > 0 AND ({c} < 5 AND {c} <> 3))"),
    ("int", "{c} = ANY (ARRAY[1, 2]) IS NOT FALSE"),
    ("int", "CASE WHEN {c} > 3 THEN {c} % 2 = 0 ELSE true END"),
    ("bigint", "NOT {c} BETWEEN SYMMETRIC 9 AND 1"),
    ("text", "{c} LIKE 'a%' OR {c} ~* '^b'"),
    ("text", "coalesce(nullif({c}, ''), 'x') <> 'y' COLLATE \"C\""),
    ("varchar(7)", "{c} IN ('a', 'b')"),
    ("varchar(7)", "{c}::text NOT IN ('x', 'y') AND length({c}) < 6"),
    ("char(3)", "{c} = 'abc' OR {c} IN ('de', 'f')"),
    ("numeric(12,3)", "{c} >= 0 AND {c} < 1.50 * 100 ^ 2"),
    ("date", "{c} BETWEEN '2000-01-01' AND DATE '2030-01-01' + 5"),
    ("timestamptz(3)", "extract(year FROM {c}) > 2000 AND {c} < 'infinity'"),
    ("jsonb", "{c} @> '{\"a\": [1]}' OR {c} ->> 'k' IS DISTINCT FROM 'v'"),
    ("int[]", "1 = ANY ({c}) AND array_length({c}, 1) BETWEEN 1 AND 3"),
];
const DEFAULTS: [(&str, &str); 10] = [
    ("int", "1 + 2 * 3"),
    ("numeric(12,3)", "1.50"),
    ("text", "'it''s' || E'\\n' || current_user"),
    ("varchar(7)", "lower('ABC')"),
    ("date", "CURRENT_DATE"),
    ("timestamptz(3)", "now() - interval '1 day'"),
    ("jsonb", "'{}'"),
    ("int[]", "ARRAY[1, 2]"),
    ("bool", "NOT false"),
    ("uuid", "'00000000-0000-0000-0000-000000000001'"),
];

struct Table {
    name: String,
    /// Names and types of the columns.
    columns: Vec<(String, &'static str)>,
}

/// A schema: statements, of which each stands alone.
pub(crate) fn statements(seed: u64) -> Vec<String> {
    let mut rng = Rng::with_seed(seed);
    let mut statements = vec!["CREATE SCHEMA app".to_owned(), "CREATE SCHEMA \"Odd schema\"".to_owned()];
    statements.push(
        "CREATE FUNCTION app.touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END'".to_owned(),
    );
    statements.extend(
        [
            "CREATE TYPE app.mood AS ENUM ('fine', 'it''s bad')",
            "CREATE TYPE app.pair AS (a int, \"B b\" text)",
            "CREATE DOMAIN app.positive AS int CHECK (VALUE > 0) CHECK (VALUE NOT BETWEEN 100 AND 200)",
            "CREATE TYPE app.frange AS RANGE (subtype = float8)",
            "SELECT lo_from_bytea(0, 'a large object')",
        ]
        .map(str::to_owned),
    );
    let mut types = TYPES.to_vec();
    for (extension, type_name, values) in EXTENSIONS {
        if rng.u8(0..3) == 0 {
            statements.push(format!("CREATE EXTENSION {extension}"));
            types.push((type_name, values));
        }
    }
    let mut tables: Vec<Table> = Vec::new();
    for number in 0..rng.usize(2..6) {
        let table = table(&mut rng, number, &types, &tables, &mut statements);
        let count = pick(&mut rng, &[0, 1, 5, 20]);
        (0..count).for_each(|_| statements.push(row(&mut rng, &table, &types)));
        tables.push(table);
    }
    for number in 0..rng.usize(8..30) {
        let place = rng.usize(0..tables.len());
        let statement = other(&mut rng, number, &tables[place], &tables);
        statements.push(statement);
        statements.push(row(&mut rng, &tables[place], &types));
    }
    statements
}

/// A row with values in most columns.
fn row(rng: &mut Rng, table: &Table, types: &[(&str, &[&str])]) -> String {
    let mut value = |type_name: &str| {
        let fitting: Vec<&str> = types
            .iter()
            .filter(|(name, _)| *name == type_name)
            .flat_map(|(_, values)| *values)
            .copied()
            .collect();
        match rng.u8(0..8) {
            0 => "NULL".to_owned(),
            1 => "DEFAULT".to_owned(),
            // A key needs many values.
            2..4 if type_name == "int" => rng.i32(..).to_string(),
            2..4 if type_name == "text" => format!("'t{}'", rng.u32(..)),
            _ => pick(rng, &fitting).to_owned(),
        }
    };
    let names: Vec<String> = table.columns.iter().map(|(name, _)| quoted(name)).collect();
    let values: Vec<String> = table.columns.iter().map(|(_, type_name)| value(type_name)).collect();
    format!("INSERT INTO {} ({}) VALUES ({})", table.name, names.join(", "), values.join(", "))
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn pick<T: Copy>(rng: &mut Rng, of: &[T]) -> T {
    of[rng.usize(0..of.len())]
}

fn condition(rng: &mut Rng, table: &Table, prefix: &str) -> String {
    let fitting: Vec<String> = CONDITIONS
        .iter()
        .flat_map(|(wanted, text)| {
            let columns = table.columns.iter().filter(move |(_, type_name)| type_name == wanted);
            columns.map(move |(name, _)| text.replace("{c}", &format!("{prefix}{}", quoted(name))))
        })
        .collect();
    match fitting.len() {
        0 => format!("{prefix}{} IS NOT NULL", quoted(&table.columns[0].0)),
        count => fitting[rng.usize(0..count)].clone(),
    }
}

fn table(
    rng: &mut Rng,
    number: usize,
    types: &[(&'static str, &[&str])],
    others: &[Table],
    statements: &mut Vec<String>,
) -> Table {
    let schema = pick(rng, &["app", "\"Odd schema\"", "public"]);
    let name = format!("{schema}.{}", quoted(&format!("{}{number}", pick(rng, &NAMES))));
    // Of some types there are no keys, and no conditions over them.
    let ordered: Vec<&str> = CONDITIONS.iter().map(|(type_name, _)| *type_name).collect();
    let columns: Vec<(String, &'static str)> = (0..rng.usize(1..9))
        .map(|i| {
            let type_name = if i == 0 || rng.bool() { pick(rng, &ordered) } else { pick(rng, types).0 };
            (format!("{}{i}", pick(rng, &NAMES)), type_name)
        })
        .collect();
    let table = Table { name: name.clone(), columns };
    let mut parts = Vec::new();
    for (column, type_name) in &table.columns {
        let default = DEFAULTS.iter().find(|(of, _)| of == type_name).filter(|_| rng.bool());
        let default = default.map_or(String::new(), |(_, text)| format!(" DEFAULT {text}"));
        let not_null = if rng.u8(0..4) == 0 { " NOT NULL" } else { "" };
        let collation =
            if ["text", "varchar(7)"].contains(type_name) && rng.bool() { " COLLATE \"C\"" } else { "" };
        parts.push(format!("{} {type_name}{collation}{default}{not_null}", quoted(column)));
    }
    for _ in 0..rng.usize(0..3) {
        let check = condition(rng, &table, "");
        parts.push(format!("CHECK ({check})"));
    }
    let first = quoted(&table.columns[0].0);
    if rng.bool() {
        parts.push(format!("PRIMARY KEY ({first})"));
    }
    let end = match rng.u8(0..8) {
        0 => format!(" PARTITION BY RANGE ({first})"),
        1 => format!(" PARTITION BY HASH ({first})"),
        2 => format!(" PARTITION BY LIST ((lower({first}::text)))"),
        3 if !others.is_empty() => format!(" INHERITS ({})", others[rng.usize(0..others.len())].name),
        4 => " WITH (fillfactor = 70, toast.autovacuum_enabled = off)".to_owned(),
        _ => String::new(),
    };
    let unlogged = if rng.u8(0..9) == 0 { "UNLOGGED " } else { "" };
    statements.push(format!("CREATE {unlogged}TABLE {name} ({}){end}", parts.join(", ")));
    if end.contains("PARTITION BY") {
        statements.push(format!("CREATE TABLE app.\"part of {number}\" PARTITION OF {name} DEFAULT"));
        statements.push(format!("CREATE TABLE app.\"hash of {number}\" PARTITION OF {name} FOR VALUES WITH (MODULUS 2, REMAINDER 0)"));
    }
    table
}

fn other(rng: &mut Rng, number: usize, table: &Table, tables: &[Table]) -> String {
    let name = &table.name;
    let (column, type_name) = &table.columns[rng.usize(0..table.columns.len())];
    let (first, column) = (quoted(&table.columns[0].0), quoted(column));
    let where_ = condition(rng, table, "");
    let object = quoted(&format!("{} {number}", pick(rng, &NAMES)));
    let role = pick(rng, &["reader", "writer", "PUBLIC"]);
    match rng.u8(0..36) {
        0 => format!("CREATE INDEX {object} ON {name} ({column}) WHERE {where_}"),
        1 => format!("CREATE INDEX {object} ON {name} ((lower({column}::text)), {column} DESC NULLS LAST)"),
        2 => format!("CREATE INDEX {object} ON {name} USING hash ({column})"),
        3 => format!("CREATE UNIQUE INDEX {object} ON {name} ({first}) INCLUDE ({column})"),
        4 => format!("CREATE INDEX {object} ON {name} USING gin ({column})"),
        5 => format!("CREATE INDEX {object} ON {name} USING brin ({column}) WITH (pages_per_range = 7)"),
        6 => format!(
            "CREATE VIEW app.{object} AS SELECT {column}, count(*) FROM {name} t WHERE {where_} GROUP BY 1 HAVING count(*) > 1"
        ),
        7 => {
            let join = &tables[rng.usize(0..tables.len())];
            format!(
                "CREATE VIEW app.{object} AS SELECT x.*, y.{} AS other FROM {name} x LEFT JOIN {} y ON true WHERE {}",
                quoted(&join.columns[0].0),
                join.name,
                condition(rng, table, "x.")
            )
        }
        8 => format!(
            "CREATE MATERIALIZED VIEW app.{object} AS WITH w AS (SELECT * FROM {name}) SELECT row_number() OVER (ORDER BY {column}) AS n FROM w"
        ),
        9 => format!(
            "CREATE FUNCTION app.{object}(a int DEFAULT 1 + 1, VARIADIC b text[] DEFAULT ARRAY['x']) RETURNS SETOF int LANGUAGE sql STABLE \
            AS $$ SELECT a $$"
        ),
        10 => format!(
            "CREATE FUNCTION app.{object}(a int) RETURNS bool LANGUAGE sql BEGIN ATOMIC SELECT a BETWEEN 1 AND 2 AND EXISTS (SELECT FROM {name}); END"
        ),
        11 => format!(
            "CREATE TRIGGER {object} BEFORE UPDATE OF {column} ON {name} FOR EACH ROW WHEN ({}) EXECUTE FUNCTION app.touch('a b', 'c')",
            condition(rng, table, "new.")
        ),
        12 => format!(
            "CREATE TRIGGER {object} AFTER INSERT ON {name} FOR EACH ROW EXECUTE FUNCTION app.touch()"
        ),
        13 => format!("CREATE POLICY {object} ON {name} FOR SELECT TO {role} USING ({where_})"),
        14 => format!("CREATE POLICY {object} ON {name} AS RESTRICTIVE WITH CHECK ({where_})"),
        15 => format!("ALTER TABLE {name} ENABLE ROW LEVEL SECURITY"),
        16 => format!("GRANT SELECT, UPDATE ON {name} TO {role} "),
        17 => format!("GRANT SELECT ({column}) ON {name} TO reader WITH GRANT OPTION"),
        18 => format!("ALTER TABLE {name} OWNER TO writer"),
        19 => format!("COMMENT ON COLUMN {name}.{column} IS 'it''s\n{number}'"),
        20 => format!("CREATE STATISTICS app.{object} ON {first}, {column} FROM {name}"),
        21 => format!(
            "ALTER TABLE {name} ALTER {column} SET STATISTICS 33, ALTER {column} SET (n_distinct = 5)"
        ),
        22 => format!("ALTER TABLE {name} ADD CONSTRAINT {object} CHECK ({where_}) NOT VALID"),
        23 => format!(
            "CREATE RULE {object} AS ON INSERT TO {name} WHERE {} DO ALSO NOTIFY x",
            condition(rng, table, "new.")
        ),
        24 => format!("CREATE TYPE app.{object} AS ENUM ('a', 'it''s', {})", "'z'"),
        25 => format!(
            "CREATE DOMAIN app.{object} AS {type_name} CHECK ({})",
            condition(
                rng,
                &Table { name: String::new(), columns: vec![("value".to_owned(), type_name)] },
                ""
            )
            .replace("\"value\"", "VALUE")
        ),
        26 => format!(
            "CREATE SEQUENCE app.{object} AS smallint INCREMENT -3 MINVALUE -400 START -1 CACHE 4 CYCLE OWNED BY NONE"
        ),
        27 => format!("CREATE PUBLICATION {object} FOR TABLE {name} WHERE ({where_})"),
        28 => format!(
            "ALTER TABLE {name} ADD COLUMN {object} text GENERATED ALWAYS AS ({column}::text || '!') STORED"
        ),
        29 => format!("ALTER TABLE {name} DROP COLUMN {column}"),
        30 => format!(
            "ALTER TABLE {name} ADD COLUMN {object} int GENERATED BY DEFAULT AS IDENTITY (INCREMENT 5)"
        ),
        31 => {
            let target = &tables[rng.usize(0..tables.len())];
            format!(
                "ALTER TABLE {name} ADD CONSTRAINT {object} FOREIGN KEY ({column}) REFERENCES {} ON DELETE SET NULL DEFERRABLE",
                target.name
            )
        }
        32 => format!("ALTER TABLE {name} ADD EXCLUDE USING gist ({column} WITH &&) WHERE ({where_})"),
        33 => format!("ALTER TABLE {name} REPLICA IDENTITY FULL"),
        34 => format!("CREATE AGGREGATE app.{object}(int) (SFUNC = int4larger, STYPE = int, SORTOP = >)"),
        _ => format!(
            "ALTER DEFAULT PRIVILEGES FOR ROLE writer IN SCHEMA app GRANT EXECUTE ON FUNCTIONS TO {role}"
        ),
    }
}
