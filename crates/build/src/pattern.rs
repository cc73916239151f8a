//! Patterns of `.dockerignore`: names with `*`, `?` and classes, and `**` for any number of folders.
//!
//! The grammar is that of Go's `filepath.Match`.

/// The parts of a path without what does not lead anywhere: empty ones, `.`, and `..` with the part before it.
pub fn clean(path: &str) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part.to_owned()),
        }
    }
    parts
}

/// Whether a part is a pattern at all: classes are closed, nothing ends with a backslash.
pub fn is_valid(part: &str) -> bool {
    tokens(part).is_some()
}

/// Whether a pattern matches the whole of a path.
pub fn matches_path(pattern: &[String], path: &[&str]) -> bool {
    // One row of a table, so that many `**` cost no more than a product.
    let mut row: Vec<bool> = vec![false; path.len() + 1];
    row[0] = true;
    for (number, part) in pattern.iter().enumerate() {
        let mut next = vec![false; path.len() + 1];
        if part == "**" {
            // At the end it stands for what is in a folder, and not for the folder.
            let least = usize::from(number + 1 == pattern.len());
            if let Some(first) = row.iter().position(|reached| *reached) {
                next.iter_mut()
                    .skip(first + least)
                    .for_each(|next| *next = true);
            }
        } else if let Some(tokens) = tokens(part) {
            for (at, name) in path.iter().enumerate() {
                next[at + 1] = row[at] && matches_name(&tokens, name);
            }
        }
        row = next;
    }
    row[path.len()]
}

#[derive(Debug)]
enum Token {
    AnyText,
    AnyLetter,
    Letter(char),
    Class {
        is_negated: bool,
        ranges: Vec<(char, char)>,
    },
}

fn tokens(pattern: &str) -> Option<Vec<Token>> {
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
            letter => Token::Letter(letter),
        });
    }
    Some(tokens)
}

fn class_letter(letters: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<char> {
    match letters.next()? {
        '\\' => letters.next(),
        '-' | ']' => None,
        letter => Some(letter),
    }
}

fn matches_name(pattern: &[Token], name: &str) -> bool {
    let letters: Vec<char> = name.chars().collect();
    let mut row = vec![false; letters.len() + 1];
    row[0] = true;
    for token in pattern {
        let mut next = vec![false; letters.len() + 1];
        if matches!(token, Token::AnyText) {
            if let Some(first) = row.iter().position(|reached| *reached) {
                next[first..].fill(true);
            }
        } else {
            for (at, letter) in letters.iter().enumerate() {
                next[at + 1] = row[at] && takes(token, *letter);
            }
        }
        row = next;
    }
    row[letters.len()]
}

fn takes(token: &Token, letter: char) -> bool {
    match token {
        Token::AnyText | Token::AnyLetter => true,
        Token::Letter(wanted) => *wanted == letter,
        Token::Class { is_negated, ranges } => {
            ranges
                .iter()
                .any(|(low, high)| (*low..=*high).contains(&letter))
                != *is_negated
        }
    }
}
