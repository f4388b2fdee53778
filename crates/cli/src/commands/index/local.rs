//! Names that crane takes for files of this machine.

use std::path::Path;

use palan::place::{Format, Location};

use crate::{exit::Result, session::Session};

/// A location as it is typed for the index commands: without a scheme, what exists here or starts with `.` or `/` is a
/// layout (a directory) or an archive (a file), which is said; everything else is a reference into a registry.
pub(super) fn location(text: &str, session: &Session) -> Result<Location> {
    let Some(location) = path(text) else { return Ok(text.parse()?) };
    session.ui.note(format!("{text} is taken for {location}, not for a reference into a registry"));
    Ok(location)
}

/// As [`location`], for the commands where crane knows registries only: what starts with `.` or `/` cannot be a
/// reference, but what exists here may have the name of one.
pub(super) fn remote_first(text: &str, session: &Session) -> Result<Location> {
    match text.starts_with(['.', '/']) {
        true => location(text, session),
        false => Ok(text.parse()?),
    }
}

/// The directory or file that a name without a scheme stands for.
pub(super) fn path(text: &str) -> Option<Location> {
    let path = Path::new(text);
    let metadata = path.metadata();
    if metadata.is_err() && !text.starts_with(['.', '/']) {
        return None;
    }
    let path = path.to_owned();
    Some(match metadata.is_ok_and(|m| m.is_file()) {
        // Reading a docker archive also reads an OCI archive.
        true => Location::Archive { path, format: Format::Docker, selector: None },
        false => Location::Layout { path, selector: None },
    })
}
