use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use palan::{
    copy::{self, Copier, Summary},
    place::{Format, Location, Places, PutAs, Source, Target},
};
use palan_core::{Digest, Selector};

use super::{dry::Dry, read::Collection};
use crate::{
    exit::{Code, Failure, Result},
    session::Session,
    ui::text,
};

/// Copy an image, or all images of a repository, from any location to any other
///
/// Bytes and digests stay as they are. An index is copied whole, unless --platform chooses one of its images. Layers
/// that the destination has, or that its registry can mount, are not moved.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The image; with --all-tags, the repository, layout or archive
    #[arg(value_name = "SRC")]
    source: String,

    /// Where to; with --all-tags, a repository or layout
    #[arg(value_name = "DST")]
    destination: String,

    /// Copy every tag; tags after a failed one are still copied
    #[arg(short, long)]
    all_tags: bool,

    /// Leave tags alone that the destination already has
    #[arg(short, long)]
    no_clobber: bool,

    /// Say what would be copied, and write nothing
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn run(args: &Args, session: &Session) -> Result {
    let places = session.places()?;
    if args.all_tags { all(args, &places, session).await } else { one(args, &places, session).await }
}

async fn one(args: &Args, places: &Places, session: &Session) -> Result {
    let (from, to): (Location, Location) = (args.source.parse()?, args.destination.parse()?);
    let source = places.source(&from)?;
    let document = super::read::document(&source, session).await?;
    let role = PutAs::at(&to, document.digest())?;
    let target = target(args, places, &to)?;
    if let (true, PutAs::Tag(tag)) = (args.no_clobber, &role)
        && let Some(found) = existing(target.as_ref(), tag).await?
    {
        return Err(Failure::new(
            Code::Conflict,
            format!("{to} exists ({found}) and --no-clobber was given"),
        ));
    }
    let progress = session.ui.progress();
    let summary =
        copy::copy(&source.place, &target, vec![(document, role)], &session.copy_options(&progress)).await?;
    target.finish().await?;
    drop(progress);
    report(args, &from.to_string(), &to.to_string(), &summary, session)
}

fn target(args: &Args, places: &Places, to: &Location) -> Result<Arc<dyn Target>> {
    if args.dry_run { Dry::open(places, to) } else { Ok(places.target(to)?.place) }
}

async fn existing(target: &dyn Target, tag: &str) -> Result<Option<Digest>> {
    match target.resolve(&Selector::Tag(tag.to_owned())).await {
        Ok(found) => Ok(Some(found.digest)),
        Err(e) if e.is_not_found() => Ok(None),
        Err(e) => Err(e.into()),
    }
}

async fn all(args: &Args, places: &Places, session: &Session) -> Result {
    let (from, to) = (Collection::parse(&args.source)?, Collection::parse(&args.destination)?);
    if matches!(to.location, Location::Archive { format: Format::Docker, .. }) {
        return Err(Failure::usage(format!(
            "{} cannot take all tags: its images need full names",
            args.destination
        ))
        .with_hint("copy the images one by one, or to an oci-archive:"));
    }
    let source = from.source(places)?;
    let target = target(args, places, &to.location)?;
    let mut tags = source.tags().await?;
    if args.no_clobber {
        let existing =
            target.tags().await.or_else(|e| if e.is_not_found() { Ok(Vec::new()) } else { Err(e) })?;
        tags.retain(|tag| !existing.contains(tag));
    }
    let progress = session.ui.progress();
    let options = session.copy_options(&progress);
    let copier = Copier::new(&source, &target, &options);
    let copies = tags.iter().map(|tag| one_tag(tag, &source, &copier, session));
    let results: Vec<Result> = stream::iter(copies).buffered(session.global.jobs).collect().await;
    // An archive with some of the tags would look like one with all of them.
    if results.iter().all(Result::is_ok) || !matches!(to.location, Location::Archive { .. }) {
        target.finish().await?;
    }
    drop(progress);
    summarize(args, &from.name, &to.name, &tags, results, &copier.summary(), session)
}

async fn one_tag(tag: &str, source: &Arc<dyn Source>, copier: &Copier, session: &Session) -> Result {
    let opened =
        palan::place::Opened { place: Arc::clone(source), selector: Some(Selector::Tag(tag.to_owned())) };
    let document = super::read::document(&opened, session).await?;
    Ok(copier.copy(document, PutAs::Tag(tag.to_owned())).await?)
}

/// Sums up; the first failure decides the exit code.
fn summarize(
    args: &Args,
    from: &str,
    to: &str,
    tags: &[String],
    results: Vec<Result>,
    total: &Summary,
    session: &Session,
) -> Result {
    let failed: Vec<_> =
        tags.iter().zip(results).filter_map(|(tag, result)| Some((tag, result.err()?))).collect();
    let copied = tags.len() - failed.len();
    report(args, &format!("{} of {from}", text::count(copied, "tag")), to, total, session)?;
    let Some((_, first)) = failed.first() else { return Ok(()) };
    let code = first.code;
    for (tag, failure) in &failed {
        session.ui.warning(format!("{tag} was not copied"));
        session.ui.failure(failure);
    }
    Err(Failure::reported(code))
}

fn report(args: &Args, from: &str, to: &str, summary: &Summary, session: &Session) -> Result {
    let what = super::write::summary(summary);
    if args.dry_run {
        return session.ui.line(format!("would copy {from} to {to}: {what}"));
    }
    session.ui.say(format!("copied {from} to {to}: {what}"));
    Ok(())
}
