//! What the parts of a reference may look like, distribution-spec "Pulling manifests".

/// Where something is wrong, as a byte offset, and what.
type Fault = (usize, String);

/// Host, and port if one is given.
pub(super) fn check_registry(registry: &str) -> Result<(), Fault> {
    let (host_len, port) = if let Some(rest) = registry.strip_prefix('[') {
        let Some(end) = rest.find(']') else {
            return Err((0, "the bracket of the IPv6 address is not closed".into()));
        };
        if rest[..end].parse::<std::net::Ipv6Addr>().is_err() {
            return Err((1, format!("\"{}\" is not an IPv6 address", &rest[..end])));
        }
        let after = &rest[end + 1..];
        match after.strip_prefix(':') {
            Some(port) => (end + 2, Some(port)),
            None if after.is_empty() => (end + 2, None),
            None => return Err((end + 2, "only a port may follow the IPv6 address".into())),
        }
    } else {
        let (host, port) = match registry.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (registry, None),
        };
        let mut at = 0;
        for label in host.split('.') {
            if label.is_empty() {
                return Err((at, "an empty label in the host name".into()));
            }
            if let Some((i, c)) =
                label.char_indices().find(|(_, c)| !c.is_ascii_alphanumeric() && *c != '-' && *c != '_')
            {
                return Err((at + i, format!("'{c}' is not allowed in a host name")));
            }
            if label.starts_with('-') || label.ends_with('-') {
                return Err((at, format!("the label \"{label}\" starts or ends with '-'")));
            }
            at += label.len() + 1;
        }
        (host.len(), port)
    };
    match port {
        Some(port)
            if port.is_empty()
                || !port.bytes().all(|b| b.is_ascii_digit())
                || port.parse::<u16>().is_err() =>
        {
            Err((host_len + 1, format!("\"{port}\" is not a port number")))
        }
        _ => Ok(()),
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*` joined by slashes.
pub(super) fn check_path(path: &str) -> Result<(), Fault> {
    let mut at = 0;
    for component in path.split('/') {
        if component.is_empty() {
            return Err((
                at,
                if path.is_empty() { "is empty".into() } else { "an empty path component".to_owned() },
            ));
        }
        for (i, c) in component.char_indices() {
            if c.is_ascii_uppercase() {
                return Err((at + i, format!("'{c}' is upper case, repository names are lower case")));
            }
            if !(c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-')) {
                return Err((at + i, format!("'{c}' is not allowed here")));
            }
        }
        check_separators(component).map_err(|(i, reason)| (at + i, reason))?;
        at += component.len() + 1;
    }
    Ok(())
}

fn check_separators(component: &str) -> Result<(), Fault> {
    let mut rest = component;
    loop {
        let at = component.len() - rest.len();
        let word = rest.bytes().take_while(u8::is_ascii_alphanumeric).count();
        if word == 0 {
            return Err((at, format!("\"{component}\" must start and end with a letter or digit")));
        }
        rest = &rest[word..];
        if rest.is_empty() {
            return Ok(());
        }
        let separator = rest.bytes().take_while(|b| !b.is_ascii_alphanumeric()).count();
        let text = &rest[..separator];
        if !(matches!(text, "." | "_" | "__") || text.bytes().all(|b| b == b'-')) {
            return Err((
                at + word,
                format!("\"{text}\" is not a separator (one of '.', '_', '__' or dashes)"),
            ));
        }
        rest = &rest[separator..];
    }
}
