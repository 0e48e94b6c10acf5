//! A command line as a shell splits it: enough to see whose exit status counts.

/// Operator between a simple command and the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    /// `;` or a line's end.
    Then,
    /// `&`
    Background,
    /// `&&`
    And,
    /// `||`
    Or,
    /// `|`
    Pipe,
    /// The end of the line.
    End,
}

/// A simple command, and what follows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Simple {
    /// Its words, without quotes.
    pub(crate) words: Vec<String>,
    pub(crate) next: Operator,
}

impl Simple {
    /// The program's name, without its directory.
    pub(crate) fn program(&self) -> &str {
        let first = self.words.first().map_or("", String::as_str);
        first.rsplit('/').next().unwrap_or_default()
    }
}

/// Splits a command line. Redirections are words; what is in parentheses or quotes is not split.
pub(crate) fn split(line: &str) -> Vec<Simple> {
    let mut commands = Vec::new();
    let (mut words, mut word, mut in_word) = (Vec::new(), String::new(), false);
    let mut characters = line.chars().peekable();
    let mut quote = None;
    let mut depth = 0_usize;
    while let Some(c) = characters.next() {
        if let Some(end) = quote {
            match c {
                _ if c == end => quote = None,
                '\\' if end == '"' => word.extend(characters.next()),
                _ => word.push(c),
            }
            continue;
        }
        if c == '#' && !in_word && depth == 0 {
            // A comment, to the end of the line.
            while characters.next_if(|c| *c != '\n').is_some() {}
            continue;
        }
        let operator = match c {
            ';' | '\n' => Some(Operator::Then),
            '&' if characters.next_if_eq(&'&').is_some() => Some(Operator::And),
            // `2>&1` and `&>file` are redirections.
            '&' if word.ends_with('>') || characters.peek() == Some(&'>') => None,
            '&' => Some(Operator::Background),
            '|' if characters.next_if_eq(&'|').is_some() => Some(Operator::Or),
            '|' => Some(Operator::Pipe),
            _ => None,
        };
        if let Some(next) = operator.filter(|_| depth == 0) {
            if in_word {
                words.push(std::mem::take(&mut word));
                in_word = false;
            }
            commands.push(Simple { words: std::mem::take(&mut words), next });
            continue;
        }
        match c {
            '\'' | '"' => {
                quote = Some(c);
                in_word = true;
            }
            '\\' => {
                word.extend(characters.next());
                in_word = true;
            }
            _ if c.is_whitespace() && depth == 0 => {
                if in_word {
                    words.push(std::mem::take(&mut word));
                    in_word = false;
                }
            }
            _ => {
                match c {
                    '(' => depth += 1,
                    ')' => depth = depth.saturating_sub(1),
                    _ => {}
                }
                word.push(c);
                in_word = true;
            }
        }
    }
    if in_word {
        words.push(word);
    }
    if !words.is_empty() {
        commands.push(Simple { words, next: Operator::End });
    }
    commands
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_split_as_a_shell_does() {
        let shown = |line: &str| {
            let each =
                split(line).into_iter().map(|simple| format!("{} {:?}", simple.words.join("_"), simple.next));
            each.collect::<Vec<_>>().join(" / ")
        };
        for (line, expected) in [
            ("", ""),
            ("cp %p /a/%f", "cp_%p_/a/%f End"),
            ("test ! -f \"/a b/%f\" && cp '%p' /a\\ b/%f", "test_!_-f_/a b/%f And / cp_%p_/a b/%f End"),
            ("a; true", "a Then / true End"),
            ("a;", "a Then"),
            ("a # ; true", "a End"),
            ("a || (b; c) 2>&1", "a Or / (b; c)_2>&1 End"),
            ("a | b & c", "a Pipe / b Background / c End"),
            ("sh -c 'a; true'", "sh_-c_a; true End"),
        ] {
            assert_eq!(shown(line), expected, "{line}");
        }
    }
}
