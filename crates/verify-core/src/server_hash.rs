//! Values that a server hashes by itself: of built-in types alone, and in a way that depends on the value alone.

use crate::table::{Column, Encoding};

/// A built-in type of which the server hashes equal values alike on every machine of one byte order. Some values that differ have one hash.
///
/// Not among them: enums, whose hash is that of an object id; `"char"`, whose sign depends on the machine; types without a hash, such as `json`; and
/// whatever is made of others except arrays of these.
pub(crate) struct HashedType {
    /// Name in `pg_catalog`.
    pub name: &'static str,
    /// The type as which it is hashed. It has a hash operator class of its own, so that a database cannot bring another.
    hashed_as: &'static str,
    /// A value, as text.
    pub sample: &'static str,
}

const fn hashed(name: &'static str, sample: &'static str) -> HashedType {
    HashedType { name, hashed_as: name, sample }
}

const fn hashed_as(name: &'static str, hashed_as: &'static str, sample: &'static str) -> HashedType {
    HashedType { name, hashed_as, sample }
}

pub(crate) const HASHED: [HashedType; 26] = [
    hashed("bool", "t"),
    hashed("bpchar", "apple  "),
    hashed("bytea", "\\x00ff80"),
    hashed_as("cidr", "inet", "10.1.0.0/16"),
    hashed("date", "1999-12-31"),
    hashed("float4", "-1.5e10"),
    hashed("float8", "-1.5e100"),
    hashed("inet", "2001:db8::1/64"),
    hashed("int2", "-2"),
    hashed("int4", "-2000000000"),
    hashed("int8", "-9000000000000000000"),
    hashed("interval", "1 mon -2 days 03:04:05.678"),
    hashed("jsonb", "{\"a\": [1.50, true, null, \"a\"], \"b\": {}}"),
    hashed("macaddr", "08:00:2b:01:02:03"),
    hashed("macaddr8", "08:00:2b:01:02:03:04:05"),
    hashed("name", "apple"),
    hashed("numeric", "-12345678.900"),
    hashed("oid", "4000000000"),
    hashed("pg_lsn", "16/B374D848"),
    hashed("text", "apples and pears"),
    hashed("time", "23:59:59.999999"),
    hashed("timestamp", "1999-12-31 23:59:59.999999"),
    hashed("timestamptz", "1999-12-31 23:59:59.999999+00"),
    hashed("timetz", "23:59:59.999999-07:30"),
    hashed("uuid", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
    hashed_as("varchar", "text", "apple"),
];

impl HashedType {
    /// The type of a column, or of the elements of its arrays, below any domain.
    pub(crate) fn of(column: &Column) -> Option<&'static Self> {
        let name = column.base_type.strip_suffix("[]").unwrap_or(&column.base_type);
        let travels = matches!(column.encoding, Encoding::Binary | Encoding::Float);
        HASHED.iter().find(|hashed| travels && hashed.name == name)
    }

    /// The value of a column as it is hashed: neither a domain nor a collation of the database has a part in it.
    pub(crate) fn of_column(&self, value: &str, column: &Column) -> String {
        self.cast(value, if column.base_type.ends_with("[]") { "[]" } else { "" })
    }

    /// The sample as it is hashed.
    pub(crate) fn of_sample(&self, sample: &str) -> String {
        self.cast(sample, "")
    }

    fn cast(&self, value: &str, array: &str) -> String {
        let collate = match self.hashed_as {
            "bpchar" | "name" | "text" => " COLLATE pg_catalog.\"C\"",
            _ => "",
        };
        format!("{value}::pg_catalog.\"{}\"{array}{collate}", self.hashed_as)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_types_and_their_arrays_are_hashed_and_nothing_else() {
        let expression = |base_type: &str| {
            let column = Column::binary("v", base_type);
            HashedType::of(&column).map(|hashed| hashed.of_column("v", &column))
        };
        assert_eq!(expression("int4").unwrap(), "v::pg_catalog.\"int4\"");
        assert_eq!(expression("varchar[]").unwrap(), "v::pg_catalog.\"text\"[] COLLATE pg_catalog.\"C\"");
        assert_eq!(expression("cidr").unwrap(), "v::pg_catalog.\"inet\"");
        for other in ["", "enum", "json", "citext", "hstore", "char", "range(int4)", "int4[][]", "money"] {
            assert_eq!(expression(other), None, "{other}");
        }
        let as_text = Column { encoding: Encoding::Text, ..Column::binary("v", "int4") };
        assert!(HashedType::of(&as_text).is_none());
    }
}
