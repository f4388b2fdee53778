//! What the images of a fleet stand on.

use std::collections::BTreeMap;

use futures_util::{StreamExt as _, stream};
use palan_core::Reference;

use super::{
    ground,
    inventory::{Inventory, Link, Member, MemberPlatform, Missed},
    settings::Settings,
    sources::{self, Naming},
    standing::{self, FLEET, Seen, Stack, tagged},
};
use crate::{
    Error, Observer,
    base::{Detector, KnownBases, PlatformBase, Status, Subject},
    place::{Location, Places},
};

/// Looks at every image that the settings name: manifests, configs and attestations, no layers; `jobs` images at the same
/// time, and every base once.
///
/// Fails where a file that names images cannot be read. What else fails is in [`Inventory::missed`].
pub async fn scan(
    places: &Places,
    settings: &Settings,
    known: Option<&KnownBases>,
    jobs: usize,
    observer: &Observer,
) -> Result<Inventory, Error> {
    let places = places.clone().asking_once();
    look_at_all(&places, Detector::new(&places, known), settings, jobs, observer).await
}

/// The images of a fleet that stand on one base.
#[derive(Debug)]
pub struct On {
    /// Those, and in [`Inventory::unsure`] those that may.
    pub inventory: Inventory,
    /// How many images were looked at.
    pub all: usize,
    /// Why the base itself could not be read: then images are known by names and digests alone.
    pub unread: Option<Error>,
}

/// As [`scan`](fn@scan), of the images that stand on a base, by whatever way. The base is compared with each of them, so
/// that it needs no mention anywhere.
///
/// What a tag stood for earlier cannot be compared. With the base's digest nothing is left unsure, if it can be read.
pub async fn scan_on(
    places: &Places,
    settings: &Settings,
    known: Option<&KnownBases>,
    base: &Reference,
    jobs: usize,
    observer: &Observer,
) -> Result<On, Error> {
    let places = &places.clone().asking_once();
    let detector = Detector::new(places, known);
    let (detector, unread) = match detector.base(base).await {
        Ok(_) => (detector.asking(base.clone()), None),
        Err(error) => (detector, Some(error)),
    };
    let inventory = look_at_all(places, detector, settings, jobs, observer).await?;
    let all = inventory.images.len();
    let mut inventory = inventory.on(base);
    if base.digest().is_some() && unread.is_none() {
        inventory.unsure.clear();
    }
    Ok(On { inventory, all, unread })
}

async fn look_at_all(
    places: &Places,
    detector: Detector<'_>,
    settings: &Settings,
    jobs: usize,
    observer: &Observer,
) -> Result<Inventory, Error> {
    let sources = sources::find(places, settings, jobs).await?;
    sources.left.into_iter().for_each(|text| observer.note(text));
    let (mut seen, mut missed, unfit) = (Vec::new(), sources.missed, sources.unfit);
    let asked = settings.waves.iter().filter_map(|wave| wave.label.as_deref());
    let labels: Vec<&str> = asked.map(|label| label.split_once('=').map_or(label, |(key, _)| key)).collect();
    let all = stream::iter(sources.images).map(|(image, naming)| {
        let (detector, labels) = (&detector, &labels);
        async move {
            let found = look(detector, &image, labels).await;
            (image, naming, found)
        }
    });
    let mut all = std::pin::pin!(all.buffer_unordered(jobs.max(1)));
    while let Some((image, naming, found)) = all.next().await {
        match found {
            Ok(mut one) => {
                one.member.named_in = naming.places;
                seen.push(one);
            }
            // Repositories hold other things than images, too.
            Err(Error::WrongKind { .. }) if !naming.is_written => {
                observer.note(format!("{image} is not an image"));
            }
            Err(error) => missed.push(miss(&image, naming, &error)),
        }
    }
    seen.sort_by(|a: &Seen, b| a.member.image.cmp(&b.member.image));
    standing::settle(&mut seen);
    ground::find(&detector, &mut seen, jobs).await;
    let mut images: Vec<Member> = seen.into_iter().map(|one| one.member).collect();
    for platform in images.iter_mut().flat_map(|member| &mut member.platforms) {
        if platform.evidence.as_deref() == Some(FLEET) {
            newer(&detector, platform).await;
        }
    }
    missed.sort_by(|a, b| (&a.image, &a.named_in).cmp(&(&b.image, &b.named_in)));
    Ok(Inventory { images, missed, unsure: Vec::new(), unfit })
}

fn miss(image: &Reference, naming: Naming, error: &Error) -> Missed {
    Missed { image: image.to_string(), named_in: naming.places, reason: error.in_full() }
}

/// `labels`: the keys of those that are wanted.
async fn look(detector: &Detector<'_>, image: &Reference, labels: &[&str]) -> Result<Seen, Error> {
    let location = Location::Registry(image.clone());
    let (detection, subjects) = detector.subjects_of(&location, &[]).await?;
    let mut platforms = Vec::new();
    let (mut stacks, mut asked) = (Vec::new(), Vec::new());
    for (base, subject) in detection.platforms.iter().zip(&subjects) {
        platforms.push(platform(detector, base, subject).await);
        stacks.push(Stack::of(&subject.image.config_view.rootfs.diff_ids, base));
        asked.push(detector.asked(subject).await.and_then(|found| {
            let (base_digest, base_index) = (found.digest, found.index_digest);
            Some(Link { base: found.name?, base_digest, base_index })
        }));
    }
    let created = subjects.iter().filter_map(|subject| {
        let text = subject.image.config_view.created.clone()?;
        Some((text.parse::<jiff::Timestamp>().ok()?, text))
    });
    let member = Member {
        image: image.clone(),
        digest: detection.digest,
        named_in: Vec::new(),
        created: created.max().map(|(_, text)| text),
        labels: wanted(&subjects, labels),
        below: 0,
        platforms,
    };
    Ok(Seen { member, stacks, asked })
}

/// Of several platforms, the first that has a label.
fn wanted(subjects: &[Subject], labels: &[&str]) -> BTreeMap<String, String> {
    let value = |key: &&str| {
        let of = |subject: &Subject| {
            let config = subject.image.config_view.config.as_ref()?;
            config.labels.as_ref()?.get(*key).cloned()
        };
        Some(((*key).to_owned(), subjects.iter().find_map(of)?))
    };
    labels.iter().filter_map(value).collect()
}

async fn platform(detector: &Detector<'_>, base: &PlatformBase, subject: &Subject) -> MemberPlatform {
    let found = base.base.as_ref();
    let name = found.and_then(|found| found.name.as_ref());
    let mut out = MemberPlatform {
        platform: base.platform.clone(),
        digest: base.digest,
        base: name.map(|name| tagged(name).unwrap_or_else(|| name.clone())),
        base_digest: found.and_then(|found| found.digest),
        base_index: found.and_then(|found| found.index_digest),
        evidence: found.map(|found| found.evidence.as_str().to_owned()),
        boundary: found.and_then(|found| found.boundary),
        status: Status::Unknown.as_str().to_owned(),
        base_now: None,
        versions_behind: 0,
        newest: None,
        reason: found.and_then(|found| found.reason.clone()),
        chain: Vec::new(),
        whole: false,
    };
    // What the base's registry refuses to tell is not known; the image is.
    match detector.age(base, subject, false).await {
        Ok(age) => {
            out.status = age.status.as_str().to_owned();
            out.base_now = age.new;
            if age.status != Status::Unknown {
                newer(detector, &mut out).await;
            }
        }
        Err(error) => out.reason = Some(error.in_full()),
    }
    out
}

/// Which tags are newer than the base's.
async fn newer(detector: &Detector<'_>, platform: &mut MemberPlatform) {
    let Some(base) = &platform.base else { return };
    match detector.newer_tags(base).await {
        Ok(newer) => {
            if !newer.is_empty() && platform.status == Status::Current.as_str() {
                platform.status = Status::NewerTag.as_str().to_owned();
            }
            platform.versions_behind = newer.len();
            platform.newest = newer.into_iter().next();
        }
        Err(error) => platform.reason = Some(format!("newer tags are not known: {}", error.in_full())),
    }
}
