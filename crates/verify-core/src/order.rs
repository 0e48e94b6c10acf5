//! The order of keys by value: 9 before 10, -2 before -1, one day before the next. Text is in the order of its bytes,
//! whatever the collation, since two servers may disagree on that.

use crate::containers::{Array, Container, Range, ranges};
use crate::table::{Column, Encoding};

/// A place is kept in so many bytes, or parts, for many rows may be named; those that begin alike are ordered by name.
const BYTES_MAX: usize = 64;
const PARTS_MAX: usize = 16;

/// The place of a value among others of its column.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Order {
    /// By number.
    Number(i128),
    /// By bytes.
    Bytes(Vec<u8>),
    /// By the first difference.
    List(Vec<Self>),
    /// After all others, as NULL is in PostgreSQL.
    Last,
}

/// The place of a column's value.
pub(crate) fn order(column: &Column, field: Option<&[u8]>) -> Order {
    match (field, column.encoding) {
        (None, _) => Order::Last,
        (Some(bytes), Encoding::Text | Encoding::Sha256) => by_bytes(bytes),
        (Some(bytes), Encoding::Binary | Encoding::Float) => of_type(&column.base_type, bytes),
    }
}

fn by_bytes(bytes: &[u8]) -> Order {
    Order::Bytes(bytes[..bytes.len().min(BYTES_MAX)].to_vec())
}

/// The place of a binary value of a type; one that is malformed is ordered by its bytes.
fn of_type(base_type: &str, bytes: &[u8]) -> Order {
    let placed = match base_type {
        "int2" | "int4" | "int8" | "date" | "time" | "timestamp" | "timestamptz" | "money" => {
            integer(bytes).map(Order::Number)
        }
        "float4" => bytes.try_into().ok().map(|bytes| float(f32::from_be_bytes(bytes).into())),
        "float8" => bytes.try_into().ok().map(|bytes| float(f64::from_be_bytes(bytes))),
        "numeric" => numeric(bytes).map(|key| by_bytes(&key)),
        "interval" => interval(bytes),
        "timetz" => timetz(bytes),
        "inet" | "cidr" => address(bytes),
        // Behind the number of bits.
        "bit" | "varbit" => bytes.get(4..).map(by_bytes),
        _ => Container::of(base_type, bytes).and_then(|container| of_container(container, bytes)),
    };
    placed.unwrap_or_else(|| by_bytes(bytes))
}

fn of_container(container: Container<'_>, bytes: &[u8]) -> Option<Order> {
    Some(match container {
        Container::Array(element) => {
            let place = |value: &Option<&[u8]>| value.map_or(Order::Last, |bytes| of_type(element, bytes));
            Order::List(Array::read(bytes)?.elements.iter().take(PARTS_MAX).map(place).collect())
        }
        Container::Range(subtype) => range(subtype, bytes)?,
        Container::Multirange(subtype) => {
            let ranges = ranges(bytes)?.into_iter().take(PARTS_MAX).map(|bytes| range(subtype, bytes));
            Order::List(ranges.collect::<Option<_>>()?)
        }
    })
}

/// Empty ranges first, then by the lower bound, then by the upper.
fn range(subtype: &str, bytes: &[u8]) -> Option<Order> {
    let range = Range::read(bytes)?;
    if range.is_empty() {
        return Some(Order::List(Vec::new()));
    }
    let lower = range.lower.map_or(Order::Number(i128::MIN), |bytes| of_type(subtype, bytes));
    let upper = range.upper.map_or(Order::Last, |bytes| of_type(subtype, bytes));
    Some(Order::List(vec![lower, upper]))
}

/// A signed number of two, four or eight bytes.
fn integer(bytes: &[u8]) -> Option<i128> {
    Some(match bytes.len() {
        2 => i16::from_be_bytes(bytes.try_into().ok()?).into(),
        4 => i32::from_be_bytes(bytes.try_into().ok()?).into(),
        8 => i64::from_be_bytes(bytes.try_into().ok()?).into(),
        _ => return None,
    })
}

/// As `f64::total_cmp`; NaN is the greatest, as in PostgreSQL.
fn float(value: f64) -> Order {
    let bits = value.to_bits().cast_signed();
    Order::Number(i128::from(bits ^ ((bits >> 63).cast_unsigned() >> 1).cast_signed()))
}

fn interval(bytes: &[u8]) -> Option<Order> {
    const DAY_US: i128 = 86_400_000_000;
    let (us, days, months) =
        (integer(bytes.get(..8)?)?, integer(bytes.get(8..12)?)?, integer(bytes.get(12..)?)?);
    Some(Order::Number(us + (days + 30 * months) * DAY_US))
}

/// By the time in UTC, then by the zone.
fn timetz(bytes: &[u8]) -> Option<Order> {
    let (us, west_s) = (integer(bytes.get(..8)?)?, integer(bytes.get(8..)?)?);
    Some(Order::List(vec![Order::Number(us + west_s * 1_000_000), Order::Number(west_s)]))
}

/// By family, address and length of the prefix.
fn address(bytes: &[u8]) -> Option<Order> {
    let [family, bits, _, _, address @ ..] = bytes else { return None };
    Some(Order::Bytes([&[*family], address, &[*bits]].concat()))
}

/// A numeric as bytes that compare as it does: its class, its weight and its digits, inverted where it is negative.
fn numeric(bytes: &[u8]) -> Option<Vec<u8>> {
    let (header, digits) = bytes.split_at_checked(8)?;
    let word = |i: usize| [header[2 * i], header[2 * i + 1]];
    let weight = i16::from_be_bytes(word(1));
    let sign = u16::from_be_bytes(word(2));
    let class = match (sign, digits.is_empty()) {
        (0xf000, _) => 0,
        (0xd000, _) => 4,
        (0xc000, _) => 5,
        (_, true) => 2,
        (0x4000, false) => 1,
        (_, false) => 3,
    };
    let mut key = vec![class];
    if matches!(class, 1 | 3) {
        key.extend((i32::from(weight) + 0x8000).to_be_bytes());
        key.extend(digits);
        if class == 1 {
            key[1..].iter_mut().for_each(|byte| *byte = !*byte);
            // Of two that begin alike the longer one is further from zero.
            key.push(0xff);
        }
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digits(weight: i16, sign: u16, digits: &[i16]) -> Vec<u8> {
        let head = [digits.len() as u16, weight.cast_unsigned(), sign, 0];
        let words = head.into_iter().chain(digits.iter().map(|digit| digit.cast_unsigned()));
        words.flat_map(u16::to_be_bytes).collect()
    }

    #[test]
    fn values_are_in_the_order_of_postgresql() {
        let int4 = |value: i32| value.to_be_bytes().to_vec();
        let float8 = |value: f64| value.to_be_bytes().to_vec();
        let (plus, minus) = (0, 0x4000);
        let interval = |us: i64, days: i32, months: i32| {
            [&us.to_be_bytes()[..], &days.to_be_bytes(), &months.to_be_bytes()].concat()
        };
        let ascending: [(&str, Vec<Vec<u8>>); 8] = [
            ("int4", vec![int4(i32::MIN), int4(-10), int4(-9), int4(0), int4(9), int4(10), int4(100)]),
            ("timestamptz", vec![(-1_i64).to_be_bytes().to_vec(), 2_i64.to_be_bytes().to_vec()]),
            (
                "float8",
                [f64::NEG_INFINITY, -2.5, -1.0, 0.0, 1e-9, 3.0, f64::INFINITY, f64::NAN].map(float8).to_vec(),
            ),
            (
                "numeric",
                vec![
                    digits(0, 0xf000, &[]),
                    digits(1, minus, &[1]),
                    digits(0, minus, &[2, 5000]),
                    digits(0, minus, &[2]),
                    digits(-1, minus, &[1]),
                    digits(0, plus, &[]),
                    digits(-1, plus, &[1]),
                    digits(0, plus, &[9]),
                    digits(0, plus, &[9, 1]),
                    digits(0, plus, &[10]),
                    digits(1, plus, &[1]),
                    digits(0, 0xd000, &[]),
                    digits(0, 0xc000, &[]),
                ],
            ),
            ("interval", vec![interval(0, -1, 0), interval(1, 0, 0), interval(0, 29, 0), interval(0, 0, 1)]),
            ("text", [&b"B"[..], b"a", b"aa", b"b"].map(<[u8]>::to_vec).to_vec()),
            ("inet", vec![vec![2, 32, 0, 4, 9, 0, 0, 1], vec![2, 32, 0, 4, 10, 0, 0, 1]]),
            ("varbit", vec![vec![0, 0, 0, 9, 0x01, 0x80], vec![0, 0, 0, 1, 0x80]]),
        ];
        for (base_type, values) in ascending {
            let placed: Vec<Order> = values.iter().map(|value| of_type(base_type, value)).collect();
            assert!(placed.is_sorted_by(|left, right| left < right), "{base_type}: {placed:?}");
        }
    }

    #[test]
    fn ranges_arrays_and_nulls_have_their_place() {
        let bound = |value: i32| [4_i32.to_be_bytes(), value.to_be_bytes()].concat();
        let range = |flags: u8, bounds: &[i32]| {
            [vec![flags], bounds.iter().flat_map(|value| bound(*value)).collect()].concat()
        };
        let ranges =
            [range(1, &[]), range(8, &[3]), range(2, &[9, 11]), range(2, &[10, 11]), range(18, &[10])];
        let placed: Vec<Order> = ranges.iter().map(|value| of_type("range(int4)", value)).collect();
        assert!(placed.is_sorted_by(|left, right| left < right), "{placed:?}");
        let array = |elements: &[i32]| {
            let head = [1, 0, 23, elements.len() as i32, 1].into_iter().flat_map(i32::to_be_bytes);
            head.chain(elements.iter().flat_map(|value| bound(*value))).collect::<Vec<u8>>()
        };
        assert!(of_type("int4[]", &array(&[-1, 5])) < of_type("int4[]", &array(&[9])));
        assert!(of_type("int4[]", &array(&[9])) < of_type("int4[]", &array(&[10])));
        let column = Column::binary("a", "int4");
        assert!(order(&column, Some(&[0x7f; 4])) < order(&column, None));
        assert_eq!(of_type("int4", &[1]), Order::Bytes(vec![1]), "a malformed value has a place too");
    }
}
