//! Patterns for names: `*`, `?`, `[class]`, and a backslash before what is meant as it is.
//!
//! `*` stands for any text, `?` for one letter. A class is letters and ranges (`[a-z0]`), with a `^` at its
//! beginning all others. There are no braces and no `**`: what is matched is a name, never a path.

/// A pattern, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob(Vec<Token>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    AnyText,
    AnyLetter,
    Letter(char),
    Class {
        is_negated: bool,
        ranges: Vec<(char, char)>,
    },
}

impl Token {
    fn takes(&self, letter: char) -> bool {
        match self {
            Self::AnyText => false,
            Self::AnyLetter => letter != '/',
            Self::Letter(wanted) => *wanted == letter,
            Self::Class { is_negated, ranges } => {
                ranges
                    .iter()
                    .any(|(low, high)| (*low..=*high).contains(&letter))
                    != *is_negated
            }
        }
    }
}

impl Glob {
    /// None for a malformed pattern: an open or empty class, a backslash at the end.
    pub fn parse(pattern: &str) -> Option<Self> {
        let mut tokens = Vec::new();
        let mut letters = pattern.chars().peekable();
        while let Some(letter) = letters.next() {
            tokens.push(match letter {
                '*' => Token::AnyText,
                '?' => Token::AnyLetter,
                '\\' => Token::Letter(letters.next()?),
                '[' => {
                    let is_negated = letters.next_if_eq(&'^').is_some();
                    let mut ranges = Vec::new();
                    while ranges.is_empty() || letters.next_if_eq(&']').is_none() {
                        let low = class_letter(&mut letters)?;
                        let high = match letters.next_if_eq(&'-') {
                            Some(_) => class_letter(&mut letters)?,
                            None => low,
                        };
                        ranges.push((low, high));
                    }
                    Token::Class { is_negated, ranges }
                }
                _ => Token::Letter(letter),
            });
        }
        Some(Self(tokens))
    }

    /// Whether the whole name matches. Takes time proportional to pattern times name at most.
    pub fn matches(&self, name: &str) -> bool {
        let name: Vec<char> = name.chars().collect();
        let (mut token, mut letter) = (0, 0);
        // The last `*`, and how far it has been taken to reach. An earlier one need never be looked at again.
        let mut last_star: Option<(usize, usize)> = None;
        loop {
            match (self.0.get(token), name.get(letter)) {
                (None, None) => return true,
                (Some(Token::AnyText), _) => {
                    last_star = Some((token, letter));
                    token += 1;
                    continue;
                }
                (Some(wanted), Some(found)) if wanted.takes(*found) => {
                    token += 1;
                    letter += 1;
                    continue;
                }
                _ => {}
            }
            match &mut last_star {
                Some((star, reach)) if *reach < name.len() && name[*reach] != '/' => {
                    *reach += 1;
                    token = *star + 1;
                    letter = *reach;
                }
                _ => return false,
            }
        }
    }
}

fn class_letter(letters: &mut impl Iterator<Item = char>) -> Option<char> {
    match letters.next()? {
        '\\' => letters.next(),
        '-' | ']' => None,
        letter => Some(letter),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_kind_of_token_matches_what_it_should() {
        let table = [
            ("*.py", "a.py", true),
            ("*.py", ".py", true),
            ("*.py", "a.pyc", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("?", "\u{e9}", true),
            ("?", "", false),
            ("", "", true),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("[^a-c]x", "dx", true),
            ("[\\]]", "]", true),
            ("\\*", "*", true),
            ("\\*", "x", false),
            ("*.{a,b}", "x.a", false),
            ("A", "a", false),
            ("a/b", "b", false),
            ("**", "anything", true),
        ];
        for (pattern, name, wanted) in table {
            let glob = Glob::parse(pattern).unwrap();
            assert_eq!(glob.matches(name), wanted, "{pattern:?} on {name:?}");
        }
    }

    #[test]
    fn malformed_patterns_are_told_apart() {
        for pattern in ["[", "[]", "[a", "[a-]", "[-a]", "a\\", "[^]"] {
            assert_eq!(Glob::parse(pattern), None, "{pattern:?}");
        }
    }

    #[test]
    fn a_pattern_of_many_stars_is_quick() {
        let glob = Glob::parse(&"*a".repeat(500)).unwrap();
        assert!(!glob.matches(&format!("{}b", "a".repeat(5000))));
    }

    proptest! {
        #[test]
        fn an_escaped_name_matches_itself_alone(name in "[a*?\\[\\]\\\\^-]{0,8}", other in "[a*?]{0,8}") {
            let escaped: String = name.chars().flat_map(|letter| ['\\', letter]).collect();
            let glob = Glob::parse(&escaped).unwrap();
            prop_assert!(glob.matches(&name));
            prop_assert_eq!(glob.matches(&other), name == other);
        }

        #[test]
        fn no_pattern_panics(pattern in ".{0,20}", name in ".{0,20}") {
            if let Some(glob) = Glob::parse(&pattern) {
                glob.matches(&name);
            }
        }
    }
}
