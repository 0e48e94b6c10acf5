//! Pages: one self-contained file each, readable without scripts, on paper and in black and white.
//!
//! Names of databases, tables and keys come from restored databases and are hostile: all text is escaped by the template.

mod chart;
mod history;
mod run;

use maud::{DOCTYPE, Markup, PreEscaped, html};
use verify_core::finding::Verdict;

pub use history::{history, summaries};
pub use run::run;

/// The stylesheet of all pages.
pub const STYLESHEET: &str = include_str!("style.css");

/// A complete page with its stylesheet in it.
pub fn page(title: &str, body: &Markup) -> String {
    let head = html! { style { (PreEscaped(STYLESHEET)) } };
    frame(title, &head, body).into_string()
}

/// A complete page; `head` has the stylesheet, or a link to it.
pub fn frame(title: &str, head: &Markup, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                (head)
            }
            body { (body) }
        }
    }
}

/// A verdict as a word with a mark, so that it needs no colour.
pub fn badge(verdict: Verdict) -> Markup {
    let (mark, class) = match verdict {
        Verdict::Pass => ("✓", "pass"),
        Verdict::Inconclusive => ("?", "inconclusive"),
        Verdict::Fail => ("✗", "fail"),
    };
    html! { span class=(format!("badge {class}")) { (mark) " " (verdict) } }
}
