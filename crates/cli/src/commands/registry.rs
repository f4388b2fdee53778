use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Subcommand;
use palan_server::Registry;

use crate::{
    exit::{Code, Failure, Result},
    session::Session,
    signals::Interrupt,
};

/// The embedded registry
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Serve(Serve),
}

/// Serve an OCI registry until Ctrl-C
///
/// Without --dir, everything is in memory and gone at the end. There is no authentication: it listens on this machine
/// only, unless --address says otherwise.
#[derive(clap::Args)]
struct Serve {
    /// The address to listen on, with or without a port
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1", value_parser = address)]
    address: Address,

    /// The port; default: $PORT, else a free one
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,

    /// Keep everything in this directory
    #[arg(long, visible_alias = "disk", value_name = "DIR")]
    dir: Option<PathBuf>,

    /// Wait this long before each answer (50ms, 1s): for tests and for measuring
    #[arg(long, value_name = "TIME", hide = true, value_parser = crate::args::duration)]
    delay: Option<Duration>,

    /// Keep everything in a directory that is gone at the end
    #[arg(long, hide = true, conflicts_with = "dir")]
    blobs_to_disk: bool,
}

/// `127.0.0.1`, `localhost`, `[::1]:5000`, `:5000`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Address {
    ip: IpAddr,
    port: Option<u16>,
}

fn address(text: &str) -> std::result::Result<Address, String> {
    let fail = || format!("an IP address is expected, with or without a port, found \"{text}\"");
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(Address { ip: address.ip(), port: Some(address.port()) });
    }
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    if let Ok(ip) = bare.parse() {
        return Ok(Address { ip, port: None });
    }
    let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
    let ip = match host {
        "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        "" => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        _ => return Err(fail()),
    };
    let port = port.map(str::parse).transpose().map_err(|_| fail())?;
    Ok(Address { ip, port })
}

pub(super) fn run(args: &Args, session: &Session) -> Result {
    match &args.command {
        Command::Serve(serve) => session.serve(listen(serve, session)),
    }
}

async fn listen(args: &Serve, session: &Session) -> Result {
    let address = SocketAddr::new(args.address.ip, port(args, session)?);
    let temporary = if args.blobs_to_disk { Some(session.temporary_folder()?) } else { None };
    let dir = args.dir.as_deref().or(temporary.as_ref().map(tempfile::TempDir::path));
    let registry = match dir {
        Some(dir) => Registry::directory(dir)?,
        None => Registry::memory(),
    };
    for damage in registry.damage() {
        session.ui.warning(format!("{} {}", damage.digest, damage.reason));
    }
    let registry = match args.delay {
        Some(delay) => registry.with_delay(delay),
        None => registry,
    };
    let mut interrupt = Interrupt::listen()?;
    let server = registry.serve(address).await?;
    greet(dir, server.addr(), session);
    if temporary.is_some() {
        session
            .ui
            .warning("--blobs-to-disk keeps it until the end only, and is an old flag of crane's: --dir DIR");
    }
    interrupt.wait().await;
    session.ui.say("stopping");
    server.stop().await;
    Ok(())
}

fn port(args: &Serve, session: &Session) -> Result<u16> {
    if let Some(port) = args.port.or(args.address.port) {
        return Ok(port);
    }
    let Some(text) = session.env.port() else { return Ok(0) };
    let parsed = text.to_str().and_then(|t| t.parse().ok());
    parsed.ok_or_else(|| Failure::new(Code::Usage, format!("PORT is not a port number: {}", text.display())))
}

fn greet(dir: Option<&Path>, address: SocketAddr, session: &Session) {
    let host = match address.ip() {
        ip if ip.is_unspecified() => format!("localhost:{}", address.port()),
        _ => address.to_string(),
    };
    session.ui.say(format!("serving on {address}"));
    // This is how crane says it, and scripts read which port was chosen.
    session.ui.say(format!("serving on port {}", address.port()));
    match dir {
        Some(dir) => session.ui.say(format!("kept in {}", dir.display())),
        None => session.ui.say("kept in memory: gone at the end (--dir DIR keeps it)"),
    }
    if !address.ip().is_loopback() {
        session.ui.warning("whoever reaches this address can read and write: there is no authentication");
    }
    session.ui.say(format!(
        "try:\n  palan copy IMAGE {host}/my/image:1\n  palan inspect {host}/my/image:1\n  palan catalog {host}"
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_in_many_forms() {
        let cases = [
            ("127.0.0.1", "127.0.0.1", None),
            ("127.0.0.1:80", "127.0.0.1", Some(80)),
            ("::1", "::1", None),
            ("[::1]", "::1", None),
            ("[::1]:80", "::1", Some(80)),
            ("localhost:80", "127.0.0.1", Some(80)),
            (":80", "0.0.0.0", Some(80)),
        ];
        for (text, ip, port) in cases {
            assert_eq!(address(text), Ok(Address { ip: ip.parse().unwrap(), port }), "{text}");
        }
        for text in ["example.com", "1.2.3", "localhost:x", "127.0.0.1:99999"] {
            assert!(address(text).is_err(), "{text}");
        }
    }
}
