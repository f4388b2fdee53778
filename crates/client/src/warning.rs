//! `Warning: 299` headers, distribution-spec "Warnings".

/// The text of `299 - "text"`, nothing for any other form.
pub(crate) fn parse(value: &str) -> Option<String> {
    let rest = value.trim().strip_prefix("299 ")?;
    let (_agent, quoted) = rest.split_once(' ')?;
    let inner = quoted.trim().strip_prefix('"')?.strip_suffix('"')?;
    let mut text = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(c) = characters.next() {
        let c = if c == '\\' { characters.next()? } else { c };
        text.push(if c.is_control() { ' ' } else { c });
    }
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn well_formed_warnings_are_read_and_others_ignored() {
        for (value, expected) in [
            (r#"299 - "be careful""#, Some("be careful")),
            (r#" 299 registry.example "say \"hi\"" "#, Some(r#"say "hi""#)),
            ("299 - \"two\tparts\"", Some("two parts")),
            ("299 - nope", None),
            ("299 -", None),
            ("299", None),
            ("", None),
            (r#"299 - ""#, None),
            (r#"299 - """#, None),
            (r#"299 - "\""#, None),
            (r#"199 - "other code""#, None),
        ] {
            assert_eq!(parse(value).as_deref(), expected, "{value:?}");
        }
    }
}
