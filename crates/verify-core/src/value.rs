//! A key's value from its binary form to text.

use crate::containers::{self, Container};
use crate::order::{Order, order};
use crate::table::{Column, Encoding, Table, shown_identifier, shown_text};

/// The microseconds from the Unix epoch to PostgreSQL's, 2000-01-01.
const POSTGRES_EPOCH_US: i64 = 946_684_800_000_000;
/// A longer value is cut when it is shown.
const CHARS_MAX: usize = 100;
/// Number of characters of its end that are kept then.
const TAIL_CHARS: usize = 36;

/// Name of a row, and its place in the order of keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RowName {
    order: Vec<Order>,
    pub(crate) text: String,
}

impl RowName {
    /// The name that a key's fields give, in the key's order.
    pub(crate) fn of_key(table: &Table, fields: &[Option<&[u8]>]) -> Self {
        let columns = table.key.columns.iter().filter_map(|&i| table.columns.get(i));
        let order = columns.zip(fields).map(|(column, field)| order(column, *field)).collect();
        Self { order, text: shown_key(table, fields) }
    }

    /// A name without a known key, behind those with one.
    pub(crate) fn unkeyed(text: String) -> Self {
        Self { order: vec![Order::Last], text }
    }
}

/// A row's name from its key's fields, in the key's order: `id=42, line=3`.
pub fn shown_key(table: &Table, fields: &[Option<&[u8]>]) -> String {
    let columns = table.key.columns.iter().filter_map(|&i| table.columns.get(i));
    let parts = columns.zip(fields).map(|(column, field)| {
        format!(
            "{}={}",
            shown_identifier(&column.name),
            field.map_or("NULL".to_owned(), |v| shown_value(column, v))
        )
    });
    parts.collect::<Vec<_>>().join(", ")
}

/// A value as text; hexadecimal where its type is not among the common ones.
pub fn shown_value(column: &Column, bytes: &[u8]) -> String {
    let text = match column.encoding {
        Encoding::Text => String::from_utf8(bytes.to_vec()).ok(),
        Encoding::Sha256 => None,
        Encoding::Binary | Encoding::Float => decode(&column.base_type, bytes),
    };
    let text = text.unwrap_or_else(|| format!("\\x{}", crate::digest::to_hex(bytes)));
    let cut = cut(&text);
    // Values that a reader could not distinguish otherwise: nothing, spaces at an end, a comma between keys.
    let quoted = text.is_empty() || text.trim() != text || text.contains(", ");
    if quoted { format!("'{}'", shown_text(&cut)) } else { shown_text(&cut) }
}

/// A long value without its middle: keys often begin alike.
fn cut(text: &str) -> String {
    let count = text.chars().count();
    if count <= CHARS_MAX {
        return text.to_owned();
    }
    let head: String = text.chars().take(CHARS_MAX - TAIL_CHARS).collect();
    let tail: String = text.chars().skip(count - TAIL_CHARS).collect();
    format!("{head}…{tail}")
}

pub(crate) fn decode(base_type: &str, bytes: &[u8]) -> Option<String> {
    let int4 = |bytes: &[u8]| bytes.try_into().ok().map(i32::from_be_bytes);
    let int8 = |bytes: &[u8]| bytes.try_into().ok().map(i64::from_be_bytes);
    Some(match base_type {
        "bool" => (bytes.first()? != &0).to_string(),
        "int2" => i16::from_be_bytes(bytes.try_into().ok()?).to_string(),
        "int4" => int4(bytes)?.to_string(),
        "int8" => int8(bytes)?.to_string(),
        "money" => money(int8(bytes)?),
        "oid" | "xid" => u32::from_be_bytes(bytes.try_into().ok()?).to_string(),
        "xid8" => int8(bytes)?.cast_unsigned().to_string(),
        "float4" => f32::from_be_bytes(bytes.try_into().ok()?).to_string(),
        "float8" => f64::from_be_bytes(bytes.try_into().ok()?).to_string(),
        "text" | "varchar" | "bpchar" | "name" | "char" | "json" | "xml" | "enum" | "citext" => {
            String::from_utf8(bytes.to_vec()).ok()?
        }
        // Behind a version.
        "jsonb" | "jsonpath" | "ltree" => String::from_utf8(bytes.get(1..)?.to_vec()).ok()?,
        "uuid" => uuid(bytes.try_into().ok()?),
        "numeric" => numeric(bytes)?,
        "date" => match int4(bytes)? {
            i32::MAX => "infinity".to_owned(),
            i32::MIN => "-infinity".to_owned(),
            days => timestamp(i64::from(days).checked_mul(86_400_000_000)?)?.strftime("%F").to_string(),
        },
        "timestamp" | "timestamptz" => match int8(bytes)? {
            i64::MAX => "infinity".to_owned(),
            i64::MIN => "-infinity".to_owned(),
            us => {
                let zone = if base_type == "timestamptz" { "+00" } else { "" };
                format!("{}{zone}", timestamp(us)?.strftime("%F %T%.f"))
            }
        },
        "time" => time(int8(bytes)?),
        "timetz" => {
            let (us, west) = (int8(bytes.get(..8)?)?, int4(bytes.get(8..)?)?);
            let sign = if west > 0 { '-' } else { '+' };
            let (hours, minutes) = (west.unsigned_abs() / 3_600, west.unsigned_abs() / 60 % 60);
            let minutes = if minutes == 0 { String::new() } else { format!(":{minutes:02}") };
            format!("{}{sign}{hours:02}{minutes}", time(us))
        }
        "interval" => {
            let (us, days, months) =
                (int8(bytes.get(..8)?)?, int4(bytes.get(8..12)?)?, int4(bytes.get(12..)?)?);
            interval(us, days, months)
        }
        "inet" | "cidr" => address(bytes)?,
        "macaddr" | "macaddr8" => {
            bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
        }
        "pg_lsn" => {
            let lsn = int8(bytes)?.cast_unsigned();
            format!("{:X}/{:X}", lsn >> 32, lsn & 0xffff_ffff)
        }
        "bit" | "varbit" => {
            let count = usize::try_from(int4(bytes.get(..4)?)?).ok()?;
            let bits = bytes.get(4..)?.iter().map(|byte| format!("{byte:08b}")).collect::<String>();
            bits.get(..count)?.to_owned()
        }
        "tid" => {
            let (block, item) = (int4(bytes.get(..4)?)?, bytes.get(4..)?.try_into().ok()?);
            format!("({},{})", block.cast_unsigned(), u16::from_be_bytes(item))
        }
        "hstore" if bytes.len() <= containers::BYTES_MAX => containers::hstore(bytes)?,
        "tsvector" if bytes.len() <= containers::BYTES_MAX => containers::tsvector(bytes)?,
        _ => return Container::of(base_type, bytes)?.text(bytes),
    })
}

/// Money with two decimals, as nearly every `lc_monetary` has them; without its sign, which is the server's setting.
fn money(hundredths: i64) -> String {
    let sign = if hundredths < 0 { "-" } else { "" };
    format!("{sign}{}.{:02}", hundredths.unsigned_abs() / 100, hundredths.unsigned_abs() % 100)
}

/// An interval in PostgreSQL's own style: `1 year 2 mons -3 days +04:05:06`.
fn interval(us: i64, days: i32, months: i32) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut negative = false;
    for (count, unit) in [(months / 12, "year"), (months % 12, "mon"), (days, "day")] {
        if count != 0 {
            let plus = if negative && count > 0 { "+" } else { "" };
            let plural = if count == 1 { "" } else { "s" };
            parts.push(format!("{plus}{count} {unit}{plural}"));
            negative = count < 0;
        }
    }
    if us != 0 || parts.is_empty() {
        let sign = if us < 0 {
            "-"
        } else if negative {
            "+"
        } else {
            ""
        };
        parts.push(format!("{sign}{}", time(us.saturating_abs())));
    }
    parts.join(" ")
}

/// A time of day, or the part of an interval below a day.
fn time(us: i64) -> String {
    let (seconds, fraction) = (us / 1_000_000, us % 1_000_000);
    let text = format!("{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60);
    if fraction == 0 { text } else { format!("{text}.{fraction:06}").trim_end_matches('0').to_owned() }
}

/// `network_send` of PostgreSQL: family, bits, whether it is a cidr, length, bytes.
fn address(bytes: &[u8]) -> Option<String> {
    let [_, bits, is_cidr, _, address @ ..] = bytes else { return None };
    let (text, whole) = match address.len() {
        4 => (std::net::Ipv4Addr::from(<[u8; 4]>::try_from(address).ok()?).to_string(), 32),
        16 => (std::net::Ipv6Addr::from(<[u8; 16]>::try_from(address).ok()?).to_string(), 128),
        _ => return None,
    };
    Some(if *is_cidr == 0 && *bits == whole { text } else { format!("{text}/{bits}") })
}

fn uuid(bytes: [u8; 16]) -> String {
    let hex = crate::digest::to_hex(&bytes);
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

fn timestamp(postgres_us: i64) -> Option<jiff::civil::DateTime> {
    let unix = postgres_us.checked_add(POSTGRES_EPOCH_US)?;
    Some(jiff::tz::Offset::UTC.to_datetime(jiff::Timestamp::from_microsecond(unix).ok()?))
}

/// `numeric_send` of PostgreSQL: digits in base 10,000, with weight, sign and display scale.
fn numeric(bytes: &[u8]) -> Option<String> {
    let mut words = bytes.as_chunks::<2>().0.iter().map(|word| i16::from_be_bytes(*word));
    let (count, weight, sign, scale) = (words.next()?, words.next()?, words.next()?, words.next()?);
    match sign.cast_unsigned() {
        0xc000 => return Some("NaN".to_owned()),
        0xd000 => return Some("Infinity".to_owned()),
        0xf000 => return Some("-Infinity".to_owned()),
        _ => {}
    }
    let digits: Vec<i16> = words.collect();
    if digits.len() != usize::try_from(count).ok()? {
        return None;
    }
    let digit = |position: i32| {
        usize::try_from(i32::from(weight) - position).ok().and_then(|i| digits.get(i)).copied().unwrap_or(0)
    };
    let whole: String = (0..=i32::from(weight.max(0))).rev().map(|i| format!("{:04}", digit(i))).collect();
    let whole = whole.trim_start_matches('0');
    let groups = (i32::from(scale) + 3) / 4;
    let fraction: String = (1..=groups).map(|i| format!("{:04}", digit(-i))).collect();
    let mut text = if sign == 0 { String::new() } else { "-".to_owned() };
    text.push_str(if whole.is_empty() { "0" } else { whole });
    if scale > 0 {
        text.push('.');
        text.push_str(fraction.get(..usize::try_from(scale).ok()?)?);
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_types_come_back_as_postgresql_writes_them() {
        for (base_type, bytes, text) in [
            ("int4", &(-7_i32).to_be_bytes()[..], "-7"),
            ("int8", &i64::MAX.to_be_bytes(), "9223372036854775807"),
            ("bool", &[1], "true"),
            ("text", "é".as_bytes(), "é"),
            ("uuid", &[0x12; 16], "12121212-1212-1212-1212-121212121212"),
            ("date", &366_i32.to_be_bytes(), "2001-01-01"),
            ("timestamptz", &1_500_000_i64.to_be_bytes(), "2000-01-01 00:00:01.5+00"),
            ("date", &i32::MAX.to_be_bytes(), "infinity"),
            ("time", &3_723_500_000_i64.to_be_bytes(), "01:02:03.5"),
            ("timetz", &[0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xf1, 0xf0], "00:00:00+01"),
            ("timetz", &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x0e, 0x10], "00:00:00-01"),
            ("interval", &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 30, 0, 0, 0, 1], "1 mon 30 days"),
            (
                "interval",
                &[0, 0, 0, 0, 0, 0x3d, 9, 0, 0xff, 0xff, 0xff, 0xfd, 0, 0, 0, 14],
                "1 year 2 mons -3 days +00:00:04",
            ),
            ("interval", &[0; 16], "00:00:00"),
            ("money", &1_234_i64.to_be_bytes(), "12.34"),
            ("money", &(-5_i64).to_be_bytes(), "-0.05"),
            ("tid", &[0, 0, 0, 1, 0, 2], "(1,2)"),
            ("ltree", b"\x01a.b", "a.b"),
            ("hstore", b"\0\0\0\x01\0\0\0\x01a\0\0\0\x01b", "\"a\"=>\"b\""),
            ("tsvector", b"\0\0\0\x02cat\0\0\x01\xc0\x03it's\0\0\0", "'cat':3A 'it''s'"),
            ("inet", &[2, 32, 0, 4, 10, 0, 0, 1], "10.0.0.1"),
            ("cidr", &[2, 8, 1, 4, 10, 0, 0, 0], "10.0.0.0/8"),
            ("inet", &[3, 64, 0, 16, 0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], "fe80::1/64"),
            ("pg_lsn", &[0, 0, 0, 1, 0, 0, 0, 0xab], "1/AB"),
            ("varbit", &[0, 0, 0, 3, 0b1010_0000], "101"),
            ("numeric", &[0, 2, 0, 0, 0, 0, 0, 2, 0, 1, 0x13, 0x88], "1.50"),
            ("numeric", &[0, 1, 0, 1, 0x40, 0, 0, 0, 0, 12], "-120000"),
            ("numeric", &[0, 1, 0xff, 0xff, 0, 0, 0, 3, 0, 10], "0.001"),
            ("numeric", &[0, 0, 0, 0, 0, 0, 0, 0], "0"),
            ("numeric", &[0, 0, 0, 0, 0xc0, 0, 0, 0], "NaN"),
        ] {
            assert_eq!(decode(base_type, bytes).as_deref(), Some(text), "{base_type}");
        }
    }

    #[test]
    fn malformed_and_hostile_values_are_shown_safely() {
        let column = |base_type: &str| Column::binary("a", base_type);
        assert_eq!(shown_value(&column("int4"), &[1]), "\\x01");
        assert_eq!(shown_value(&column("numeric"), &[0, 9]), "\\x0009");
        assert_eq!(shown_value(&column("text"), b"a\x1b[2Jb"), "a\\u{1b}[2Jb");
        assert_eq!(shown_value(&column("timestamp"), &(i64::MAX - 1).to_be_bytes()), "\\x7ffffffffffffffe");
        assert_eq!(shown_value(&column("inet"), &[2, 32, 0]), "\\x022000");
        assert_eq!(shown_value(&column("text"), b"a "), "'a '");
        let long = format!("{}{}", "k".repeat(200), 17);
        let cut = format!("{}…{}17", "k".repeat(64), "k".repeat(34));
        assert_eq!(shown_value(&column("text"), long.as_bytes()), cut);
        assert_eq!(shown_value(&column("text"), "k".repeat(100).as_bytes()), "k".repeat(100));
        assert_eq!(shown_value(&column("text"), b""), "''");
        let word = |bytes: usize| [b"\0\0\0\x01", &vec![b'w'; bytes][..], b"\0\0\0"].concat();
        assert!(decode("tsvector", &word(containers::BYTES_MAX - 7)).is_some());
        assert!(decode("tsvector", &word(containers::BYTES_MAX - 6)).is_none());
        let pair = |bytes: u16| {
            let length = u32::from(bytes).to_be_bytes();
            [b"\0\0\0\x01\0\0\0\x01a", &length[..], &vec![b'v'; bytes.into()]].concat()
        };
        let longest = u16::try_from(containers::BYTES_MAX).unwrap() - 13;
        assert!(decode("hstore", &pair(longest)).is_some());
        assert!(decode("hstore", &pair(longest + 1)).is_none());
    }
}
