//! The key of a row in the few bytes that a sketch cell can carry.

use crate::digest::RowHash;
use crate::table::CellWidth;

/// The most bytes that a carried key can have, its length byte included.
pub const KEY_SLOT: usize = 84;

/// The first byte of a key that was too long to carry: 26 bytes of its hash follow.
const HASHED: u8 = 0xff;
/// The length byte of a NULL within a key (only where the whole row is the key).
const NULL: u8 = 0xff;
const HASHED_BYTES: usize = 26;

/// A row's key: a length, then per field one length byte and the field's bytes; or a hash of them.
///
/// Unused bytes are zero, so that equal keys are equal bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RowKey([u8; KEY_SLOT]);

impl RowKey {
    /// A key without fields yet.
    pub const EMPTY: Self = Self([0; KEY_SLOT]);

    /// Appends a field; false if the key becomes longer than `width` carries, after which it must be
    /// replaced by [`RowKey::hashed`].
    #[inline]
    pub fn push(&mut self, field: Option<&[u8]>, width: CellWidth) -> bool {
        let used = usize::from(self.0[0]);
        let bytes = field.unwrap_or_default();
        let end = used + 1 + bytes.len();
        if end > width.key_bytes() {
            return false;
        }
        self.0[1 + used] = field.map_or(NULL, |bytes| bytes.len() as u8);
        self.0[2 + used..=end].copy_from_slice(bytes);
        self.0[0] = end as u8;
        true
    }

    /// A key that was too long to carry, by a hash of it.
    pub fn hashed(hash: &RowHash) -> Self {
        let mut key = Self::EMPTY;
        key.0[0] = HASHED;
        key.0[1..=HASHED_BYTES].copy_from_slice(&hash.0[..HASHED_BYTES]);
        key
    }

    /// Returns whether only a hash of the key is stored.
    pub fn is_hashed(&self) -> bool {
        self.0[0] == HASHED
    }

    /// The fields, or `None` where only a hash is carried or the bytes are malformed.
    pub fn fields(&self) -> Option<Vec<Option<&[u8]>>> {
        let mut rest = self.carried()?;
        let mut fields = Vec::new();
        while let Some((&length, tail)) = rest.split_first() {
            if length == NULL {
                fields.push(None);
                rest = tail;
            } else {
                let (field, tail) = tail.split_at_checked(usize::from(length))?;
                fields.push(Some(field));
                rest = tail;
            }
        }
        Some(fields)
    }

    fn carried(&self) -> Option<&[u8]> {
        self.0[1..].get(..usize::from(self.0[0]))
    }

    /// The key as `LIMBS` integers of seven bytes each, the form in which cells add it.
    #[inline]
    pub(crate) fn limbs<const LIMBS: usize>(&self) -> [u64; LIMBS] {
        std::array::from_fn(|i| {
            let mut word = [0; 8];
            word[..7].copy_from_slice(&self.0[7 * i..7 * i + 7]);
            u64::from_le_bytes(word)
        })
    }

    /// The key whose limbs these are, if they are a key's.
    pub(crate) fn from_limbs(limbs: &[u64]) -> Option<Self> {
        let mut key = Self::EMPTY;
        for (bytes, limb) in key.0.chunks_exact_mut(7).zip(limbs) {
            if limb >> 56 != 0 {
                return None;
            }
            bytes.copy_from_slice(&limb.to_le_bytes()[..7]);
        }
        key.is_canonical().then_some(key)
    }

    /// The used bytes, length first: the form in which lists store it.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0[..=self.used()]
    }

    /// Reads a key from the front of `bytes`, and gives the rest.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let mut key = Self::EMPTY;
        key.0[0] = *bytes.first()?;
        let used = key.used();
        if used >= KEY_SLOT {
            return None;
        }
        let (own, rest) = bytes.split_at_checked(1 + used)?;
        key.0[..=used].copy_from_slice(own);
        key.is_canonical().then_some((key, rest))
    }

    fn used(&self) -> usize {
        if self.is_hashed() { HASHED_BYTES } else { usize::from(self.0[0]) }
    }

    fn is_canonical(&self) -> bool {
        let used = self.used();
        used < KEY_SLOT
            && self.0[1 + used..].iter().all(|&byte| byte == 0)
            && (self.is_hashed() || self.fields().is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_key_survives_limbs_and_bytes(fields in prop::collection::vec(prop::option::of(prop::collection::vec(any::<u8>(), 0..20)), 0..6)) {
            let mut key = RowKey::EMPTY;
            let fits = fields.iter().all(|field| key.push(field.as_deref(), CellWidth::Wide));
            if fits {
                let expected: Vec<Option<&[u8]>> = fields.iter().map(Option::as_deref).collect();
                prop_assert_eq!(key.fields().unwrap(), expected);
            } else {
                key = RowKey::hashed(&RowHash([7; 32]));
                prop_assert!(key.is_hashed());
                prop_assert_eq!(key.fields(), None);
            }
            prop_assert_eq!(RowKey::from_limbs(&key.limbs::<12>()), Some(key));
            let bytes = key.as_bytes();
            prop_assert_eq!(RowKey::from_bytes(bytes), Some((key, &[][..])));
            prop_assert_eq!(RowKey::from_bytes(&bytes[..bytes.len() - 1]), None);
        }

        #[test]
        fn keys_are_injective(a in prop::collection::vec(prop::option::of(prop::collection::vec(0_u8..3, 0..3)), 0..4), b in prop::collection::vec(prop::option::of(prop::collection::vec(0_u8..3, 0..3)), 0..4)) {
            let key = |fields: &[Option<Vec<u8>>]| {
                let mut key = RowKey::EMPTY;
                fields.iter().for_each(|field| assert!(key.push(field.as_deref(), CellWidth::Narrow)));
                key
            };
            prop_assert_eq!(key(&a) == key(&b), a == b);
        }
    }

    #[test]
    fn a_narrow_key_ends_at_27_bytes() {
        let mut key = RowKey::EMPTY;
        assert!(key.push(Some(&[1; 26]), CellWidth::Narrow));
        assert!(!key.push(Some(&[]), CellWidth::Narrow));
        assert!(key.push(None, CellWidth::Wide));
        assert_eq!(key.fields().unwrap(), [Some(&[1; 26][..]), None]);
    }
}
