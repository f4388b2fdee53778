use std::io::Read as _;

use clap::Subcommand;

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
    /// The registry
    #[arg(value_name = "REGISTRY")]
    registry: String,

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
    /// The registry
    #[arg(value_name = "REGISTRY")]
    registry: String,
}

pub(super) async fn run(args: &Args, session: &Session) -> Result {
    Err(Failure::unsupported("auth"))
}
