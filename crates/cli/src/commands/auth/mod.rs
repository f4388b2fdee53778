mod token;

use std::{io::Read as _, sync::Arc};

use clap::Subcommand;
use palan_client::{Credentials, Secret};
use palan_core::Repository;

use crate::{
    exit::{Code, Failure, Result},
    session::Session,
};

/// Log in to registries and out of them
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Get(Get),
    Login(Login),
    Logout(Logout),
    Token(token::Args),
}

/// Print the credentials for a registry, as a docker credential helper does
#[derive(clap::Args)]
struct Get {
    /// The registry; default: read from stdin
    #[arg(value_name = "REGISTRY")]
    registry: Option<String>,
}

/// Log in to a registry, and keep the credentials where docker and podman find them
#[derive(clap::Args)]
struct Login {
    /// The registry, or a namespace in it
    #[arg(value_name = "REGISTRY")]
    server: String,

    /// User name
    #[arg(short, long, value_name = "USER")]
    username: Option<String>,

    /// Password; other users of this machine can see it, use --password-stdin
    #[arg(short, long, value_name = "PASSWORD", conflicts_with = "password_stdin")]
    password: Option<String>,

    /// Read the password from stdin
    #[arg(long)]
    password_stdin: bool,

    /// Do not ask the registry whether the credentials are right
    #[arg(long)]
    skip_check: bool,
}

/// Forget the credentials for a registry
#[derive(clap::Args)]
struct Logout {
    /// The registry, or a namespace in it
    #[arg(value_name = "REGISTRY")]
    server: String,
}

pub(super) async fn run(args: &Args, session: &Session) -> Result {
    match &args.command {
        Command::Get(args) => get(args, session).await,
        Command::Login(args) => login(args, session).await,
        Command::Logout(args) => logout(args, session).await,
        Command::Token(args) => token::run(args, session).await,
    }
}

async fn get(args: &Get, session: &Session) -> Result {
    let typed = match &args.registry {
        Some(registry) => registry.clone(),
        None => read_stdin()?,
    };
    let (registry, repository) = split(&typed)?;
    let Some(found) = session.keychain().get(&registry, &repository).await? else {
        // What docker's helpers say, where they say it.
        session.ui.line("credentials not found in native keychain")?;
        return Err(Failure::reported(Code::Failure));
    };
    let (username, secret) = match &found.credentials {
        Credentials::Basic { username, password } | Credentials::Tentative { username, password } => {
            (username.as_str(), password)
        }
        Credentials::IdentityToken(token) => ("<token>", token),
        _ => {
            return Err(Failure::unsupported(format!(
                "the kind of credentials that {} has for {typed}",
                found.origin
            )));
        }
    };
    session.ui.line(serde_json::json!({"Username": username, "Secret": secret.expose()}).to_string())
}

async fn login(args: &Login, session: &Session) -> Result {
    let (registry, repository) = split(&args.server)?;
    let password = match (&args.password, args.password_stdin) {
        (Some(password), _) => Secret::new(password),
        (None, true) => Secret::new(read_stdin()?),
        (None, false) => Secret::default(),
    };
    let username = args.username.clone().unwrap_or_default();
    if username.is_empty() || password.is_empty() {
        return Err(Failure::usage("a user name and a password are required")
            .with_hint("palan auth login REGISTRY --username USER --password-stdin < FILE"));
    }
    if !args.skip_check {
        let credentials = match username.as_str() {
            "<token>" => Credentials::IdentityToken(password.clone()),
            _ => Credentials::Basic { username: username.clone(), password: password.clone() },
        };
        let client = session.with_headers(session.client_builder()?, &session.keychain());
        let client = client.credentials(Arc::new(credentials)).build()?;
        client.check_credentials(&registry).await.map_err(|error| refused(&registry, error))?;
    }
    let server = if repository.is_empty() { registry } else { format!("{registry}/{repository}") };
    let kept = session.keychain().login(&config_file(session)?, &server, &username, &password).await?;
    session.ui.say(format!("logged in via {kept}"));
    Ok(())
}

/// The hint of other commands, to log in, would not help here.
fn refused(registry: &str, error: palan_client::Error) -> Failure {
    match error.is_unauthorized() {
        true => Failure::new(Code::Denied, error)
            .with_hint(format!("{registry} does not accept them; --skip-check keeps them nevertheless")),
        false => {
            Failure::from(error).with_hint("--skip-check keeps the credentials without asking the registry")
        }
    }
}

async fn logout(args: &Logout, session: &Session) -> Result {
    let (registry, repository) = split(&args.server)?;
    let server = if repository.is_empty() { registry } else { format!("{registry}/{repository}") };
    let file = config_file(session)?;
    match session.keychain().logout(&file, &server).await? {
        true => session.ui.say(format!("logged out via {}", file.display())),
        false => session.ui.say(format!("there were no credentials for {server} in {}", file.display())),
    }
    Ok(())
}

fn config_file(session: &Session) -> Result<std::path::PathBuf> {
    let file = session.env.docker_config_file();
    file.ok_or_else(|| {
        Failure::new(Code::Failure, "neither DOCKER_CONFIG nor HOME says where credentials are kept")
    })
}

/// Registry and, where there is one, namespace: `quay.io/org`. Helpers are asked with URLs.
fn split(typed: &str) -> Result<(String, String)> {
    let bare = typed.strip_prefix("https://").or_else(|| typed.strip_prefix("http://"));
    let text = bare.unwrap_or(typed);
    let (registry, path) = text.split_once('/').unwrap_or((text, ""));
    // The path of a URL is that of an API: https://index.docker.io/v1/
    let path = if bare.is_some() { "" } else { path.trim_end_matches('/') };
    let registry = Repository::parse_registry(registry)?;
    if !path.is_empty() {
        format!("{registry}/{path}").parse::<Repository>()?;
    }
    Ok((registry, path.to_owned()))
}

/// All of stdin as text, one line break at its end removed.
fn read_stdin() -> Result<String> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_registries_namespaces_or_urls() {
        let cases = [
            ("ghcr.io", "ghcr.io", ""),
            ("quay.io/org", "quay.io", "org"),
            ("https://index.docker.io/v1/", "index.docker.io", ""),
            ("docker.io", "index.docker.io", ""),
            ("localhost:5000/", "localhost:5000", ""),
        ];
        for (typed, registry, path) in cases {
            assert_eq!(split(typed).unwrap(), (registry.to_owned(), path.to_owned()), "{typed}");
        }
        assert!(split("").is_err());
        assert!(split("quay.io/Org").is_err());
    }
}
