//! A look at the files of what will be picked, of what that was made on, and of what it goes onto.

use std::sync::Arc;

use futures_util::future::try_join_all;
use palan_core::Document;
use palan_layer::{Listing, listing::Facts};
use serde_json::{Map, Value};

use super::{Found, Pair, Request};
use crate::{
    Error,
    place::Source,
    rebase::{Verdict, base::Base},
    select,
    verdict::{Assessment, Case, starts},
};

/// Where everything is.
pub(super) struct Look<'a> {
    pub(super) onto: &'a dyn Source,
    pub(super) source: &'a Base,
    pub(super) request: &'a Request,
}

impl Look<'_> {
    /// Judges every image; `configs` are the results', in the same order.
    pub(super) async fn at(&self, found: &mut Found, configs: &[Document]) -> Result<(), Error> {
        let judged = found.pairs.iter().zip(configs).map(|(pair, config)| self.judge(pair, config));
        for (platform, assessment) in found.platforms.iter_mut().zip(try_join_all(judged).await?) {
            platform.verdict = Verdict::Assessed(assessment.grade);
            platform.assessment = Some(assessment);
        }
        Ok(())
    }

    async fn judge(&self, pair: &Pair, config: &Document) -> Result<Assessment, Error> {
        let listings = &self.request.listings;
        let (source, new) = tokio::try_join!(
            listings.of_image(self.source.source.as_ref(), &pair.source, ..pair.height()),
            listings.of_image(self.onto, &pair.onto, ..),
        )?;
        let own: Vec<Arc<Listing>> = pair.chosen.iter().map(|at| Arc::clone(&source[*at])).collect();
        let new_config = pair.onto.config.object()?;
        let mut app_config = pair.source.config.object()?;
        // Who asks for it may give any machine files that are no programs.
        if self.request.any_platform && !own.iter().any(|layer| has_programs(layer)) {
            take_platform(&mut app_config, &new_config);
        }
        // What the image does not start as it is, the layers do not break.
        if !starts(new.clone(), new_config.clone()).await? {
            forget_program(&mut app_config);
        }
        let case = Case {
            old: pair.left_behind(&source),
            new,
            own,
            // The layers were made with the variables of their image.
            old_config: Some(app_config.clone()),
            app_config,
            new_config,
            result_config: config.object()?,
            steps: pair.steps(),
        };
        match case.clone().judge(&pair.source.name, listings.judges()).await {
            // A layer that stays behind needs a picked one beneath it. What was there in the end was made of both; that
            // can be called too much, and never too little.
            Err(Error::NoFileSystem { .. }) if !case.old.is_empty() => {
                Case { old: source, ..case }.judge(&pair.source.name, listings.judges()).await
            }
            assessed => assessed,
        }
    }
}

impl Pair {
    /// How many layers of the source there are up to the highest one that is picked.
    fn height(&self) -> usize {
        self.chosen.iter().max().map_or(0, |highest| highest + 1)
    }

    /// What made the picked layers, where the history says so, and where that was run.
    fn steps(&self) -> Option<Vec<String>> {
        let about = select::history(&self.source)?;
        let picked: Vec<usize> = self.chosen.iter().filter_map(|at| about.get(*at).copied()).collect();
        let entries = self.source.config_view.history.iter().enumerate();
        let commands = entries.map(|(at, entry)| (at, entry.created_by.clone().unwrap_or_default()));
        let matters = |(at, command): &(usize, String)| picked.contains(at) || command.contains("WORKDIR ");
        Some(commands.filter(matters).map(|(_, command)| command).collect())
    }

    /// What the picked layers were made on, and does not come along.
    fn left_behind(&self, source: &[Arc<Listing>]) -> Vec<Arc<Listing>> {
        let below = source.iter().enumerate().take(self.height());
        below.filter(|(at, _)| !self.chosen.contains(at)).map(|(_, layer)| Arc::clone(layer)).collect()
    }
}

fn has_programs(layer: &Listing) -> bool {
    layer.facts.values().any(|facts| matches!(facts, Facts::Elf(_)))
}

fn forget_program(config: &mut Map<String, Value>) {
    if let Some(settings) = config.get_mut("config").and_then(Value::as_object_mut) {
        settings.retain(|name, _| name != "Entrypoint" && name != "Cmd");
    }
}

fn take_platform(config: &mut Map<String, Value>, from: &Map<String, Value>) {
    for field in ["architecture", "variant"] {
        match from.get(field) {
            Some(value) => drop(config.insert(field.to_owned(), value.clone())),
            None => drop(config.shift_remove(field)),
        }
    }
}
