//! Known gaps between a drill and a real disaster, as whoever runs it states them.

use std::str::FromStr;

use jiff::civil::Date;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A known gap between this drill and a real disaster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Deviation {
    /// Description.
    pub text: String,
    /// Ticket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
    /// Owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Due date.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<String>,
}

impl Deviation {
    /// The deviation in one line: `text (ticket OPS-7, owner Ada, due 2026-12-31)`.
    pub fn in_words(&self) -> String {
        let Self { text, ticket, owner, due } = self;
        let parts = [("ticket", ticket), ("owner", owner), ("due", due)];
        let parts: Vec<String> =
            parts.iter().filter_map(|(name, value)| Some(format!("{name} {}", value.as_ref()?))).collect();
        match parts.is_empty() {
            true => text.clone(),
            false => format!("{text} ({})", parts.join(", ")),
        }
    }
}

/// `TEXT; ticket=OPS-7; owner=Ada; due=2026-12-31`, in which all but the text may be absent.
impl FromStr for Deviation {
    type Err = String;

    fn from_str(given: &str) -> Result<Self, String> {
        let mut parts = given.split(';').map(str::trim);
        let mut deviation = Self { text: parts.next().unwrap_or_default().to_owned(), ..Self::default() };
        if deviation.text.is_empty() {
            return Err("expected a description, as in \"network not cut; ticket=OPS-7\"".to_owned());
        }
        for part in parts {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let field = match name.trim() {
                "ticket" => &mut deviation.ticket,
                "owner" => &mut deviation.owner,
                "due" => &mut deviation.due,
                other => {
                    return Err(format!("expected ticket=, owner= or due= after the text, not {other:?}"));
                }
            };
            let value = value.trim();
            if value.is_empty() || field.replace(value.to_owned()).is_some() {
                return Err(format!("expected one value of {}", name.trim()));
            }
        }
        match deviation.due.as_ref().map(|due| due.parse::<Date>()) {
            Some(Err(_)) => Err("expected a date for due, as in due=2026-12-31".to_owned()),
            _ => Ok(deviation),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deviation_is_read_from_one_line_and_shown_in_one() {
        let whole: Deviation = "network not cut; ticket=OPS-7;owner = Ada ; due=2026-12-31".parse().unwrap();
        assert_eq!(whole.in_words(), "network not cut (ticket OPS-7, owner Ada, due 2026-12-31)");
        let short: Deviation = "network not cut".parse().unwrap();
        assert_eq!(short, Deviation { text: "network not cut".to_owned(), ..Deviation::default() });
        assert_eq!(short.in_words(), "network not cut");
        for wrong in
            ["", "; owner=Ada", "a; b", "a; who=Ada", "a; owner=", "a; owner=A; owner=B", "a; due=soon"]
        {
            wrong.parse::<Deviation>().unwrap_err();
        }
    }
}
