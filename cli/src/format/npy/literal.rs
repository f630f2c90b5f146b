//! Python literals, as far as headers of npy files have them.

/// A Python literal.
#[derive(Debug, PartialEq)]
pub(super) enum Literal {
    Text(String),
    Number(usize),
    True,
    False,
    /// A tuple or a list.
    Items(Vec<Self>),
    Map(Vec<(Self, Self)>),
}

impl Literal {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut rest = text;
        let literal = value(&mut rest, 0)?;
        rest.trim().is_empty().then_some(literal)
    }

    pub(super) fn entry(&self, name: &str) -> Option<&Self> {
        let Self::Map(entries) = self else {
            return None;
        };
        entries
            .iter()
            .find(|(key, _)| *key == Self::Text(name.to_owned()))
            .map(|(_, value)| value)
    }

    pub(super) fn items(&self) -> Option<&[Self]> {
        if let Self::Items(items) = self {
            Some(items)
        } else {
            None
        }
    }

    pub(super) fn number(&self) -> Option<usize> {
        if let Self::Number(number) = self {
            Some(*number)
        } else {
            None
        }
    }
}

/// Text as Python's `repr` writes it.
pub(super) fn quote(text: &str) -> String {
    let mut quoted = String::from("'");
    for c in text.chars() {
        match c {
            '\'' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if (c as u32) < 0x20 || (0x7f..0xa0).contains(&(c as u32)) => {
                quoted.push_str(&format!("\\x{:02x}", c as u32));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('\'');
    quoted
}

fn value(rest: &mut &str, depth: u8) -> Option<Literal> {
    *rest = rest.trim_start();
    let first = rest.chars().next()?;
    match first {
        _ if depth > 8 => None,
        '\'' | '"' => {
            *rest = &rest[1..];
            text(rest, first).map(Literal::Text)
        }
        '(' | '[' => sequence(rest, if first == '(' { ')' } else { ']' }, |rest| {
            value(rest, depth + 1)
        })
        .map(Literal::Items),
        '{' => {
            let pair = |rest: &mut &str| {
                let key = value(rest, depth + 1)?;
                *rest = rest.trim_start().strip_prefix(':')?;
                Some((key, value(rest, depth + 1)?))
            };
            sequence(rest, '}', pair).map(Literal::Map)
        }
        '0'..='9' => {
            let end = rest
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(rest.len());
            let number = rest[..end].parse().ok()?;
            // Python 2 wrote long integers with an L.
            let after = &rest[end..];
            *rest = after.strip_prefix('L').unwrap_or(after);
            Some(Literal::Number(number))
        }
        _ => {
            let (literal, word) = if first == 'T' {
                (Literal::True, "True")
            } else {
                (Literal::False, "False")
            };
            *rest = rest.strip_prefix(word)?;
            Some(literal)
        }
    }
}

/// The text up to the quotation mark that ends it.
fn text(rest: &mut &str, quotation_mark: char) -> Option<String> {
    let mut text = String::new();
    let mut chars = rest.chars();
    loop {
        match chars.next()? {
            c if c == quotation_mark => break,
            '\\' => text.push(escaped(&mut chars)?),
            c => text.push(c),
        }
    }
    *rest = chars.as_str();
    Some(text)
}

/// The character of an escape sequence; only those that `repr` writes.
fn escaped(chars: &mut std::str::Chars<'_>) -> Option<char> {
    let digits = match chars.next()? {
        'n' => return Some('\n'),
        'r' => return Some('\r'),
        't' => return Some('\t'),
        c @ ('\\' | '\'' | '"') => return Some(c),
        'x' => 2,
        'u' => 4,
        'U' => 8,
        _ => return None,
    };
    let code = chars.as_str().get(..digits)?;
    *chars = chars.as_str()[digits..].chars();
    char::from_u32(u32::from_str_radix(code, 16).ok()?)
}

/// Items between an opening bracket and `close`, separated by commas.
fn sequence<T>(
    rest: &mut &str,
    close: char,
    item: impl Fn(&mut &str) -> Option<T>,
) -> Option<Vec<T>> {
    *rest = &rest[1..];
    let mut items = Vec::new();
    loop {
        *rest = rest.trim_start();
        if let Some(after) = rest.strip_prefix(close) {
            *rest = after;
            return Some(items);
        }
        items.push(item(rest)?);
        *rest = rest.trim_start();
        if let Some(after) = rest.strip_prefix(',') {
            *rest = after;
        } else if !rest.starts_with(close) {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_survives_quotation() {
        for text in [
            "plain",
            "it's",
            "a\"b'c",
            "back\\slash",
            "a\nb\t\u{1}",
            "ü",
            "日本",
            "\u{85}",
        ] {
            let quoted = quote(text);
            assert_eq!(
                Literal::parse(&quoted),
                Some(Literal::Text(text.into())),
                "{quoted}"
            );
        }
        assert_eq!(
            Literal::parse("\"it's\""),
            Some(Literal::Text("it's".into()))
        );
        for broken in ["'a", "'\\q'", "'\\x1'", "'\\ud800'", "'\\"] {
            assert_eq!(Literal::parse(broken), None, "{broken}");
        }
    }
}
