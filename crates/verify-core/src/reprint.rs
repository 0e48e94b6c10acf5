//! Expressions printed again: PostgreSQL prints them from parse trees, and after a dump and a restore many a tree reads otherwise,
//! though it means the same. Two texts that one server prints alike mean the same.

use crate::definition::Definition;
use crate::table::TableName;

/// An expression or query to print again as the restored server prints it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Printed<'a> {
    /// Its text as a server printed it.
    pub text: &'a str,
    /// Where its names lead.
    pub context: Context<'a>,
}

/// Where the names in an expression lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context<'a> {
    /// To the columns of a table, or nowhere: a value, or several with commas.
    Columns(Option<&'a TableName>),
    /// To the rows `old` and `new` of a table.
    Trigger(&'a TableName),
    /// To `VALUE`, of this type.
    Domain(&'a str),
    /// A query of its own.
    Query,
    /// The body of a function in SQL, with these arguments and this result.
    Body {
        /// As `pg_get_function_identity_arguments` formats them.
        arguments: &'a str,
        /// As `pg_get_function_result` formats it.
        result: &'a str,
    },
    /// A rule of a relation.
    Rule {
        /// The relation.
        of: &'a TableName,
        /// Its name in the rule.
        printed: &'a str,
    },
}

/// What a server makes of an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reprint {
    /// The expression as it prints it.
    Text(String),
    /// It refuses the expression, for this reason.
    Refused(String),
    /// It could not be asked, for this reason.
    Unknown(String),
}

impl<'a> Context<'a> {
    /// The context of an attribute that is printed from a parse tree; `None` for others, whose text is the same everywhere.
    pub(crate) fn of(definition: &'a Definition, attribute: &str) -> Option<Self> {
        let of = definition.of.as_ref();
        match (definition.object_type.as_str(), attribute) {
            ("domain constraint", "check") => definition.attribute("base type").map(Self::Domain),
            ("trigger", "when") => of.map(Self::Trigger),
            ("rule", "definition") => {
                Some(Self::Rule { of: of?, printed: definition.identity.split_once(" on ")?.1 })
            }
            ("view" | "materialized view", "query") => Some(Self::Query),
            (_, "sql body") => Some(Self::Body {
                arguments: definition.attribute("arguments").unwrap_or_default(),
                result: definition.attribute("result")?,
            }),
            (_, "check" | "generated as" | "expressions" | "where" | "using" | "with check" | "defaults") => {
                Some(Self::Columns(of))
            }
            // It holds no columns.
            (_, "default") => Some(Self::Columns(None)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_expression_has_the_context_in_which_it_is_printed_again() {
        let of = TableName::new("public", "t");
        let context = |object_type: &str, attribute: &str| {
            let mut definition = Definition {
                object_type: object_type.to_owned(),
                identity: "r on public.t".to_owned(),
                of: Some(of.clone()),
                ..Definition::default()
            };
            definition.set("base type", "integer");
            definition.set("result", "integer");
            Context::of(&definition, attribute).map(|context| format!("{context:?}"))
        };
        let expected = |context: Context<'_>| Some(format!("{context:?}"));
        assert_eq!(context("domain constraint", "check"), expected(Context::Domain("integer")));
        assert_eq!(context("table constraint", "check"), expected(Context::Columns(Some(&of))));
        assert_eq!(context("trigger", "when"), expected(Context::Trigger(&of)));
        let rule = Context::Rule { of: &of, printed: "public.t" };
        assert_eq!(context("rule", "definition"), expected(rule));
        assert_eq!(context("view", "query"), expected(Context::Query));
        assert_eq!(context("materialized view", "query"), expected(Context::Query));
        let body = Context::Body { arguments: "", result: "integer" };
        assert_eq!(context("function", "sql body"), expected(body));
        for attribute in ["generated as", "expressions", "where", "using", "with check", "defaults"] {
            assert_eq!(context("index", attribute), expected(Context::Columns(Some(&of))), "{attribute}");
        }
        assert_eq!(context("table column", "default"), expected(Context::Columns(None)));
        assert_eq!(context("function", "body"), None);
    }
}
