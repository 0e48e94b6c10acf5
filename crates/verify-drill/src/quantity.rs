//! Numbers as text.

const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];

/// Milliseconds as seconds: `1.234`.
pub fn seconds(ms: u64) -> String {
    format!("{}.{:03}", ms / 1_000, ms % 1_000)
}

/// `301,223`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 table`, `41 tables`.
pub fn counted(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", count(number))
}

/// `512 B`, `12.3 MiB`.
pub fn bytes(number: u64) -> String {
    let mut tenths = u128::from(number) * 10;
    let mut unit = "B";
    for larger in UNITS {
        if tenths < 10_240 {
            break;
        }
        tenths /= 1_024;
        unit = larger;
    }
    if unit == "B" {
        format!("{number} B")
    } else {
        format!("{}.{} {unit}", count((tenths / 10) as u64), tenths % 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        for (number, shown) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (301_223, "301,223"),
            (u64::MAX, "18,446,744,073,709,551,615"),
        ] {
            assert_eq!(count(number), shown);
        }
        assert_eq!((counted(1, "row"), counted(2, "row")), ("1 row".to_owned(), "2 rows".to_owned()));
    }

    #[test]
    fn bytes_have_a_unit() {
        for (number, shown) in [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_024, "1.0 KiB"),
            (12_900_000, "12.3 MiB"),
            (2 << 40, "2.0 TiB"),
            (u64::MAX, "16,383.9 PiB"),
        ] {
            assert_eq!(bytes(number), shown);
        }
    }
}
