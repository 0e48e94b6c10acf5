//! Definitions: what the catalogue says of each object of a database, besides its rows.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use crate::digest::to_hex;
use crate::finding::Severity;
use crate::table::{TableName, shown_text};

/// Characters of a longer value that are kept beside its hash.
const KEPT_CHARACTERS: usize = 500;
/// Values up to this many bytes are kept whole.
const VALUE_BYTES_MAX: usize = 64 << 10;

/// The definition of one object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Definition {
    /// Type of the object as `pg_identify_object` names it, for example `table column`.
    #[serde(rename = "type")]
    pub object_type: String,
    /// Its identity as `pg_identify_object` formats it, quoted and with its schema.
    pub identity: String,
    /// The relation that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<TableName>,
    /// Its attributes by name; one with its default value is absent.
    pub attributes: Attributes,
    /// Its attributes at the end of the capture and the backup, where they are others: a backup may hold either.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub later: Option<Attributes>,
    /// True if it was created or dropped meanwhile.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub may_be_absent: bool,
    /// The reason why neither its definition nor those of what belongs to it could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unread: Option<String>,
}

/// Attributes by name. Most objects have a few, and a database has many objects: a map would take several times the memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Sorted by name.
    sorted: Vec<(Box<str>, Box<str>)>,
}

/// Whose definitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// The objects of the database.
    Database,
    /// What belongs to the whole cluster, and the database as a whole: roles, tablespaces, settings, encoding, locale.
    Cluster,
}

/// The definitions of a database, or the reason why they are not known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Definitions {
    /// Sorted by type and identity.
    Read(Vec<Definition>),
    /// They could not be read, for this reason.
    Unread(String),
}

impl Definition {
    /// Order of definitions.
    pub fn key(&self) -> (&str, &str) {
        (&self.object_type, &self.identity)
    }

    /// Effect of its absence, if it could not be read: somebody refreshes a materialised view, which locks the views of it too, and that a
    /// table was dropped is found with its rows.
    pub(crate) fn unread_severity(&self) -> Severity {
        if self.object_type == "table" && !self.may_be_absent {
            Severity::Inconclusive
        } else {
            Severity::Notice
        }
    }

    /// An attribute, if it has not its default value.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.get(name)
    }

    /// Sets an attribute. Of a value of more than 64 KiB, its beginning, its length and its SHA-256 are kept.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.attributes.set(name, bounded(value));
    }
}

impl Attributes {
    /// The value of an attribute.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.place(name).ok().map(|place| &*self.sorted[place].1)
    }

    /// The names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.sorted.iter().map(|(name, _)| &**name)
    }

    fn set(&mut self, name: &str, value: String) {
        match self.place(name) {
            Ok(place) => self.sorted[place].1 = value.into(),
            Err(place) => {
                self.sorted.reserve_exact(1);
                self.sorted.insert(place, (name.into(), value.into()));
            }
        }
    }

    fn place(&self, name: &str) -> Result<usize, usize> {
        self.sorted.binary_search_by(|(known, _)| (**known).cmp(name))
    }
}

impl FromIterator<(String, String)> for Attributes {
    fn from_iter<T: IntoIterator<Item = (String, String)>>(attributes: T) -> Self {
        let mut all = Self::default();
        attributes.into_iter().for_each(|(name, value)| all.set(&name, value));
        all
    }
}

impl Serialize for Attributes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.sorted.iter().map(|(name, value)| (name, value)))
    }
}

impl<'de> Deserialize<'de> for Attributes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(BTreeMap::<String, String>::deserialize(deserializer)?.into_iter().collect())
    }
}

impl JsonSchema for Attributes {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Attributes".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        BTreeMap::<String, String>::json_schema(generator)
    }
}

impl Definitions {
    /// Number of definitions that were read.
    pub fn count(&self) -> u64 {
        match self {
            Self::Read(definitions) => (definitions.len() - self.unread().count()) as u64,
            Self::Unread(_) => 0,
        }
    }

    /// Those that could not be read.
    pub(crate) fn unread(&self) -> impl Iterator<Item = &Definition> {
        let all = match self {
            Self::Read(definitions) => &definitions[..],
            Self::Unread(_) => &[],
        };
        all.iter().filter(|definition| definition.unread.is_some())
    }

    /// Notes how the definitions of `now` differ, which a backup may hold as well.
    pub(crate) fn changed_meanwhile(&mut self, now: Self) {
        let (Self::Read(then), Self::Read(mut now)) = (&mut *self, now) else { return };
        let unread: BTreeSet<TableName> = now
            .iter()
            .chain(&*then)
            .filter(|definition| definition.unread.is_some())
            .filter_map(|definition| definition.of.clone())
            .collect();
        for definition in then.iter_mut() {
            match now.binary_search_by(|later| later.key().cmp(&definition.key())) {
                Err(_) if definition.of.as_ref().is_some_and(|of| unread.contains(of)) => {}
                Err(_) => definition.may_be_absent = true,
                Ok(place) => {
                    let later = &mut now[place];
                    if later.attributes != definition.attributes && later.unread.is_none() {
                        definition.later = Some(std::mem::take(&mut later.attributes));
                    }
                }
            }
        }
        now.retain(|later| then.binary_search_by(|definition| definition.key().cmp(&later.key())).is_err());
        then.extend(now.into_iter().map(|created| Definition { may_be_absent: true, ..created }));
        then.sort_by(|a, b| a.key().cmp(&b.key()));
    }
}

impl fmt::Display for Definition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.identity.as_str() {
            "" => f.write_str(&self.object_type),
            identity => write!(f, "{} {}", self.object_type, shown_text(identity)),
        }
    }
}

fn bounded(value: &str) -> String {
    if value.len() <= VALUE_BYTES_MAX {
        return value.to_owned();
    }
    let beginning: String = value.chars().take(KEPT_CHARACTERS).collect();
    let hash = to_hex(&Sha256::digest(value.as_bytes()));
    format!("{beginning}… ({} bytes, SHA-256 {hash})", value.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_value_is_kept_as_its_hash() {
        let mut definition = Definition {
            object_type: "function".to_owned(),
            identity: "public.f()".to_owned(),
            ..Definition::default()
        };
        let long = "é".repeat(VALUE_BYTES_MAX);
        definition.set("body", &long);
        let kept = definition.attribute("body").unwrap();
        assert!(kept.len() < 1_200 && kept.contains("131072 bytes, SHA-256 "), "{kept}");
        definition.set("body", &format!("{long}x"));
        assert!(definition.attribute("body").unwrap().contains("131073 bytes"));
        definition.set("body", "short");
        assert_eq!(definition.attribute("body"), Some("short"));
    }
}
