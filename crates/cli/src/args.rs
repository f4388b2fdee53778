//! The command line as a whole: global flags, and the way from words to a command.

use std::{ffi::OsString, path::PathBuf, str::FromStr, sync::Arc, time::Duration};

use clap::{CommandFactory, FromArgMatches, Parser};
use palan_client::RegistriesConf;
use palan_core::{PlatformPattern, Repository};

use crate::{
    commands::{self, Command},
    exit::{Failure, Result},
    limits::Limit,
    short_names, switches,
};

/// Patch, move, inspect and serve OCI images without Docker and without rebuilding.
///
/// An image LOCATION is a reference into a registry (ghcr.io/org/app:1.2, app@sha256:…) or one of
/// oci:DIR[:TAG] (an image layout), oci-archive:FILE[:TAG] and docker-archive:FILE[:NAME].
#[derive(Parser)]
#[command(name = "palan", version, subcommand_required = true, arg_required_else_help = true)]
#[command(max_term_width = 100, disable_help_subcommand = false)]
struct Root {
    #[command(flatten)]
    global: Global,
}

/// What the words say.
pub(crate) struct Args {
    pub(crate) global: Global,
    pub(crate) command: Command,
}

/// Flags that every command takes, before or after its name.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Say on stderr what is asked of registries and what they answer; never secrets
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,

    /// Speak http, and do not check TLS certificates
    ///
    /// Registries on this machine are spoken to by http without it.
    #[arg(long, global = true)]
    pub(crate) insecure: bool,

    #[command(flatten)]
    pub(crate) connection: Connection,

    /// Also push layers that are marked as not distributable
    #[arg(long, global = true)]
    pub(crate) allow_nondistributable_artifacts: bool,

    /// Choose images by platform: os/arch[/variant][:osversion], or all
    ///
    /// Parts left out match anything. Without it, commands that take a whole index do so, and commands that need
    /// one image choose linux/amd64. May be repeated where a command works on several images.
    #[arg(long, global = true, value_name = "PLATFORM", value_delimiter = ',')]
    pub(crate) platform: Vec<PlatformArg>,

    /// Transfers at the same time
    #[arg(short, long, global = true, value_name = "N", value_parser = jobs, default_value = "4")]
    pub(crate) jobs: usize,

    /// Give up when a registry sends nothing for so long: 30s, 5m
    #[arg(long, global = true, value_name = "TIME", value_parser = duration, default_value = "60s")]
    pub(crate) timeout: Duration,

    /// How often to try again what fails for the moment
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u32).range(..=100), default_value = "3")]
    pub(crate) retries: u32,

    /// Upload blobs in pieces no larger than this: 10M, 512K
    ///
    /// Without it, a blob goes as a whole, and in pieces where the registry or a proxy before it refuses that.
    #[arg(long, global = true, value_name = "SIZE", value_parser = size)]
    pub(crate) chunk_size: Option<u64>,

    /// Bound what a layer may hold: entries=N, path=SIZE, metadata=SIZE, size=SIZE or ratio=N
    ///
    /// Of layers that are opened: by append, convert, edit, export, flatten, layers, rebase and validate; what is only
    /// copied is not opened. entries: in one layer; path: the length of one name; metadata: what one entry says beside its
    /// content; size: one layer uncompressed, and with export and flatten all layers of an image together; ratio: its bytes
    /// per compressed byte, looked at beyond 1 GiB. The defaults are generous: 20000000, 16K, 4M, 1024G and 20000. May be
    /// repeated.
    #[arg(long, global = true, value_name = "NAME=VALUE", hide_short_help = true)]
    pub(crate) limit: Vec<Limit>,
}

/// Flags about how registries are reached.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Connection {
    /// Speak http, and nothing else: with every registry, or with this one
    ///
    /// May be repeated. Unlike --insecure, https is not tried, and certificates matter where registries lead to https.
    #[arg(long, global = true, value_name = "REGISTRY", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "", hide_short_help = true)]
    pub(crate) plain_http: Vec<String>,

    /// Do not check the TLS certificate: of any host, or of this one
    ///
    /// May be repeated. Unlike --insecure, plain http is not spoken because of it.
    #[arg(long, global = true, value_name = "REGISTRY", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "", hide_short_help = true)]
    pub(crate) skip_tls_verify: Vec<String>,

    /// `--tls-verify=false` is `--skip-tls-verify`, as skopeo and podman call it
    #[arg(long, global = true, value_name = "BOOL", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true", hide_short_help = true)]
    pub(crate) tls_verify: Option<bool>,

    /// Trust the authorities in this PEM file, too: everywhere, or for this registry and where it leads
    ///
    /// May be repeated.
    #[arg(long, global = true, value_name = "[REGISTRY=]FILE", hide_short_help = true)]
    pub(crate) ca_file: Vec<Scoped>,

    /// Show the client certificate in this PEM file to registries that ask for one, or only to this registry
    ///
    /// Needs --key-file. May be repeated.
    #[arg(long, global = true, value_name = "[REGISTRY=]FILE", hide_short_help = true)]
    pub(crate) cert_file: Vec<Scoped>,

    /// The key of the client certificate, PEM
    #[arg(long, global = true, value_name = "[REGISTRY=]FILE", hide_short_help = true)]
    pub(crate) key_file: Vec<Scoped>,

    /// Take authorities (*.crt) and a client certificate (*.cert, *.key) from this directory, as docker and podman do
    ///
    /// For every registry, or for this one. May be repeated. Without it, certs.d/REGISTRY of podman and docker counts:
    /// in ~/.config/containers, /etc/containers, /etc/docker, ~/.config/docker and ~/.docker, the first that exists.
    #[arg(long, global = true, value_name = "[REGISTRY=]DIR", hide_short_help = true)]
    pub(crate) cert_dir: Vec<Scoped>,

    /// Read mirrors, other locations, blocked and insecure registries from this file; none: from no file
    ///
    /// Default: podman's registries.conf and registries.conf.d, in ~/.config/containers and /etc/containers.
    #[arg(long, global = true, value_name = "FILE|none", hide_short_help = true)]
    pub(crate) registries_conf: Option<PathBuf>,

    /// Read names without a registry by the aliases and unqualified-search-registries of registries.conf
    ///
    /// Without it they mean Docker Hub, whatever the file says. Where several registries are to be searched, the name must
    /// be written out.
    #[arg(long, global = true, hide_short_help = true)]
    pub(crate) short_names: bool,
}

/// A file or directory, for one registry or for all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scoped {
    pub(crate) registry: Option<String>,
    pub(crate) path: PathBuf,
}

impl FromStr for Scoped {
    type Err = std::convert::Infallible;

    /// `registry.example=FILE`. A file whose name has an equals sign can be written as `./a=b`.
    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        let scoped = text.split_once('=').and_then(|(name, path)| {
            let looks_so = name == "localhost" || name.contains(['.', ':']) && !name.contains('/');
            Some((Repository::parse_registry(name).ok().filter(|_| looks_so)?, path))
        });
        Ok(match scoped {
            Some((registry, path)) => Self { registry: Some(registry), path: path.into() },
            None => Self { registry: None, path: text.into() },
        })
    }
}

impl Global {
    /// The platforms asked for; none means all.
    pub(crate) fn platforms(&self) -> Vec<PlatformPattern> {
        let mut out = Vec::new();
        for platform in &self.platform {
            match platform {
                PlatformArg::All => return Vec::new(),
                PlatformArg::Only(pattern) => out.push(pattern.clone()),
            }
        }
        out
    }

    /// The platform asked for, where a command works on one image.
    pub(crate) fn one_platform(&self) -> Result<Option<PlatformPattern>> {
        let mut platforms = self.platforms();
        match platforms.len() {
            0 | 1 => Ok(platforms.pop()),
            n => Err(Failure::usage(format!(
                "--platform was given {n} times, this command works on one image"
            ))),
        }
    }
}

/// The value of `--platform`.
#[derive(Clone, Debug)]
pub(crate) enum PlatformArg {
    All,
    Only(PlatformPattern),
}

impl FromStr for PlatformArg {
    type Err = palan_core::PlatformError;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        if text == "all" { Ok(Self::All) } else { text.parse().map(Self::Only) }
    }
}

/// The form of reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ReportFormat {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
}

fn jobs(text: &str) -> std::result::Result<usize, String> {
    match text.parse() {
        // crane's "0" means its default.
        Ok(0) => Ok(4),
        Ok(n) if n <= 256 => Ok(n),
        _ => Err("a number from 0 to 256 is expected".into()),
    }
}

pub(crate) fn duration(text: &str) -> std::result::Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match &text[digits.len()..] {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err("a time is expected, like 30s or 5m".into()),
    };
    let millis = digits.parse::<u64>().ok().and_then(|n| n.checked_mul(factor));
    match millis {
        Some(0) | None => Err("a time above zero is expected, like 30s or 5m".into()),
        Some(millis) => Ok(Duration::from_millis(millis)),
    }
}

/// Bytes; the units are powers of 1024.
pub(crate) fn size(text: &str) -> std::result::Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor: u64 = match &text[digits.len()..] {
        "" | "B" => 1,
        "K" | "KiB" => 1 << 10,
        "M" | "MiB" => 1 << 20,
        "G" | "GiB" => 1 << 30,
        _ => return Err("a size is expected, like 512K or 10M".into()),
    };
    match digits.parse::<u64>().ok().and_then(|n| n.checked_mul(factor)) {
        Some(0) | None => Err("a size above zero is expected, like 512K or 10M".into()),
        Some(bytes) => Ok(bytes),
    }
}

/// The parser of all commands, for help, completions and the reference.
pub(crate) fn command() -> clap::Command {
    parser(None)
}

/// The parser of the command of this name, if there is one, or else of all.
fn parser(name: Option<&str>) -> clap::Command {
    commands::augment(Root::command(), name).after_long_help(crate::reference::help_appendix())
}

/// From words to a command; help, version and wrong command lines are the parser's own words.
pub(crate) fn parse(
    words: impl IntoIterator<Item = OsString>,
    color: clap::ColorChoice,
) -> std::result::Result<Args, Box<clap::Error>> {
    parse_with(words, color, |parser| parser)
}

/// As [`parse`], with names without a registry read as `names` says.
pub(crate) fn parse_short(
    words: impl IntoIterator<Item = OsString>,
    color: clap::ColorChoice,
    names: &Arc<RegistriesConf>,
) -> std::result::Result<Args, Box<clap::Error>> {
    let mut args = parse_with(words, color, |parser| short_names::expanded(parser, names))?;
    // The last of these words is a path.
    if let Command::Pull(pull) = &mut args.command
        && let Some((_, images)) = pull.words.split_last_mut()
    {
        for image in images {
            let long = names.long_name(image);
            let error = |e| clap::Error::raw(clap::error::ErrorKind::ValueValidation, format!("{e}\n"));
            *image = long.map_err(error)?.unwrap_or_else(|| image.clone());
        }
    }
    Ok(args)
}

fn parse_with(
    words: impl IntoIterator<Item = OsString>,
    color: clap::ColorChoice,
    prepare: impl FnOnce(clap::Command) -> clap::Command,
) -> std::result::Result<Args, Box<clap::Error>> {
    let words: Vec<OsString> = words.into_iter().collect();
    let first = words.get(1).and_then(|word| word.to_str());
    // Of a flag that is given twice, the last one counts, as wrappers of scripts expect.
    let parser = prepare(parser(first)).args_override_self(true).color(color);
    let words = switches::without_values(words, &parser);
    let words = switches::without_empty(words, &parser);
    let matches = parser.try_get_matches_from(words)?;
    Ok(Args { global: Global::from_arg_matches(&matches)?, command: Command::from_arg_matches(&matches)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn global(words: &[&str]) -> Global {
        let words = ["palan"].iter().chain(words).map(OsString::from);
        match parse(words, clap::ColorChoice::Never) {
            Ok(args) => args.global,
            Err(e) => panic!("{e}"),
        }
    }

    #[test]
    fn the_parser_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn switches_take_a_value_as_with_crane_and_the_last_flag_counts() {
        assert!(global(&["digest", "a", "--insecure=true"]).insecure);
        assert!(!global(&["digest", "a", "--insecure=false"]).insecure);
        assert!(!global(&["digest", "a", "--insecure=0", "--verbose=t"]).insecure);
        assert_eq!(global(&["digest", "a", "--jobs=3", "-j5"]).jobs, 5);
        assert_eq!(
            global(&["digest", "a", "--platform", "linux/amd64", "--platform=linux/arm64"]).platforms().len(),
            2
        );
        let words = ["palan", "digest", "a", "--insecure=maybe"].map(OsString::from);
        assert!(parse(words, clap::ColorChoice::Never).is_err());
    }

    #[test]
    fn global_flags_stand_anywhere() {
        for words in
            [["--insecure", "digest", "a"], ["digest", "--insecure", "a"], ["digest", "a", "--insecure"]]
        {
            assert!(global(&words).insecure, "{words:?}");
        }
    }

    #[test]
    fn platform_all_means_no_choice() {
        assert!(global(&["digest", "a", "--platform", "all"]).platforms().is_empty());
        let both = global(&["digest", "a", "--platform", "linux/amd64,linux/arm64"]);
        assert_eq!(both.platforms().len(), 2);
        assert!(both.one_platform().is_err());
    }

    #[test]
    fn certificates_are_for_all_or_for_one() {
        for (text, registry, path) in [
            ("ca.pem", None, "ca.pem"),
            ("a.io=ca.pem", Some("a.io"), "ca.pem"),
            ("localhost:5000=x=y.pem", Some("localhost:5000"), "x=y.pem"),
            ("docker.io=ca.pem", Some("index.docker.io"), "ca.pem"),
            ("/etc/a.io=ca.pem", None, "/etc/a.io=ca.pem"),
            ("a=b", None, "a=b"),
        ] {
            let expected = Scoped { registry: registry.map(str::to_owned), path: path.into() };
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in [("1", 1), ("512K", 524_288), ("10M", 10_485_760), ("1GiB", 1 << 30)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "M", "0", "0M", "-1", "1.5M", "10 M", "1T", "99999999999999999999"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn registries_can_be_named_after_an_equals_sign_only() {
        let flags =
            global(&["digest", "--plain-http", "a", "--skip-tls-verify=a.io", "--skip-tls-verify=b.io"]);
        assert_eq!(flags.connection.plain_http, [""]);
        assert_eq!(flags.connection.skip_tls_verify, ["a.io", "b.io"]);
        assert_eq!(global(&["digest", "a", "--tls-verify=false"]).connection.tls_verify, Some(false));
    }

    #[test]
    fn times_have_units() {
        let cases = [("30", 30_000), ("30s", 30_000), ("5m", 300_000), ("250ms", 250), ("1h", 3_600_000)];
        for (text, millis) in cases {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "s", "0", "-1s", "5 m", "1d", "99999999999999999999h"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
