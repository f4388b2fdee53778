mod values;

use palan::{
    mutate::{self, Created, Edits, Healthcheck, Keys, Pairs, Request},
    place::Location,
    rewrite::Subject,
};
use palan_core::{Platform, Repository, Selector};

use self::values::{list, nanoseconds, pair, pairs, platform, test};
use super::write::{self, Rewriting};
use crate::{
    exit::{Failure, Result},
    session::Session,
};

/// Change an image's config, annotations and platform
///
/// What is not named stays as it is. Every image of an index is changed, or those that --platform chooses, inside the index.
/// KEY=VALUE pairs may be repeated; VALUE may be empty. Lists are separated by commas, or are a JSON array: '["a,b","c"]'.
/// Prints the full reference of the result, by digest.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The image or index
    image: Location,

    #[command(flatten)]
    runtime: Runtime,

    #[command(flatten)]
    health: Health,

    #[command(flatten)]
    metadata: Metadata,

    /// Layers to put on top, the lowest first: tar files, plain or compressed
    #[arg(long, value_name = "FILES", allow_hyphen_values = true)]
    append: Vec<String>,

    /// Put the result into this repository, by digest
    #[arg(short, long, value_name = "REPOSITORY", conflicts_with = "tag")]
    repo: Option<Repository>,

    /// Write an archive instead: a docker archive, or a location with its scheme
    #[arg(short, long, value_name = "FILE")]
    output: Option<String>,

    #[command(flatten)]
    rewriting: Rewriting,
}

/// How a container is run.
#[derive(clap::Args)]
struct Runtime {
    /// Set an environment variable; it keeps its place
    #[arg(short, long, value_name = "KEY=VALUE", allow_hyphen_values = true)]
    env: Vec<String>,

    /// Remove an environment variable
    #[arg(long, value_name = "KEY")]
    remove_env: Vec<String>,

    /// Set the entrypoint, and remove the command that was made for the old one
    #[arg(long, value_name = "WORDS", allow_hyphen_values = true)]
    entrypoint: Vec<String>,

    /// Leave the command alone when the entrypoint is set or removed
    #[arg(long)]
    keep_cmd: bool,

    /// Set the command
    #[arg(long, value_name = "WORDS", allow_hyphen_values = true)]
    cmd: Vec<String>,

    /// Set the shell of commands that are texts; empty: none
    #[arg(long, value_name = "WORDS", allow_hyphen_values = true)]
    shell: Vec<String>,

    /// Set the user
    #[arg(short, long)]
    user: Option<String>,

    /// Set the working directory
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,

    /// Replace all exposed ports: 8080, 53/udp
    #[arg(long, value_name = "PORTS")]
    exposed_ports: Vec<String>,

    /// Add an exposed port
    #[arg(long, value_name = "PORT")]
    add_exposed_port: Vec<String>,

    /// Remove an exposed port
    #[arg(long, value_name = "PORT")]
    remove_exposed_port: Vec<String>,

    /// Add a volume
    #[arg(long, value_name = "DIR")]
    volume: Vec<String>,

    /// Remove a volume
    #[arg(long, value_name = "DIR")]
    remove_volume: Vec<String>,

    /// Set the signal that ends the container; empty: none
    #[arg(long, value_name = "SIGNAL")]
    stop_signal: Option<String>,

    /// Remove what the config says of these: an empty value of their flags removes nothing, as with crane
    #[arg(long, value_enum, value_name = "FIELDS", value_delimiter = ',')]
    unset: Vec<Field>,
}

/// What `--unset` can be about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Field {
    Cmd,
    Entrypoint,
    ExposedPorts,
    User,
    Workdir,
}

/// The health check.
#[derive(clap::Args)]
struct Health {
    /// Set the health check: a shell command, a JSON array of words, or "none", which turns off that of a base
    #[arg(long, value_name = "COMMAND", allow_hyphen_values = true)]
    healthcheck: Option<String>,

    /// Remove the health check
    #[arg(long, conflicts_with = "healthcheck")]
    remove_healthcheck: bool,

    /// Time between two health checks: 30s, 1m30s
    #[arg(long, value_name = "TIME", value_parser = nanoseconds, conflicts_with = "remove_healthcheck")]
    healthcheck_interval: Option<i64>,

    /// How long a health check may take
    #[arg(long, value_name = "TIME", value_parser = nanoseconds, conflicts_with = "remove_healthcheck")]
    healthcheck_timeout: Option<i64>,

    /// How long failures do not count after the start
    #[arg(long, value_name = "TIME", value_parser = nanoseconds, conflicts_with = "remove_healthcheck")]
    healthcheck_start_period: Option<i64>,

    /// Time between two health checks after the start
    #[arg(long, value_name = "TIME", value_parser = nanoseconds, conflicts_with = "remove_healthcheck")]
    healthcheck_start_interval: Option<i64>,

    /// After how many failures the container counts as unhealthy
    #[arg(long, value_name = "N", conflicts_with = "remove_healthcheck")]
    healthcheck_retries: Option<u32>,
}

/// What is said of the image.
#[derive(clap::Args)]
struct Metadata {
    /// Set a label
    #[arg(short, long, value_name = "KEY=VALUE", allow_hyphen_values = true)]
    label: Vec<String>,

    /// Remove a label
    #[arg(long, value_name = "KEY")]
    remove_label: Vec<String>,

    /// Set an annotation of the image's manifest
    #[arg(short, long, value_name = "KEY=VALUE", allow_hyphen_values = true)]
    annotation: Vec<String>,

    /// Remove an annotation of the image's manifest
    #[arg(long, value_name = "KEY")]
    remove_annotation: Vec<String>,

    /// Set an annotation of the index itself
    #[arg(long, value_name = "KEY=VALUE", allow_hyphen_values = true)]
    index_annotation: Vec<String>,

    /// Remove an annotation of the index itself
    #[arg(long, value_name = "KEY")]
    remove_index_annotation: Vec<String>,

    /// Set an annotation of the index's entry for the image
    #[arg(long, value_name = "KEY=VALUE", allow_hyphen_values = true)]
    descriptor_annotation: Vec<String>,

    /// Remove an annotation of the index's entry for the image
    #[arg(long, value_name = "KEY")]
    remove_descriptor_annotation: Vec<String>,

    /// Set when the image was created: RFC 3339, seconds since 1970, "epoch" (SOURCE_DATE_EPOCH), or "base" (when the newest
    /// of its layers was made, as the history tells)
    #[arg(long, value_name = "TIME")]
    created: Option<String>,

    /// Set the platform, in the config and in the index: os/arch[/variant][:osversion]; parts left out are removed
    #[arg(long, value_name = "PLATFORM", value_parser = platform)]
    set_platform: Option<Platform>,
}

pub(super) async fn run(args: &Args, session: &Session) -> Result {
    let places = session.places()?;
    let target = target(args)?;
    let subject = match write::single(&args.image, target.as_ref(), session).await? {
        Some(image) => {
            let subject = args.rewriting.subject(image, target, session);
            Subject { platforms: Vec::new(), ..subject }
        }
        None => args.rewriting.subject(args.image.clone(), target, session),
    };
    let files = lists(&args.append)?.unwrap_or_default();
    let layers = super::append::layers(&files, session)?;
    let plan =
        mutate::plan(&places, Request { layers, ..Request::new(subject, edits(args, session)?) }).await?;
    let plan = if args.repo.is_some() && args.output.is_none() { plan.untagged() } else { plan };
    args.rewriting.finish(plan, "mutated", session).await
}

/// Where the result goes, where neither the image nor `--tag` says so.
fn target(args: &Args) -> Result<Option<Location>> {
    let repository =
        args.repo.as_ref().map(|r| Location::Registry(r.at(&Selector::Tag("latest".to_owned()))));
    let Some(file) = &args.output else { return Ok(repository) };
    let named = args.rewriting.tag().or(repository.as_ref()).unwrap_or(&args.image);
    write::output(file, Some(named)).map(Some)
}

fn edits(args: &Args, session: &Session) -> Result<Edits> {
    let Args { runtime, metadata, .. } = args;
    let list = |given: &[String], field| removable(lists(given)?, field, &runtime.unset);
    let text = |given: &Option<String>, field| removable(given.clone(), field, &runtime.unset);
    let entrypoint = list(&runtime.entrypoint, Field::Entrypoint)?;
    if runtime.keep_cmd && entrypoint.is_none() {
        return Err(Failure::usage("--keep-cmd was given, but the entrypoint does not change"));
    }
    Ok(Edits {
        annotations: changes(&metadata.annotation, &metadata.remove_annotation)?,
        index_annotations: changes(&metadata.index_annotation, &metadata.remove_index_annotation)?,
        descriptor_annotations: changes(
            &metadata.descriptor_annotation,
            &metadata.remove_descriptor_annotation,
        )?,
        labels: changes(&metadata.label, &metadata.remove_label)?,
        env: variables(&runtime.env, &runtime.remove_env)?,
        entrypoint,
        keep_cmd: runtime.keep_cmd,
        cmd: list(&runtime.cmd, Field::Cmd)?,
        shell: lists(&runtime.shell)?,
        exposed_ports: Keys {
            replace: list(&runtime.exposed_ports, Field::ExposedPorts)?,
            add: runtime.add_exposed_port.clone(),
            remove: runtime.remove_exposed_port.clone(),
        },
        volumes: Keys { replace: None, add: runtime.volume.clone(), remove: runtime.remove_volume.clone() },
        user: text(&runtime.user, Field::User)?,
        working_dir: text(&runtime.workdir, Field::Workdir)?,
        stop_signal: runtime.stop_signal.clone(),
        healthcheck: healthcheck(&args.health)?,
        created: created(metadata.created.as_deref(), session)?,
        platform: metadata.set_platform.clone(),
    })
}

/// What a flag asks for, or `--unset`: an empty value, which removes the field.
fn removable<T: Default>(given: Option<T>, field: Field, unset: &[Field]) -> Result<Option<T>> {
    match (given, unset.contains(&field)) {
        (Some(_), true) => {
            let name = clap::ValueEnum::to_possible_value(&field);
            let name = name.as_ref().map_or_else(Default::default, |value| value.get_name().to_owned());
            Err(Failure::usage(format!("--unset {name} removes what --{name} sets")))
        }
        (None, true) => Ok(Some(T::default())),
        (given, false) => Ok(given),
    }
}

/// What flags like `--label` and `--remove-label` ask for.
fn changes(set: &[String], remove: &[String]) -> Result<Pairs> {
    changed(set, remove, pairs)
}

/// The same for `--env` and `--remove-env`.
fn variables(set: &[String], remove: &[String]) -> Result<Pairs> {
    changed(set, remove, |text| pair(text).map(|pair| vec![pair]))
}

/// Removals come first: what is also set is there in the end.
fn changed(
    set: &[String],
    remove: &[String],
    read: impl Fn(&str) -> std::result::Result<Vec<(String, String)>, String>,
) -> Result<Pairs> {
    let mut all: Pairs = remove.iter().map(|key| (key.clone(), None)).collect();
    for text in set {
        let set = read(text).map_err(Failure::usage)?;
        all.extend(set.into_iter().map(|(key, value)| (key, Some(value))));
    }
    Ok(all)
}

/// All lists of a flag, one after the other; `None`: it was not given.
fn lists(texts: &[String]) -> Result<Option<Vec<String>>> {
    if texts.is_empty() {
        return Ok(None);
    }
    let lists = texts.iter().map(|text| list(text).map_err(Failure::usage));
    Ok(Some(lists.collect::<Result<Vec<_>>>()?.concat()))
}

fn healthcheck(health: &Health) -> Result<Option<Healthcheck>> {
    if health.remove_healthcheck {
        return Ok(Some(Healthcheck::Remove));
    }
    let test = health.healthcheck.as_deref().map(test).transpose().map_err(Failure::usage)?;
    let numbers = [
        health.healthcheck_interval,
        health.healthcheck_timeout,
        health.healthcheck_start_period,
        health.healthcheck_start_interval,
        health.healthcheck_retries.map(i64::from),
    ];
    if test.is_none() && numbers.iter().all(Option::is_none) {
        return Ok(None);
    }
    let [interval, timeout, start_period, start_interval, retries] = numbers;
    Ok(Some(Healthcheck::Change { test, interval, timeout, start_period, start_interval, retries }))
}

fn created(text: Option<&str>, session: &Session) -> Result<Option<Created>> {
    Ok(match text {
        None => None,
        Some("base") => Some(Created::Newest),
        Some("epoch") => match session.env.created()? {
            Some(time) => Some(Created::At(time)),
            None => return Err(Failure::usage("--created epoch needs SOURCE_DATE_EPOCH, which is not set")),
        },
        Some(text) => Some(Created::At(values::time(text).map_err(Failure::usage)?)),
    })
}
