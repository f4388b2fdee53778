//! Where the images of a fleet are named: references, lists, manifests, repositories.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt as _, stream};
use palan_core::{Digest, Reference, Repository, Selector};

use super::{
    files::{self, InFile},
    inventory::Missed,
    settings::{Settings, Tags},
    template::Template,
};
use crate::{
    Error,
    base::RepositoryPattern,
    cancel,
    place::{Location, Places},
};

/// The images of a fleet by name, and where each is named.
#[derive(Default)]
pub(super) struct Sources {
    pub(super) images: BTreeMap<Reference, Naming>,
    pub(super) missed: Vec<Missed>,
    /// What is said of images that were listed and left out, because of templates that may give such tags to services, too.
    pub(super) left: Vec<String>,
    /// What names no image, in sentences.
    pub(super) unfit: Vec<String>,
    /// All tags that are known of a repository.
    tags: BTreeMap<Repository, BTreeSet<String>>,
}

/// Where an image is named.
#[derive(Default)]
pub(super) struct Naming {
    /// Files and lines, patterns.
    pub(super) places: Vec<String>,
    /// Whether somebody wrote its name; otherwise a registry listed it.
    pub(super) is_written: bool,
}

/// Reads the files and asks the registries. A file that cannot be read is an error, a repository that cannot be listed is
/// missed.
pub(super) async fn find(places: &Places, settings: &Settings, jobs: usize) -> Result<Sources, Error> {
    let mut out = Sources::default();
    for reference in &settings.images.references {
        out.written(&reference.to_string(), reference, "references".to_owned());
    }
    let (files, manifests) = (settings.images.files.clone(), settings.images.manifests.clone());
    let read = cancel::on_thread(move || files::named(&files, &manifests)).await;
    let read = read.map_err(|_| Error::Cancelled)??;
    out.unfit.extend(read.empty.iter().map(|file| format!("{file} names no image")));
    for InFile { place, written, image } in read.images {
        match image {
            Ok(reference) => out.written(&written, &reference, place),
            Err(reason) => out.missed.push(Missed { image: written, named_in: vec![place], reason }),
        }
    }
    for text in &settings.images.repositories {
        match text.parse() {
            Ok(pattern) => out.listed(places, text, &pattern, jobs).await,
            Err(error) => out.miss(text, &error.to_string()),
        }
    }
    out.look_for_unfit(&settings.images.repositories);
    out.exclude(&settings.images.exclude);
    out.leave_own_tags(&settings.tags);
    Ok(out)
}

impl Sources {
    /// Says which patterns fit nothing: they are likely to be mistyped.
    fn look_for_unfit(&mut self, patterns: &[String]) {
        let is_met = |text: &&String| {
            let repository = repository_of(text);
            let is_missed = |missed: &Missed| [*text, &repository].contains(&&missed.image);
            self.missed.iter().any(is_missed)
                || self.images.values().any(|naming| naming.places.contains(*text))
        };
        let unfit: Vec<_> = patterns.iter().filter(|text| !is_met(text)).collect();
        self.unfit.extend(unfit.into_iter().map(|text| format!("no image fits {text}")));
    }

    fn exclude(&mut self, patterns: &[String]) {
        for text in patterns {
            let Ok(pattern) = text.parse::<RepositoryPattern>() else { continue };
            let before = self.images.len();
            self.images.retain(|image, _| !pattern.matches(image));
            if self.images.len() == before {
                self.unfit.push(format!("no image fits {text}, which is to be left out"));
            }
        }
    }

    /// A name that somebody wrote. An image that is known by its digest alone has no tag that could be moved.
    fn written(&mut self, written: &str, reference: &Reference, place: String) {
        let Some(tag) = reference.tag() else {
            let reason = "it is named by its digest alone, so that there is no tag to move".to_owned();
            return self.missed.push(Missed { image: written.to_owned(), named_in: vec![place], reason });
        };
        let place = if reference.digest().is_some() { format!("{place} (by digest)") } else { place };
        let naming = self.add(reference.repository(), tag, place);
        naming.is_written = true;
    }

    fn add(&mut self, repository: &Repository, tag: &str, place: String) -> &mut Naming {
        self.tags.entry(repository.clone()).or_default().insert(tag.to_owned());
        let image = repository.at(&Selector::Tag(tag.to_owned()));
        let naming = self.images.entry(image).or_default();
        if !naming.places.contains(&place) {
            naming.places.push(place);
        }
        naming
    }

    fn miss(&mut self, image: &str, reason: &str) {
        let named_in = vec!["repositories".to_owned()];
        self.missed.push(Missed { image: image.to_owned(), named_in, reason: reason.to_owned() });
    }

    /// The tags of repositories that fit a pattern.
    async fn listed(&mut self, places: &Places, text: &str, pattern: &RepositoryPattern, jobs: usize) {
        let repositories = match pattern.single() {
            Some(one) => match one.single() {
                Some(tag) => {
                    self.add(&one.repository, tag, text.to_owned()).is_written = true;
                    return;
                }
                None => vec![one.repository],
            },
            None => match catalog(places, pattern).await {
                Ok(found) => found,
                Err(error) => {
                    return self.miss(text, &format!("the catalog cannot be read: {}", error.in_full()));
                }
            },
        };
        let tags = stream::iter(repositories).map(|repository| async move {
            let any = Location::Registry(repository.at(&Selector::Tag("latest".to_owned())));
            let read = async { places.source(&any)?.place.tags().await };
            (read.await, repository)
        });
        let tags: Vec<_> = tags.buffered(jobs.max(1)).collect().await;
        for (tags, repository) in tags {
            match tags {
                Ok(tags) => self.tagged(&repository, tags, text, pattern),
                Err(error) => self.miss(&repository.to_string(), &error.in_full()),
            }
        }
    }

    fn tagged(
        &mut self,
        repository: &Repository,
        tags: Vec<String>,
        text: &str,
        pattern: &RepositoryPattern,
    ) {
        for tag in &tags {
            if pattern.matches_tag(tag) && Digest::tag_stem(tag).is_none() {
                self.add(repository, tag, text.to_owned());
            }
        }
        self.tags.entry(repository.clone()).or_default().extend(tags);
    }

    /// Leaves out what an earlier run has pushed: candidates and backups. Those of the default templates whatever the
    /// templates are now: moving a backup takes away the way back.
    fn leave_own_tags(&mut self, templates: &Tags) {
        let (tags, missed, left) = (&self.tags, &mut self.missed, &mut self.left);
        let of_none = BTreeSet::new();
        self.images.retain(|image, naming| {
            let others = tags.get(image.repository()).unwrap_or(&of_none);
            let tag = image.tag().unwrap_or_default();
            let given =
                [&templates.candidate, &templates.backup].into_iter().find(|t| t.matches(tag, others));
            let reason = match (Template::is_of_default(tag), given) {
                (true, _) => "its tag is that of a candidate or backup".to_owned(),
                (false, Some(template)) => format!("its tag is one that the template \"{template}\" gives"),
                (false, None) => return true,
            };
            if naming.is_written {
                let named_in = std::mem::take(&mut naming.places);
                missed.push(Missed { image: image.to_string(), named_in, reason });
            } else if !Template::is_of_default(tag) {
                left.push(format!("{image} is left out: {reason}"));
            }
            false
        });
    }
}

/// The repository of a pattern of tags.
fn repository_of(pattern: &str) -> String {
    let parsed = pattern.parse::<RepositoryPattern>().ok();
    let single = parsed.and_then(|pattern| Some(pattern.single()?.repository.to_string()));
    single.unwrap_or_default()
}

async fn catalog(places: &Places, pattern: &RepositoryPattern) -> Result<Vec<Repository>, Error> {
    let registry = pattern.registry();
    let found = places.client().catalog(registry, None).await?;
    let found = found.iter().filter_map(|name| format!("{registry}/{name}").parse().ok());
    let mut found: Vec<Repository> = found.filter(|name| pattern.matches_repository(name)).collect();
    found.sort();
    found.dedup();
    Ok(found)
}
