//! Fields of objects as JSON. A field that is not there reads as empty.

use jiff::Timestamp;
use serde_json::Value;
use verify_drill::duration::Period;

pub(super) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// A text that is not empty.
pub(super) fn some_text(object: &Value, pointer: &str) -> Option<String> {
    Some(text(object, pointer)).filter(|text| !text.is_empty()).map(str::to_owned)
}

pub(super) fn name(object: &Value) -> String {
    text(object, "/metadata/name").to_owned()
}

pub(super) fn list<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

pub(super) fn texts<'a>(object: &'a Value, pointer: &str) -> Vec<&'a str> {
    list(object, pointer).iter().filter_map(Value::as_str).collect()
}

pub(super) fn number(object: &Value, pointer: &str) -> Option<u64> {
    object.pointer(pointer)?.as_u64()
}

pub(super) fn flag(object: &Value, pointer: &str) -> bool {
    object.pointer(pointer).and_then(Value::as_bool).unwrap_or_default()
}

pub(super) fn time(object: &Value, pointer: &str) -> Option<Timestamp> {
    text(object, pointer).parse().ok()
}

/// Time of its creation, which every object has.
pub(super) fn created_at(object: &Value) -> Timestamp {
    time(object, "/metadata/creationTimestamp").unwrap_or_default()
}

/// A length of time in Go's notation: `720h0m0s`.
pub(super) fn duration(object: &Value, pointer: &str) -> Option<Period> {
    text(object, pointer).parse().ok()
}

/// A label, or an annotation.
pub(super) fn entry<'a>(object: &'a Value, map: &str, name: &str) -> Option<&'a str> {
    object.pointer(map)?.get(name)?.as_str()
}

/// The bytes of a quantity: `10Gi`, `500M`, `1e9`.
pub(super) fn bytes(object: &Value, pointer: &str) -> Option<u64> {
    let text = text(object, pointer);
    let (number, unit) =
        text.split_at(text.find(|c: char| c.is_alphabetic() && c != 'e').unwrap_or(text.len()));
    let factor = match unit {
        "" => 1.0,
        "m" => 0.001,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "Ki" => 1024_f64,
        "Mi" => 1024_f64.powi(2),
        "Gi" => 1024_f64.powi(3),
        "Ti" => 1024_f64.powi(4),
        "Pi" => 1024_f64.powi(5),
        _ => return None,
    };
    let bytes = number.parse::<f64>().ok()? * factor;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates")]
    (bytes.is_finite() && bytes >= 0.0).then_some(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn quantities_and_go_s_durations_are_read() {
        for (text, expected) in [
            ("10Gi", Some(10 << 30)),
            ("1.5Gi", Some(3 << 29)),
            ("500M", Some(500_000_000)),
            ("1e3", Some(1_000)),
            ("7", Some(7)),
            ("", None),
            ("1Zi", None),
            ("-1", None),
        ] {
            assert_eq!(bytes(&json!({ "q": text }), "/q"), expected, "{text}");
        }
        for (text, expected) in
            [("720h0m0s", Some("30d")), ("1h0m0s", Some("1h")), ("0s", Some("0s")), ("", None)]
        {
            let expected = expected.map(|expected| expected.parse().unwrap());
            assert_eq!(duration(&json!({ "d": text }), "/d"), expected, "{text}");
        }
    }
}
