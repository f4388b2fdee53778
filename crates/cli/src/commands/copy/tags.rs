//! Copying many tags: each has an outcome of its own.

use std::{collections::HashSet, sync::Arc};

use futures_util::{StreamExt as _, stream};
use palan::{
    companions::Finder,
    copy::Copier,
    place::{Format, Location, Source},
};
use palan_core::{Digest, Selector};

use super::{
    Job,
    report::{Copied, Report},
};
use crate::{
    commands::read::Collection,
    exit::{Code, Failure, Result},
    ui::text,
};

pub(super) async fn run(job: &Job<'_>) -> Result {
    let (args, session) = (job.args, job.session);
    let (from, to) = (Collection::parse(&args.source)?, Collection::parse(&args.destination)?);
    if matches!(to.location, Location::Archive { format: Format::Docker, .. }) {
        return Err(Failure::usage(format!(
            "{} cannot take all tags: its images need full names",
            args.destination
        ))
        .with_hint("copy the images one by one, or to an oci-archive:"));
    }
    let source = job.places.source_for(&from.location, &to.location)?.place;
    let target = job.target(&to.location)?;
    let mut tags = chosen(job, &from.name, source.as_ref()).await?;
    if args.no_clobber {
        let existing =
            target.tags().await.or_else(|e| if e.is_not_found() { Ok(Vec::new()) } else { Err(e) })?;
        tags.retain(|tag| !existing.contains(tag));
    }
    let progress = session.ui.progress();
    let copier = Copier::new(&source, &target, &session.copy_options(&progress));
    let copies = Copies { job, source: &source, copier: &copier, at_once: at_once(job, &to.location) };
    let mut results = copies.all(tags).await;
    // An archive with some of the tags would look like one with all of them.
    let whole =
        results.iter().all(|(_, result)| result.is_ok()) || !matches!(to.location, Location::Archive { .. });
    if whole {
        target.finish().await?;
    }
    drop(progress);
    let (mut images, mut failed) = (Vec::new(), Vec::new());
    for (tag, result) in results.drain(..) {
        match result {
            Ok(copied) => images.extend(copied),
            Err(failure) => failed.push((tag, failure)),
        }
    }
    if whole {
        let what = format!("{} of {}", text::count(images.len(), "tag"), from.name);
        let (from, to, summary) = (from.name, to.name, copier.summary());
        Report { what, from, to, dry_run: args.dry_run, images, summary }.print(args.format, session)?;
    } else {
        session.ui.warning(format!("{} was not written: some tags are missing", to.name));
    }
    conclude(job, &failed)
}

/// The first failure decides the exit code.
fn conclude(job: &Job<'_>, failed: &[(String, Failure)]) -> Result {
    let Some((_, first)) = failed.first() else { return Ok(()) };
    for (tag, failure) in failed {
        job.session.ui.warning(format!("{tag} was not copied"));
        job.session.ui.failure(failure);
    }
    Err(Failure::reported(first.code))
}

/// Files are written in the order of the tags, whatever is quicker.
fn at_once(job: &Job<'_>, to: &Location) -> usize {
    if matches!(to, Location::Registry(_)) { job.session.global.jobs } else { 1 }
}

/// The tags to copy. A pattern that stands for none is a mistake.
async fn chosen(job: &Job<'_>, from: &str, source: &dyn Source) -> Result<Vec<String>> {
    let filter = job.filter();
    let mut tags = source.tags().await?;
    if let Some(pattern) = filter.unmatched(&tags).first() {
        return Err(Failure::new(Code::NotFound, format!("no tag of {from} matches {pattern}"))
            .with_hint(format!("palan ls {from} lists the tags")));
    }
    tags.retain(|tag| filter.matches(tag));
    Ok(tags)
}

struct Copies<'a> {
    job: &'a Job<'a>,
    source: &'a Arc<dyn Source>,
    copier: &'a Copier,
    at_once: usize,
}

/// What became of a tag; `None`: it was left alone.
type Outcome = Result<Option<Copied>>;

impl Copies<'_> {
    async fn all(&self, tags: Vec<String>) -> Vec<(String, Outcome)> {
        let mut which = self.job.which;
        // All tags are copied anyway.
        which.digest_tags &= !self.job.filter().include.is_empty() || !self.job.filter().exclude.is_empty();
        let finder = Finder::new(self.source.as_ref(), which);
        // Where referrers travel, the tags that list them are made anew, as far as the destination needs them.
        let (lists, tags): (Vec<String>, Vec<String>) =
            tags.into_iter().partition(|tag| which.referrers && Digest::is_referrers_tag(tag));
        let mut done = self.wave(tags, &finder).await;
        let asked: HashSet<String> =
            done.iter().flat_map(|(_, _, asked)| asked).map(Digest::referrers_tag).collect();
        let rest = lists.into_iter().filter(|tag| !asked.contains(tag)).collect();
        done.extend(self.wave(rest, &finder).await);
        done.into_iter().map(|(tag, outcome, _)| (tag, outcome)).collect()
    }

    async fn wave(&self, tags: Vec<String>, finder: &Finder<'_>) -> Vec<(String, Outcome, HashSet<Digest>)> {
        let copies = tags.into_iter().map(|tag| async move {
            let mut asked = HashSet::new();
            let outcome = self.tag(&tag, finder, &mut asked).await;
            (tag, outcome, asked)
        });
        stream::iter(copies).buffered(self.at_once).collect().await
    }

    async fn tag(&self, tag: &str, finder: &Finder<'_>, asked: &mut HashSet<Digest>) -> Outcome {
        let (job, source) = (self.job, self.source.as_ref());
        let image = job.read(source, &Selector::Tag(tag.to_owned()), finder).await?;
        asked.extend(&image.found.asked);
        image.say(job.session);
        match image.copy(self.copier, job.tagged(tag.to_owned())).await {
            // Somebody else was quicker.
            Err(failure) if failure.code == Code::Conflict && job.args.no_clobber => {
                job.session.ui.note(format!("{tag} exists and was left alone"));
                Ok(None)
            }
            done => done.map(|()| Some(Copied::new(Some(tag), &image))),
        }
    }
}
