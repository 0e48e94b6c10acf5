//! Problems of a backup or restore as text.

use std::fmt::Write;

use super::style::{Ink, Style, sentence};
use verify_drill::problem::Problem;

/// Each on a line, with its hint below.
pub(super) fn problems(problems: &[Problem], style: &Style) -> String {
    let mut text = String::new();
    for problem in problems {
        let (ink, weight) = match problem.is_failure() {
            true => (Ink::Bad, "problem"),
            false => (Ink::Doubtful, "warning"),
        };
        let _ = writeln!(text, "{}: {}", style.paint(ink, weight), sentence(&problem.to_string()));
        if let Some(hint) = &problem.hint {
            let _ = writeln!(text, "    {}", sentence(hint));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_and_its_hint_are_printed_whole() {
        let words = "word ".repeat(60);
        let problem =
            Problem::failure("Backup nightly", format!("{words}ends")).with_hint(format!("{words}helps"));
        let text = problems(&[problem], &Style::plain());
        assert_eq!(text, format!("problem: Backup nightly {words}ends\n    {words}helps\n"));
    }
}
