//! Words of an instruction: quotes, escapes, variables.
//!
//! The rules are those of the Dockerfile reference, which are a shell's only in part: a variable that is not set
//! is empty, single quotes keep everything as it is, and nothing is split after it was expanded.

use std::fmt::Write as _;

/// Longest text that a word may become. `ENV A=$A$A` doubles with each line.
pub const EXPANDED_MAX_BYTES: usize = 32 << 10;

/// Deepest nesting of `${A:-${B:-…}}`.
const NESTING_MAX: usize = 16;

/// Looks values up, and knows which character escapes.
pub struct Words<'a> {
    pub escape: char,
    pub lookup: &'a dyn Fn(&str) -> Option<String>,
}

impl std::fmt::Debug for Words<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Words")
            .field("escape", &self.escape)
            .finish_non_exhaustive()
    }
}

impl Words<'_> {
    /// A word with its quotes removed and its variables replaced.
    ///
    /// # Errors
    /// The reason in words: a quote or brace that is not closed, an unknown modifier, a variable that must be set,
    /// or a result that is too long.
    pub fn expand(&self, word: &str) -> Result<String, String> {
        self.read(word, false)
    }

    /// A text with its variables replaced; quotes mean nothing in it and stay.
    ///
    /// # Errors
    /// As for [`Words::expand`].
    pub fn expand_text(&self, text: &str) -> Result<String, String> {
        let mut out = String::new();
        // Line by line: the bound is for one word.
        for line in text.split_inclusive('\n') {
            out.push_str(&self.read(line, true)?);
        }
        Ok(out)
    }

    fn read(&self, word: &str, keeps_quotes: bool) -> Result<String, String> {
        let mut reader = Reader {
            words: self,
            left: word.chars().peekable(),
            depth: 0,
            keeps_quotes,
        };
        reader.until(None)
    }
}

struct Reader<'a, 'w> {
    words: &'a Words<'w>,
    left: std::iter::Peekable<std::str::Chars<'a>>,
    depth: usize,
    keeps_quotes: bool,
}

impl Reader<'_, '_> {
    /// Reads up to the end, or up to `end`, which is taken too.
    fn until(&mut self, end: Option<char>) -> Result<String, String> {
        let mut out = String::new();
        loop {
            let Some(letter) = self.left.next() else {
                return match end {
                    None => Ok(out),
                    Some(end) => Err(format!("a {end:?} is missing")),
                };
            };
            match letter {
                letter if Some(letter) == end => return Ok(out),
                '\'' | '"' if self.keeps_quotes => out.push(letter),
                '\'' => self.single_quoted(&mut out)?,
                '"' => self.double_quoted(&mut out)?,
                '$' => self.variable(&mut out)?,
                letter if letter == self.words.escape => match self.left.next() {
                    Some(next) if self.keeps_quotes && next != '$' && next != letter => {
                        out.extend([letter, next]);
                    }
                    Some(next) => out.push(next),
                    None => out.push(letter),
                },
                letter => out.push(letter),
            }
            bounded(&out)?;
        }
    }

    fn single_quoted(&mut self, out: &mut String) -> Result<(), String> {
        loop {
            match self.left.next() {
                Some('\'') => return Ok(()),
                Some(letter) => out.push(letter),
                None => return Err("a single quote is not closed".to_owned()),
            }
        }
    }

    fn double_quoted(&mut self, out: &mut String) -> Result<(), String> {
        loop {
            match self.left.next() {
                Some('"') => return Ok(()),
                Some('$') => self.variable(out)?,
                Some(letter) if letter == self.words.escape => match self.left.peek().copied() {
                    Some(next) if next == '"' || next == '$' || next == self.words.escape => {
                        self.left.next();
                        out.push(next);
                    }
                    _ => out.push(letter),
                },
                Some(letter) => out.push(letter),
                None => return Err("a double quote is not closed".to_owned()),
            }
            bounded(out)?;
        }
    }

    /// Behind the dollar.
    fn variable(&mut self, out: &mut String) -> Result<(), String> {
        if self.left.next_if_eq(&'{').is_none() {
            let name = self.name();
            if name.is_empty() {
                // Arguments of a shell do not exist here; anything else is a plain dollar.
                match self
                    .left
                    .next_if(|c| matches!(c, '0'..='9' | '@' | '*' | '#' | '?'))
                {
                    Some(_) => {}
                    None => out.push('$'),
                }
                return Ok(());
            }
            if let Some(value) = (self.words.lookup)(&name) {
                out.push_str(&value);
            }
            return Ok(());
        }
        self.depth += 1;
        if self.depth > NESTING_MAX {
            return Err("braces are nested too deeply".to_owned());
        }
        let name = self.name();
        if name.is_empty() {
            return Err("the name of a variable is missing behind \"${\"".to_owned());
        }
        let value = (self.words.lookup)(&name);
        let mut modifier = self.left.next();
        let counts_empty = modifier == Some(':');
        if counts_empty {
            modifier = self.left.next();
        }
        let has_value = value
            .as_ref()
            .is_some_and(|value| !counts_empty || !value.is_empty());
        match modifier {
            Some('}') if !counts_empty => out.push_str(value.as_deref().unwrap_or_default()),
            Some('-') => {
                let otherwise = self.until(Some('}'))?;
                out.push_str(if has_value {
                    value.as_deref().unwrap_or_default()
                } else {
                    &otherwise
                });
            }
            Some('+') => {
                let instead = self.until(Some('}'))?;
                if has_value {
                    out.push_str(&instead);
                }
            }
            Some('?') => {
                let message = self.until(Some('}'))?;
                if !has_value {
                    let mut text = format!("the variable {name} must be set");
                    if !message.is_empty() {
                        let _ = write!(text, ": {message}");
                    }
                    return Err(text);
                }
                out.push_str(value.as_deref().unwrap_or_default());
            }
            Some(other) => {
                return Err(format!(
                    "the modifier {other:?} of the variable {name} is not supported"
                ));
            }
            None => return Err("a '}' is missing".to_owned()),
        }
        self.depth -= 1;
        bounded(out)
    }

    fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(letter) = self.left.next_if(|c| {
            *c == '_' || c.is_ascii_alphabetic() || (!name.is_empty() && c.is_ascii_digit())
        }) {
            name.push(letter);
        }
        name
    }
}

fn bounded(text: &str) -> Result<(), String> {
    if text.len() > EXPANDED_MAX_BYTES {
        return Err(format!(
            "a word becomes longer than {EXPANDED_MAX_BYTES} bytes"
        ));
    }
    Ok(())
}

/// Splits at white space that is neither quoted nor escaped; quotes and escapes stay where they are.
pub fn split(text: &str, escape: char) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter == escape && quote != Some('\'') {
            word.push(letter);
            word.extend(letters.next());
            continue;
        }
        match quote {
            Some(open) => {
                if letter == open {
                    quote = None;
                }
                word.push(letter);
            }
            None if letter.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            None => {
                if letter == '"' || letter == '\'' {
                    quote = Some(letter);
                }
                word.push(letter);
            }
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// Reads `NAME=value …`, or the old form `NAME value to the end`. Values are not expanded yet.
///
/// # Errors
/// The reason in words.
pub fn pairs(text: &str, escape: char) -> Result<Vec<(String, String)>, String> {
    let words = split(text, escape);
    let Some(first) = words.first() else {
        return Err("needs a name and a value".to_owned());
    };
    if !first.contains('=') {
        let (name, value) = text
            .trim()
            .split_once(char::is_whitespace)
            .ok_or_else(|| format!("needs a value for {first}"))?;
        return Ok(vec![(name.to_owned(), value.trim_start().to_owned())]);
    }
    words
        .into_iter()
        .map(|word| match word.split_once('=') {
            Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
            _ => Err(format!("{word:?} is not of the form NAME=value")),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use proptest::prelude::*;

    use super::*;

    fn expand(word: &str) -> Result<String, String> {
        let lookup = |name: &str| match name {
            "A" => Some("one".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        let words = Words {
            escape: '\\',
            lookup: &lookup,
        };
        words.expand(word)
    }

    #[test]
    fn variables_quotes_and_escapes_mean_what_the_reference_says() {
        for (word, meant) in [
            ("$A/x", "one/x"),
            ("${A}x", "onex"),
            ("$Ax", ""),
            (r"\$A", "$A"),
            (r#""$A b""#, "one b"),
            ("'$A b'", "$A b"),
            (r#""a\"b\n""#, r#"a"b\n"#),
            ("${B:-x$A}", "xone"),
            ("${EMPTY:-x}", "x"),
            ("${EMPTY-x}", ""),
            ("${A:+x}", "x"),
            ("${B+x}", ""),
            ("${EMPTY+x}", "x"),
            ("${A:?no}", "one"),
            ("a$", "a$"),
            ("$1b", "b"),
            ("a\\", "a\\"),
            ("${B:-'}'}", "}"),
        ] {
            assert_eq!(expand(word).as_deref(), Ok(meant), "{word}");
        }
    }

    #[test]
    fn what_is_not_closed_or_not_known_is_an_error() {
        for word in ["'a", "\"a", "${A", "${}", "${A%x}", "${B:?must}", "${A:x}"] {
            assert!(expand(word).is_err(), "{word}");
        }
        let deep = "${B:-".repeat(40);
        assert!(expand(&deep).is_err());
    }

    #[test]
    fn pairs_come_in_two_forms() {
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(
            pairs("A=1 B='x y' C=a\\ b", '\\').unwrap(),
            [pair("A", "1"), pair("B", "'x y'"), pair("C", "a\\ b")]
        );
        assert_eq!(pairs("A b  c ", '\\').unwrap(), [pair("A", "b  c")]);
        assert!(pairs("A", '\\').is_err());
        assert!(pairs("A=1 B", '\\').is_err());
    }

    proptest! {
        #[test]
        fn any_word_ends_within_its_bound(word in r#"[$A{}:+?"'\\ -]{0,200}"#) {
            if let Ok(text) = expand(&word) {
                prop_assert!(text.len() <= EXPANDED_MAX_BYTES);
            }
        }

        #[test]
        fn a_single_quoted_text_is_itself(text in "[^']{0,100}") {
            prop_assert_eq!(expand(&format!("'{text}'")), Ok(text));
        }

        #[test]
        fn splitting_loses_nothing_but_white_space(text in r#"[a "'\\]{0,60}"#) {
            let joined: String = split(&text, '\\').concat();
            let strip = |text: &str| text.replace(' ', "");
            prop_assert_eq!(strip(&joined), strip(&text));
        }
    }
}
