//! `WWW-Authenticate`, RFC 9110 section 11.6.1, read leniently: registries write it in many ways.

/// One challenge: a scheme and its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Challenge {
    /// Lower case.
    pub(crate) scheme: String,
    /// Names in lower case.
    parameters: Vec<(String, String)>,
}

impl Challenge {
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

/// All challenges of one header value, in order. What cannot be read is left out; nothing panics.
pub(crate) fn parse(value: &str) -> Vec<Challenge> {
    let mut challenges: Vec<Challenge> = Vec::new();
    let mut rest = value;
    loop {
        rest = rest.trim_start_matches(|c: char| c == ',' || c.is_whitespace());
        if rest.is_empty() {
            return challenges;
        }
        let (word, after) = split_word(rest);
        if word.is_empty() {
            // A stray quote or equals sign.
            let mut characters = rest.chars();
            characters.next();
            rest = characters.as_str();
            continue;
        }
        match after.trim_start().strip_prefix('=') {
            Some(value) => {
                let (value, after) = split_value(value.trim_start());
                if let Some(challenge) = challenges.last_mut() {
                    challenge.parameters.push((word.to_ascii_lowercase(), value));
                }
                rest = after;
            }
            None => {
                challenges.push(Challenge { scheme: word.to_ascii_lowercase(), parameters: Vec::new() });
                rest = after;
            }
        }
    }
}

fn split_word(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| matches!(c, ',' | '=' | '"') || c.is_whitespace()).unwrap_or(text.len());
    text.split_at(end)
}

fn split_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(|c: char| c == ',' || c.is_whitespace()).unwrap_or(text.len());
        let (value, rest) = text.split_at(end);
        return (value.to_owned(), rest);
    };
    let mut value = String::new();
    let mut characters = quoted.chars();
    while let Some(c) = characters.next() {
        match c {
            '"' => break,
            '\\' => value.extend(characters.next()),
            c => value.push(c),
        }
    }
    (value, characters.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    type Expected<'a> = &'a [(&'a str, &'a [(&'a str, &'a str)])];

    #[test]
    fn challenges_in_every_style() {
        let cases: &[(&str, Expected<'_>)] = &[
            (
                r#"Bearer realm="https://auth.example/token",service="registry.example",scope="repository:a/b:pull,push""#,
                &[(
                    "bearer",
                    &[
                        ("realm", "https://auth.example/token"),
                        ("service", "registry.example"),
                        ("scope", "repository:a/b:pull,push"),
                    ],
                )],
            ),
            (
                r#"Basic realm="say \"hi\", you", Bearer realm="https://a/t" , service=reg"#,
                &[
                    ("basic", &[("realm", "say \"hi\", you")]),
                    ("bearer", &[("realm", "https://a/t"), ("service", "reg")]),
                ],
            ),
            ("BASIC", &[("basic", &[])]),
            (
                "Negotiate YII123==, Basic Realm = x",
                &[("negotiate", &[("yii123", "=")]), ("basic", &[("realm", "x")])],
            ),
            (r#"Bearer realm="never closed"#, &[("bearer", &[("realm", "never closed")])]),
            (r#"Bearer realm="ends in \"#, &[("bearer", &[("realm", "ends in ")])]),
            (r#"realm="no scheme""#, &[]),
            ("", &[]),
            (" , ,, ", &[]),
            (r#"="","#, &[]),
            ("Bearer , =x,é=ü", &[("bearer", &[]), ("x", &[("é", "ü")])]),
        ];
        for (value, expected) in cases {
            let found = parse(value);
            let found: Vec<_> = found
                .iter()
                .map(|c| {
                    (c.scheme.as_str(), c.parameters.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect())
                })
                .collect::<Vec<(&str, Vec<_>)>>();
            let expected: Vec<_> = expected.iter().map(|(s, p)| (*s, p.to_vec())).collect();
            assert_eq!(found, expected, "{value}");
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_panics(value in r#"[ ,="\\a-zé]{0,40}"#) {
            parse(&value);
        }
    }
}
