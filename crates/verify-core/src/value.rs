//! A key's value from its binary form back to the text that people know it by.

use crate::table::{Column, Encoding, Table, shown_identifier, shown_text};

/// The microseconds from the Unix epoch to PostgreSQL's, 2000-01-01.
const POSTGRES_EPOCH_US: i64 = 946_684_800_000_000;
/// A longer value is cut when it is shown.
const CHARS_MAX: usize = 100;

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
    let cut = match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    };
    if cut.is_empty() { "''".to_owned() } else { shown_text(&cut) }
}

fn decode(base_type: &str, bytes: &[u8]) -> Option<String> {
    let int4 = |bytes: &[u8]| bytes.try_into().ok().map(i32::from_be_bytes);
    let int8 = |bytes: &[u8]| bytes.try_into().ok().map(i64::from_be_bytes);
    Some(match base_type {
        "bool" => (bytes.first()? != &0).to_string(),
        "int2" => i16::from_be_bytes(bytes.try_into().ok()?).to_string(),
        "int4" => int4(bytes)?.to_string(),
        "int8" => int8(bytes)?.to_string(),
        "oid" | "xid" => u32::from_be_bytes(bytes.try_into().ok()?).to_string(),
        "xid8" => int8(bytes)?.cast_unsigned().to_string(),
        "float4" => f32::from_be_bytes(bytes.try_into().ok()?).to_string(),
        "float8" => f64::from_be_bytes(bytes.try_into().ok()?).to_string(),
        "text" | "varchar" | "bpchar" | "name" | "char" | "json" | "xml" | "enum" | "citext" => {
            String::from_utf8(bytes.to_vec()).ok()?
        }
        "jsonb" => String::from_utf8(bytes.get(1..)?.to_vec()).ok()?,
        "uuid" => uuid(bytes.try_into().ok()?),
        "numeric" => numeric(bytes)?,
        "date" => timestamp(i64::from(int4(bytes)?).checked_mul(86_400_000_000)?)?.strftime("%F").to_string(),
        "timestamp" => timestamp(int8(bytes)?)?.strftime("%F %T%.f").to_string(),
        "timestamptz" => format!("{}+00", timestamp(int8(bytes)?)?.strftime("%F %T%.f")),
        _ => return None,
    })
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
        let column = |base_type: &str| Column {
            name: "a".into(),
            type_name: base_type.into(),
            base_type: base_type.into(),
            encoding: Encoding::Binary,
            generated: false,
        };
        assert_eq!(shown_value(&column("int4"), &[1]), "\\x01");
        assert_eq!(shown_value(&column("numeric"), &[0, 9]), "\\x0009");
        assert_eq!(shown_value(&column("text"), b"a\x1b[2Jb"), "a\\u{1b}[2Jb");
        assert_eq!(shown_value(&column("timestamp"), &i64::MAX.to_be_bytes()), "\\x7fffffffffffffff");
        assert_eq!(shown_value(&column("text"), b""), "''");
    }
}
