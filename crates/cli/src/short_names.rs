//! Names without a registry, where the user wants them read by `registries.conf`: every argument that is an image or a
//! repository, in whatever command it is.

use std::{any::TypeId, path::Path, sync::Arc};

use clap::{Arg, Command};
use palan::place::Location;
use palan_client::RegistriesConf;
use palan_core::{Reference, Repository};

/// What arguments that are taken as text call a name.
const NAMES: [&str; 5] = ["IMAGE", "REPO", "REF", "SRC", "DST"];
/// And where that may be a path, too.
const NAME_OR_PATH: &str = "INDEX";

/// The parser, with names read as `names` says.
pub(crate) fn expanded(parser: Command, names: &Arc<RegistriesConf>) -> Command {
    parser.mut_args(|arg| argument(arg, names)).mut_subcommands(|command| expanded(command, names))
}

fn argument(arg: Arg, names: &Arc<RegistriesConf>) -> Arg {
    let kind = arg.get_value_parser().type_id();
    let named = |wanted: &[&str]| {
        arg.get_value_names().unwrap_or_default().iter().any(|name| wanted.contains(&name.as_str()))
    };
    if kind == TypeId::of::<Location>() {
        arg.value_parser(reader::<Location>(names))
    } else if kind == TypeId::of::<Reference>() {
        arg.value_parser(reader::<Reference>(names))
    } else if kind == TypeId::of::<Repository>() {
        arg.value_parser(reader::<Repository>(names))
    } else if kind == TypeId::of::<String>() && named(&NAMES) {
        arg.value_parser(reader::<String>(names))
    } else if kind == TypeId::of::<String>() && named(&[NAME_OR_PATH]) {
        let read = reader::<String>(names);
        arg.value_parser(
            move |text: &str| if Path::new(text).exists() { Ok(text.to_owned()) } else { read(text) },
        )
    } else {
        arg
    }
}

type Fault = Box<dyn std::error::Error + Send + Sync>;

fn reader<T>(names: &Arc<RegistriesConf>) -> impl Fn(&str) -> Result<T, Fault> + Clone + Send + Sync + 'static
where
    T: std::str::FromStr<Err: Into<Fault>> + Clone + Send + Sync + 'static,
{
    let names = Arc::clone(names);
    move |text| match names.long_name(text)? {
        Some(long) => long.parse().map_err(Into::into),
        None => text.parse().map_err(Into::into),
    }
}
