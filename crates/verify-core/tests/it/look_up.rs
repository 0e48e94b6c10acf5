//! Differing rows are looked up by keys of every type, and without one where a key cannot be written or an index is not the server's own.

use anyhow::Result;
use verify_core::capture::capture;
use verify_core::event;
use verify_core::plan::Plan;
use verify_core::verify::verify;

use crate::measure::postgres;

/// Tables by name: the definition of the key, the values of 3,000 rows by `i`, and further statements.
const TABLES: [(&str, &str, &str, &str); 9] = [
    ("k_int2", "k int2 PRIMARY KEY", "i - 2000", ""),
    ("k_int8", "k int8 PRIMARY KEY", "i::int8 * 1000000007 * CASE i % 2 WHEN 0 THEN 1 ELSE -1 END", ""),
    ("k_uuid", "k uuid PRIMARY KEY", "md5(i::text)::uuid", ""),
    ("k_text", "k text PRIMARY KEY", "$$a\"b'c\\d,{}NULL $$ || i", ""),
    ("k_varchar", "k varchar(20) UNIQUE NOT NULL", "'é' || i", ""),
    ("k_domain", "k positive PRIMARY KEY", "i", ""),
    ("k_two", "k int, l text, PRIMARY KEY (k, l)", "i / 2, 'x' || i % 2", ""),
    // Keys that are not written as text.
    ("k_numeric", "k numeric PRIMARY KEY", "i + 0.50", ""),
    // An index with a function of the database's own: it would be called by whoever asks for keys.
    ("k_own", "k int PRIMARY KEY", "i", "CREATE INDEX ON k_own (own(k))"),
];

const FUNCTION: &str = "CREATE DOMAIN positive AS int CHECK (VALUE > 0);
    CREATE FUNCTION own(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1'";

#[test]
fn rows_are_named_by_keys_of_every_type() -> Result<()> {
    for major in [13, 15, 18] {
        let server = fixtures::server(major)?;
        server.create_database("look_up")?;
        server.psql("look_up", FUNCTION)?;
        for (name, columns, values, more) in TABLES {
            let filled = format!(
                "CREATE TABLE {name} ({columns}, v text); \
                 INSERT INTO {name} SELECT {values}, 'v' || i FROM generate_series(1, 3000) i; {more}"
            );
            server.psql("look_up", &filled)?;
        }
        server.copy_database("look_up", "look_up_copy")?;
        let manifest = capture(&postgres(&server, "look_up")?, &Plan::default(), &event::ignore)?;
        for (name, ..) in TABLES {
            let damage = format!(
                "DELETE FROM {name} WHERE v = 'v100'; UPDATE {name} SET v = 'w' WHERE v IN ('v200', 'v201'); \
                 UPDATE {name} SET v = v || '!' WHERE v = 'v2999'"
            );
            server.psql("look_up_copy", &damage)?;
        }
        let comparison =
            verify(&manifest, &postgres(&server, "look_up_copy")?, &Plan::default(), &event::ignore)?;
        let mut named = Vec::new();
        for (name, ..) in TABLES {
            let findings =
                comparison.findings().iter().filter(|finding| finding.object == format!("public.{name}"));
            for finding in findings {
                let rows = finding.rows.as_ref().map_or(&[][..], |rows| &rows.named);
                named.push(format!("{name} {}: {}", finding.code(), rows.join(" | ")));
            }
        }
        insta::assert_snapshot!("named", named.join("\n"));
    }
    Ok(())
}
