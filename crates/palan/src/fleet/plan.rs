//! Planning: for each image of a fleet, the rebase, computed and locked. Writes nothing.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use futures_util::{StreamExt as _, stream};
use palan_core::{Descriptor, Reference, Selector, view};

use super::{
    chain::Chains,
    gates::refused,
    inventory::{Inventory, Link, Member, MemberPlatform},
    lock::lock,
    planned::{Action, Entry, Left, Plan, SCHEMA, Stood, Wave},
    run::{remember, remembering},
    settings::{BaseRule, Gates, Rules, Settings},
    spread::{fail_faulty, handed_down, hold_above},
    standing::{FLEET, tagged},
    successors::Successors,
    tags::standing,
    waves::{assign, waves},
};
use crate::{
    Error,
    once::Once,
    place::{Location, Places},
    rebase::{self, Knowledge, OldBase, Policy, Refuse, Request},
};

/// What is not done where nobody checks signatures.
pub(super) const SIGNED_BASE: &str = "the gate signed-base: signatures are not checked yet";

/// Tells whether a base is signed by somebody whom the team trusts.
#[async_trait]
pub trait BaseSignatures: Send + Sync {
    /// `Err`: why it does not count as signed, in words that read on from the base's name.
    async fn check(&self, base: &Reference) -> Result<(), String>;
}

/// What a plan is made from.
pub struct Planning<'a> {
    /// What the team decided.
    pub settings: &'a Settings,
    /// The fleet.
    pub inventory: &'a Inventory,
    /// What is known of layers and bases.
    pub knowledge: Knowledge,
    /// How many images are worked on at the same time.
    pub jobs: usize,
    /// Who checks signatures, where gates ask for signed bases.
    pub signatures: Option<Arc<dyn BaseSignatures>>,
}

/// Computes what is to become of each image. What cannot be done for one image is said in its entry.
///
/// Fails only where no plan can be made at all: where a gate asks for what this program cannot do.
pub async fn plan(places: &Places, planning: &Planning<'_>) -> Result<Plan, Error> {
    let settings = planning.settings;
    let gates = settings.waves.iter().filter_map(|wave| wave.gates.as_ref()).chain([&settings.gates]);
    if planning.signatures.is_none() && gates.into_iter().any(|gates| gates.signed_base) {
        return Err(Error::Unsupported(SIGNED_BASE.into()));
    }
    let remembering = remembering(places);
    let successors = Successors::new(&remembering, &settings.bases);
    let planner = Planner { places: &remembering, planning, successors, signed: Once::default() };
    let members = &planning.inventory.images;
    let chains = Chains::of(planning.inventory);
    let mut actions: Vec<Option<Action>> = vec![None; members.len()];
    for level in &chains.levels {
        let level = stream::iter(level).map(|n| {
            let below = chains.on[*n].and_then(|below| Some((&members[below], actions[below].as_ref()?)));
            let action = planner.action(&members[*n], below);
            async move { (*n, action.await) }
        });
        let done: Vec<_> = level.buffer_unordered(planning.jobs.max(1)).collect().await;
        done.into_iter().for_each(|(n, action)| actions[n] = Some(action));
    }
    for number in chains.endless() {
        let reason = "it stands on itself: its base, or a base of its base, is built on it".to_owned();
        actions[number] = Some(Action::Fail { reason });
    }
    let actions = actions.into_iter().flatten().collect();
    Ok(planner.order(actions, &chains).await)
}

struct Planner<'a> {
    places: &'a Places,
    planning: &'a Planning<'a>,
    successors: Successors<'a>,
    signed: Once<Reference, Result<(), String>>,
}

impl Planner<'_> {
    /// `below`: the image of the fleet that it stands on, and what becomes of that.
    async fn action(&self, member: &Member, below: Option<(&Member, &Action)>) -> Action {
        let new_base = match self.new_base(member, below).await {
            Ok(Ok(new_base)) => new_base,
            Ok(Err((why, reason))) => return Action::Nothing { why: Some(why), reason },
            Err(reason) => return Action::Fail { reason },
        };
        let below_action = below.map(|(_, action)| action);
        if self.stands_there(member, &new_base).await {
            let reason = format!("it stands on {new_base} already");
            return handed_down(Action::Nothing { why: Some(Left::UpToDate), reason }, below_action);
        }
        // That an image stands on another one of the fleet is known by the fleet alone.
        let is_told = |platform: &MemberPlatform| platform.evidence.as_deref() == Some(FLEET);
        let by_fleet = below.filter(|_| member.platforms.iter().any(is_told));
        let old_base = by_fleet.map(|(base, _)| base.image.pinned(base.digest));
        match self.rebase(member, old_base, new_base).await {
            Ok(action) => handed_down(action, below_action),
            Err(error) => Action::Fail { reason: error.in_full() },
        }
    }

    /// What an image is to stand on, with its digest; or why it is left alone.
    async fn new_base(
        &self,
        member: &Member,
        below: Option<(&Member, &Action)>,
    ) -> Result<Result<Reference, (Left, String)>, String> {
        let Some(on) = member.platforms.iter().find(|platform| platform.base.is_some()) else {
            let is_known = member.platforms.iter().any(|platform| platform.status != "unknown");
            let left = match is_known {
                true => (Left::UpToDate, "it is built from scratch".to_owned()),
                false => (Left::BaseUnknown, "its base is not known".to_owned()),
            };
            return Ok(Err(left));
        };
        let Some(name) = &on.base else {
            return Ok(Err((Left::BaseUnknown, "its base has no name".to_owned())));
        };
        let plain = tagged(name).map(|name| name.to_string());
        if self.planning.inventory.missed.iter().any(|missed| Some(&missed.image) == plain.as_ref()) {
            return Err(format!("its base {name} could not be looked at"));
        }
        let is_meant = |rule: &BaseRule| {
            let of_digest = |digest| {
                let platforms = &member.platforms;
                platforms.iter().any(|p| [p.base_digest, p.base_index].contains(&Some(digest)))
            };
            rule.from.matches(name) && rule.digest.is_none_or(of_digest)
        };
        let rule = self.planning.settings.bases.iter().find(|rule| is_meant(rule));
        if let Some((base, action)) = below.filter(|_| rule.is_none_or(BaseRule::keeps_name)) {
            return follow(base, action).map(Ok);
        }
        match rule {
            None => self.below(name, on).await.map(Err),
            Some(rule) => self.successors.locked(rule, name).await.map(Ok),
        }
    }

    /// Why an image is left alone whose base no rule is about: one may be about what is below that. Such a base would have
    /// to be rebased first.
    async fn below(&self, name: &Reference, on: &MemberPlatform) -> Result<(Left, String), String> {
        let (rules, chain) = (&self.planning.settings.bases, &on.chain);
        for link in on.link().iter().chain(chain) {
            for rule in rules.iter().filter(|rule| rule.may_lead_to(&link.base)) {
                if let Some(reached) = self.reached(rule, link).await {
                    return Ok((Left::UpToDate, format!("it stands on {reached} already")));
                }
            }
        }
        let about = |link| rules.iter().find(|rule| rule.is_about(link)).map(|rule| (link, rule));
        let Some((link, rule)) = chain.iter().find_map(about) else {
            return Ok((Left::NoRule, format!("no rule is about its base {name}")));
        };
        if let Some(reached) = self.reached(rule, link).await {
            return Ok((Left::UpToDate, format!("its base {name} stands on {reached} already")));
        }
        Err(format!(
            "its base {name} is no image of the fleet, but stands on {}, which a rule is about: name it among the images, or give it a rule",
            link.base
        ))
    }

    /// What takes a base's place by a rule, where that is this base already.
    async fn reached(&self, rule: &BaseRule, link: &Link) -> Option<Reference> {
        let wanted = self.successors.locked(rule, &link.base).await.ok()?;
        self.is_that(link, &wanted).await.then_some(wanted)
    }

    /// Whether nothing would change but what is written about the base.
    async fn stands_there(&self, member: &Member, new_base: &Reference) -> bool {
        for platform in &member.platforms {
            let link = platform.link().filter(|_| platform.boundary.is_some());
            let Some(link) = link.filter(|link| link.base.repository() == new_base.repository()) else {
                return false;
            };
            if !self.is_that(&link, new_base).await {
                return false;
            }
        }
        !member.platforms.is_empty()
    }

    /// Whether a base is what a name with a digest stands for: that image, or one that the index lists.
    async fn is_that(&self, link: &Link, wanted: &Reference) -> bool {
        let Some(digest) = wanted.digest() else { return false };
        if link.has(digest) {
            return true;
        }
        let read = async {
            let opened = self.places.source(&Location::Registry(wanted.clone()))?;
            opened.place.document(&Selector::Digest(digest)).await
        };
        let index = read.await.ok().and_then(|document| document.view::<view::Index>().ok());
        let is_listed = |entry: &Descriptor| Some(entry.digest) == link.base_digest;
        index.is_some_and(|index| index.manifests.iter().any(is_listed))
    }

    async fn rebase(
        &self,
        member: &Member,
        old_base: Option<Reference>,
        new_base: Reference,
    ) -> Result<Action, Error> {
        let image = member.image.pinned(member.digest);
        let bases = (old_base.as_ref(), &new_base);
        let request = request(&self.planning.settings.rebase, &self.planning.knowledge, image, bases);
        let plan = rebase::plan(self.places, &request).await?;
        let report = plan.report();
        if report.new_digest == report.digest {
            let reason = format!("it stands on {new_base} already");
            return Ok(Action::Nothing { why: Some(Left::UpToDate), reason });
        }
        // Images that will stand on this one are planned before it is pushed.
        remember(self.places, &plan);
        let tags = &self.planning.settings.tags;
        let fill = |template: &super::Template| {
            template.fill(&member.image, report.digest, report.new_digest, &new_base)
        };
        let (candidate, backup) = match (fill(&tags.candidate), fill(&tags.backup)) {
            (Ok(candidate), Ok(backup)) => (candidate, backup),
            (Err(reason), _) | (_, Err(reason)) => return Ok(Action::Fail { reason }),
        };
        // A tag that names the result stands for nothing else.
        let was = match tags.candidate.names_result() {
            true => None,
            false => Some(standing(self.places, &candidate).await?.into()),
        };
        let moves = was.filter(|was| !matches!(was, Stood::Nothing) && *was != Stood::For(report.new_digest));
        let finding =
            moves.map(|was| format!("its candidate tag is there already: {candidate} stands for {was}"));
        let mut locked = lock(report, old_base.clone(), new_base.clone(), (candidate, was), backup);
        locked.findings.extend(finding);
        Ok(Action::Rebase(Box::new(locked)))
    }

    /// Waves and gates, now that it is known what there is to do.
    async fn order(&self, mut actions: Vec<Action>, chains: &Chains) -> Plan {
        let (settings, members) = (self.planning.settings, &self.planning.inventory.images);
        let waves = waves(settings);
        let is_rebased = actions.iter().map(|action| matches!(action, Action::Rebase(_)));
        let mut wave_of = assign(&settings.waves, &members.iter().zip(is_rebased).collect::<Vec<_>>());
        self.draw(&mut wave_of, &mut actions, chains, &waves);
        let mut depth = vec![0; members.len()];
        for number in chains.levels.iter().flatten() {
            if let Some(below) = chains.on[*number] {
                depth[*number] = depth[below] + 1;
            }
        }
        let on: Vec<_> = (0..members.len()).map(|number| on_result(number, &actions, chains)).collect();
        let mut images = Vec::new();
        for (number, (member, action)) in members.iter().zip(actions).enumerate() {
            let wave = &waves[wave_of[number]];
            let entry = Entry {
                image: member.image.clone(),
                digest: Some(member.digest),
                base: member.platforms.iter().find_map(|platform| platform.base.clone()),
                wave: wave.name.clone(),
                after: on[number].map(|below| members[below].image.clone()).into_iter().collect(),
                action: self.gated(action, &wave.gates).await,
            };
            images.push((wave_of[number], depth[number], entry));
        }
        let mut missed = Vec::new();
        for one in &self.planning.inventory.missed {
            let Some(image) = one.by_tag() else {
                missed.push(one.clone());
                continue;
            };
            let (action, after) = (Action::Fail { reason: one.reason.clone() }, Vec::new());
            let wave = waves.last().map(|wave| wave.name.clone()).unwrap_or_default();
            images.push((waves.len(), 0, Entry { image, digest: None, base: None, wave, after, action }));
        }
        images.sort_by(|a, b| (a.0, a.1, &a.2.image).cmp(&(b.0, b.1, &b.2.image)));
        let mut images: Vec<Entry> = images.into_iter().map(|(.., entry)| entry).collect();
        hold_above(&mut images);
        let mut plan = Plan {
            schema: SCHEMA.to_owned(),
            rebase: settings.rebase.clone(),
            waves,
            jobs: settings.jobs,
            requests: settings.requests,
            registries: settings.registries.clone(),
            images,
            missed,
        };
        fail_faulty(&mut plan);
        plan
    }

    /// A base goes in the wave of the first that is to stand on its result: nothing can go before that, and who goes first
    /// was chosen. It is said where it moves.
    fn draw(&self, wave_of: &mut [usize], actions: &mut [Action], chains: &Chains, waves: &[Wave]) {
        let members = &self.planning.inventory.images;
        let mut drawn: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
        // Who stands on others before those.
        for number in chains.levels.iter().rev().flatten() {
            let Some(below) = on_result(*number, actions, chains) else { continue };
            let (wave, own) = (wave_of[*number], wave_of[below]);
            if wave < own {
                let assigned = drawn.get(&below).map_or(own, |(assigned, _)| *assigned);
                drawn.insert(below, (assigned, *number));
                wave_of[below] = wave;
            }
        }
        for (number, (assigned, above)) in drawn {
            if let Action::Rebase(locked) = &mut actions[number] {
                let (wave, assigned) = (&waves[wave_of[number]].name, &waves[assigned].name);
                let above = &members[above].image;
                locked.findings.push(format!(
                    "it goes in the wave {wave}, not in {assigned}: {above} of that wave is to stand on it"
                ));
            }
        }
    }

    async fn gated(&self, action: Action, gates: &Gates) -> Action {
        let Action::Rebase(locked) = action else { return action };
        let mut reasons = refused(&locked, gates);
        if let Some(signatures) = self.planning.signatures.as_ref().filter(|_| gates.signed_base) {
            let check = || async { Ok(signatures.check(&locked.new_base).await) };
            match self.signed.get(locked.new_base.clone(), check).await.as_deref() {
                Ok(Ok(())) => {}
                Ok(Err(reason)) => reasons.push(format!("the new base {} {reason}", locked.new_base)),
                Err(error) => reasons.push(error.in_full()),
            }
        }
        if reasons.is_empty() { Action::Rebase(locked) } else { Action::Hold { reasons, locked } }
    }
}

/// The rebase of one image, all of whose names are locked by digest.
pub(super) fn request(
    rules: &Rules,
    knowledge: &Knowledge,
    image: Reference,
    (old_base, new_base): (Option<&Reference>, &Reference),
) -> Request {
    let at = |base: &Reference| Location::Registry(base.clone());
    Request {
        old_base: old_base.map_or(OldBase::Find, |base| OldBase::Image(at(base))),
        new_base: Some(at(new_base)),
        policy: Policy {
            config: rules.config,
            on_conflict: rules.on_conflict,
            attestations: rules.attestations.clone(),
            check: rules.check,
            referrers: rules.referrers,
            // Gates decide.
            refuse: Refuse(None),
            created: rules.created.clone(),
        },
        attest: rules.attest,
        knowledge: knowledge.clone(),
        ..Request::new(Location::Registry(image))
    }
}

/// An image that stands on another one of the fleet goes where that goes.
fn follow(base: &Member, action: &Action) -> Result<Reference, String> {
    match action {
        Action::Rebase(locked) | Action::Hold { locked, .. } => Ok(base.image.pinned(locked.new_digest)),
        // It may have moved since the image was built on it.
        Action::Nothing { .. } => Ok(base.image.pinned(base.digest)),
        Action::Fail { .. } => Err(format!("its base {} cannot be rebased", base.image)),
    }
}

/// The image on whose result another one is to stand.
fn on_result(number: usize, actions: &[Action], chains: &Chains) -> Option<usize> {
    let below = chains.on[number]?;
    match (&actions[number], &actions[below]) {
        (Action::Rebase(own), Action::Rebase(base)) => {
            (own.new_base.digest() == Some(base.new_digest)).then_some(below)
        }
        _ => None,
    }
}
