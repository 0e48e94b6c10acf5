//! The digest of a table: the number of its rows and the sum of their hashes modulo 2²⁵⁶.
//!
//! Addition commutes, so any split, order or number of connections gives the same bytes, and unlike
//! XOR it counts duplicates. The construction is AdHash (Bellare and Micciancio, "A new paradigm for
//! collision-free hashing", 1997), here under a secret key that is drawn after the rows are fixed.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The hash function of a capture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HashAlgorithm {
    /// Keyed BLAKE3.
    #[default]
    Blake3,
    /// SHA-256 of the key and the row, for those whose rules ask for it.
    Sha256,
}

/// The 256-bit key of a capture, under which every row of it is hashed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HashKey(pub [u8; 32]);

/// The 256-bit keyed hash of one canonical row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowHash(pub [u8; 32]);

/// A sum of row hashes modulo 2²⁵⁶, little-endian words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum([u64; 4]);

impl Sum {
    /// A signed sum, modulo 2²⁵⁶.
    pub(crate) fn of_signed(sum: i128) -> Self {
        let sign = if sum < 0 { u64::MAX } else { 0 };
        Self([sum as u64, (sum >> 64) as u64, sign, sign])
    }

    /// Adds one row's hash.
    #[inline]
    pub fn add(&mut self, hash: &RowHash) {
        let mut words = [0; 4];
        for (word, bytes) in words.iter_mut().zip(hash.0.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        self.merge(&Sum(words));
    }

    /// Adds another part's sum.
    #[inline]
    pub fn merge(&mut self, other: &Sum) {
        let mut carry = false;
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            let (sum, first) = mine.overflowing_add(theirs);
            let (sum, second) = sum.overflowing_add(u64::from(carry));
            *mine = sum;
            carry = first | second;
        }
    }
}

/// A table in 40 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Digest {
    /// The number of rows, counted from the rows themselves.
    pub rows: u64,
    /// Σ hash(row) modulo 2²⁵⁶.
    pub sum: Sum,
}

impl Digest {
    /// Adds one row.
    #[inline]
    pub fn add(&mut self, hash: &RowHash) {
        self.rows += 1;
        self.sum.add(hash);
    }

    /// Adds another part of the same table.
    pub fn merge(&mut self, other: &Digest) {
        self.rows += other.rows;
        self.sum.merge(&other.sum);
    }
}

/// Bytes as lowercase hexadecimal.
pub fn to_hex(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// `N` bytes from exactly 2·`N` hexadecimal digits.
pub fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.as_chunks::<2>().0) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|word| f.write_str(&to_hex(&word.to_le_bytes())))
    }
}

impl fmt::Debug for HashKey {
    /// The key is in the manifest, but must not appear in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashKey(…)")
    }
}

/// Serialises a fixed array of bytes as hexadecimal text.
macro_rules! hexadecimal {
    ($type:ty, $size:literal, |$value:ident| $to_bytes:expr, |$bytes:ident| $from_bytes:expr) => {
        impl Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let $value = self;
                serializer.serialize_str(&to_hex(&$to_bytes))
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
                let $bytes: [u8; $size] = from_hex(&text).ok_or_else(|| {
                    serde::de::Error::custom(concat!("expected ", $size, " bytes in hexadecimal"))
                })?;
                Ok($from_bytes)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "pattern": concat!("^([0-9a-f]{2}){", $size, "}$") })
            }
        }
    };
}

hexadecimal!(HashKey, 32, |key| key.0, |bytes| HashKey(bytes));
hexadecimal!(
    Sum,
    32,
    |sum| {
        let mut bytes = [0; 32];
        for (chunk, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(sum.0) {
            *chunk = word.to_le_bytes();
        }
        bytes
    },
    |bytes| {
        let mut sum = Sum::default();
        sum.add(&RowHash(bytes));
        sum
    }
);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_sum_ignores_order_and_split(hashes in prop::collection::vec(any::<[u8; 32]>(), 0..40), cut in 0_usize..40) {
            let cut = cut.min(hashes.len());
            let digest = |hashes: &[[u8; 32]]| {
                let mut digest = Digest::default();
                hashes.iter().for_each(|hash| digest.add(&RowHash(*hash)));
                digest
            };
            let whole = digest(&hashes);
            let mut parts = digest(&hashes[cut..]);
            parts.merge(&digest(&hashes[..cut]));
            prop_assert_eq!(whole, parts);
            let json = serde_json::to_string(&whole).unwrap();
            prop_assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), whole);
        }
    }

    #[test]
    fn the_sum_carries_and_wraps() {
        let mut sum = Sum::default();
        sum.add(&RowHash([0xff; 32]));
        let mut one = [0; 32];
        one[0] = 1;
        sum.add(&RowHash(one));
        assert_eq!(sum, Sum::default());
        sum.add(&RowHash(one));
        assert_eq!(sum.to_string(), format!("01{}", "00".repeat(31)));
    }

    #[test]
    fn hexadecimal_is_strict() {
        assert_eq!(from_hex::<2>("0aFf"), Some([0x0a, 0xff]));
        for bad in ["", "0a", "0aff0", "0a+f", "0a f", "ää"] {
            assert_eq!(from_hex::<2>(bad), None, "{bad:?}");
        }
    }
}
