//! From the libraries' errors to exit codes and hints.

use palan_client::Fault;
use palan_core::hub;

use crate::exit::{Code, Failure};

impl From<palan::Error> for Failure {
    fn from(error: palan::Error) -> Self {
        let (code, hint) = (of_palan(&error), hint_for_palan(&error));
        Self::new(code, error).with_hints(hint)
    }
}

impl From<palan_client::Error> for Failure {
    fn from(error: palan_client::Error) -> Self {
        let (code, hint) = (of_client(&error), hint_for_client(&error));
        Self::new(code, error).with_hints(hint)
    }
}

impl From<palan::place::LocationError> for Failure {
    fn from(error: palan::place::LocationError) -> Self {
        Self::new(Code::Usage, error)
    }
}

impl From<palan_layer::Error> for Failure {
    fn from(error: palan_layer::Error) -> Self {
        Self::new(Code::Damaged, error)
    }
}

impl From<palan_core::DocumentError> for Failure {
    fn from(error: palan_core::DocumentError) -> Self {
        Self::new(Code::Damaged, error)
    }
}

impl From<palan_server::Error> for Failure {
    fn from(error: palan_server::Error) -> Self {
        Self::new(Code::Failure, error)
    }
}

fn of_palan(error: &palan::Error) -> Code {
    use palan::Error as E;
    match error {
        _ if error.is_not_found() => Code::NotFound,
        E::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => Code::NotFound,
        E::Output(source) if source.kind() == std::io::ErrorKind::BrokenPipe => Code::BrokenPipe,
        E::Client(error) => of_client(error),
        E::Before(error) => of_palan(error),
        E::Journal(error) => of_journal(error),
        E::NoPlatform { .. } | E::WrongPlatform { .. } => Code::NotFound,
        E::Unresolved(error) => of_selection(&error.reason),
        E::Damaged { .. }
        | E::Document { .. }
        | E::Malformed { .. }
        | E::InvalidImage { .. }
        | E::Layer { .. } => Code::Damaged,
        E::NotBasedOn(_) => Code::NotBasedOn,
        E::BaseUnknown { .. } => Code::BaseUnknown,
        E::Moved { .. } | E::Exists { .. } => Code::Conflict,
        E::NoTagDelete { source, .. } if is_not_offered(source) => Code::Failure,
        E::MediaTypeRefused { source, .. } | E::NoTagDelete { source, .. } => of_client(source),
        E::Refused { .. } | E::ConfigConflict { .. } => Code::Refused,
        E::NoFileSystem { .. } => Code::Damaged,
        E::Extract { source, .. } => of_extraction(source),
        E::NotHere { .. } => Code::NotFound,
        E::OtherDigest { .. } => Code::Usage,
        E::Busy { .. } => Code::Conflict,
        E::Inexpressible { .. } | E::NothingLeft { .. } => Code::Refused,
        _ => Code::Failure,
    }
}

fn of_journal(error: &palan::fleet::JournalError) -> Code {
    use palan::fleet::JournalError as E;
    match error {
        E::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => Code::NotFound,
        E::Empty(_) => Code::NotFound,
        E::Damaged { .. } | E::OtherPlan { .. } => Code::Damaged,
        E::Busy(_) => Code::Conflict,
        _ => Code::Failure,
    }
}

/// Whether a registry says that it does not do such a thing, in whatever words.
fn is_not_offered(error: &palan_client::Error) -> bool {
    matches!(error.status().map(|status| status.as_u16()), Some(400 | 405 | 415 | 501))
}

/// What the machine does not allow is no fault of the image.
fn of_extraction(error: &palan_layer::Error) -> Code {
    use palan_layer::Error as E;
    match error {
        E::Directory { source, .. } if source.kind() == std::io::ErrorKind::NotFound => Code::NotFound,
        E::Directory { .. } | E::NotEmpty(_) | E::Extract { .. } | E::Io(_) => Code::Failure,
        _ => Code::Damaged,
    }
}

fn of_selection(reason: &palan::select::Reason) -> Code {
    use palan::select::Reason as R;
    match reason {
        R::Ambiguous { .. } | R::Several(_) | R::Twice(_) => Code::Usage,
        _ => Code::NotFound,
    }
}

fn of_client(error: &palan_client::Error) -> Code {
    use palan_client::Error as E;
    match error {
        _ if error.is_not_found() => Code::NotFound,
        _ if error.is_unauthorized() => Code::Denied,
        _ if error.is_precondition_failed() => Code::Conflict,
        E::Token { status: Some(s), .. } if s.is_server_error() || s.as_u16() == 429 => Code::Unavailable,
        E::Challenge { .. } | E::Token { .. } | E::Helper { .. } => Code::Denied,
        E::Transport { fault: Fault::Request | Fault::Certificate, .. } => Code::Failure,
        E::Transport { .. } => Code::Unavailable,
        E::Status(error) if error.status.is_server_error() || error.status.as_u16() == 429 => {
            Code::Unavailable
        }
        E::Status(error) if error.has_code("DIGEST_INVALID") => Code::Damaged,
        E::Mismatch { .. } | E::Document { .. } | E::TooLarge { .. } => Code::Damaged,
        E::Reference(_) => Code::Usage,
        E::Source { source, .. } => source.downcast_ref::<palan::Error>().map_or(Code::Failure, of_palan),
        _ => Code::Failure,
    }
}

fn hint_for_palan(error: &palan::Error) -> Option<String> {
    use palan::Error as E;
    match error {
        E::Client(error) => hint_for_client(error),
        E::Before(error) => hint_for_palan(error),
        E::ChooseOne { place, choices } if !choices.is_empty() => {
            Some(format!("name one of them, for example {}", chosen(place, &choices[0])))
        }
        E::NoPlatform { found, .. } => found.first().map(|p| format!("choose one of them, for example --platform {p}")),
        E::NotBasedOn(_) => Some(
            "give the base that the image was really built on with --old-base, by digest if its tag has moved since"
                .to_owned(),
        ),
        E::Unresolved(error) => match &error.reason {
            palan::select::Reason::Twice(_) => None,
            _ => Some(format!("palan inspect {} shows the layers; they are counted from 1", error.image)),
        },
        E::BaseUnknown { which: "old", .. } => Some(
            "name it with --old-base, or where it ends with --boundary; `palan base index add` makes bases known"
                .to_owned(),
        ),
        E::BaseUnknown { which, .. } => Some(format!("name it with --{which}-base")),
        E::Refused { verdict, .. } => {
            Some(format!("look at what was found (--explain), or accept it by name: --accept {verdict}"))
        }
        E::ConfigConflict { .. } => Some("choose with --on-conflict app or --on-conflict base".to_owned()),
        E::Extract { source: palan_layer::Error::NotEmpty(_), .. } => {
            Some("name a directory that is empty, or does not exist yet".to_owned())
        }
        E::Extract { source: palan_layer::Error::Extract { action: "set the owner of", .. }, .. } => {
            Some("--no-same-owner makes all files your own".to_owned())
        }
        E::Layer { source: palan_layer::Error::Limit { .. }, .. }
        | E::Append { source: palan_layer::Error::Limit { .. }, .. } => {
            Some("if the layer is meant to be so, set a larger bound with --limit".to_owned())
        }
        E::Io { action: "write a temporary file in", .. } => {
            Some("TMPDIR names another folder for temporary files".to_owned())
        }
        E::Moved { .. } => Some("look at what it is now, and run the command again".to_owned()),
        _ => None,
    }
}

/// `oci:dir` and `v1` make `oci:dir:v1`; a digest is joined by `@`, a platform is chosen by its flag.
fn chosen(place: &str, choice: &str) -> String {
    match choice {
        digest if digest.starts_with("sha256:") || digest.starts_with("sha512:") => {
            format!("{place}@{digest}")
        }
        platform if platform.contains('/') && !place.starts_with("oci") && !place.starts_with("docker") => {
            format!("--platform {platform}")
        }
        name => format!("{place}:{name}"),
    }
}

fn hint_for_client(error: &palan_client::Error) -> Option<String> {
    use palan_client::Error as E;
    match error {
        E::Source { source, .. } => source.downcast_ref::<palan::Error>().and_then(hint_for_palan),
        E::Transport { url, fault: Fault::Certificate, reason, .. }
            if reason.contains("received fatal alert") =>
        {
            Some(format!(
                "{} wants a client certificate: --cert-file and --key-file, or --cert-dir",
                host(url)
            ))
        }
        E::Transport { url, fault: Fault::Certificate, .. } => {
            let host = host(url);
            Some(format!("--ca-file names an authority to trust; --skip-tls-verify={host} does without"))
        }
        E::Transport { url, fault: Fault::Tls, .. } => {
            let host = host(url);
            Some(format!("if {host} speaks http only, add --plain-http={host}"))
        }
        E::Blocked { .. } => Some("--registries-conf none goes on without that file".to_owned()),
        E::Transport { fault: Fault::Overload, .. } => Some("--jobs 1 asks for less at once".to_owned()),
        E::Transport { fault: Fault::Inactive, .. } => Some("--timeout 5m waits longer".to_owned()),
        E::Status(status) if error.is_unauthorized() => {
            let host = host(&status.url);
            Some(match status.anonymous {
                true => format!("palan auth login {host}"),
                false => format!(
                    "the credentials for {host} may lack a permission; palan auth login {host} changes them"
                ),
            })
        }
        E::Status(status) if status.status == 429 => Some(match status.anonymous {
            true => format!("palan auth login {} may raise the limit", host(&status.url)),
            false => "--jobs 1 asks more slowly, --retries 10 more patiently".to_owned(),
        }),
        E::Status(status) if status.status == 413 && status.url.contains("/blobs/") => {
            Some("--chunk-size 1M uploads in smaller pieces".to_owned())
        }
        E::Token { registry, .. } if error.is_unauthorized() => Some(format!("palan auth login {registry}")),
        _ => None,
    }
}

/// Host and port of a URL, as they are typed: Docker Hub answers under another name.
fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    match rest.split(['/', '?']).next().unwrap_or(rest) {
        hub::API => hub::SHORT,
        host => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_written_as_they_are_typed() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let cases = [
            ("oci:dir", "v1", "oci:dir:v1".to_owned()),
            ("docker-archive:x.tar", "localhost/a/b:v1", "docker-archive:x.tar:localhost/a/b:v1".to_owned()),
            ("oci:dir", &digest, format!("oci:dir@{digest}")),
            ("localhost:5000/a@sha256:1", "linux/amd64", "--platform linux/amd64".to_owned()),
        ];
        for (place, choice, text) in cases {
            assert_eq!(chosen(place, choice), text);
        }
    }

    #[test]
    fn hosts_are_cut_out_of_urls() {
        for url in ["https://a.b:5000/v2/x?y", "a.b:5000/v2", "http://a.b:5000"] {
            assert_eq!(host(url), "a.b:5000", "{url}");
        }
        assert_eq!(host("https://registry-1.docker.io/v2/library/x"), "docker.io");
    }
}
