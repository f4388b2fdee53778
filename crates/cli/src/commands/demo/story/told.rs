//! The story, for people.

use std::time::Duration;

use super::steps::{Step, Story, Told};
use crate::{
    session::Session,
    ui::{
        table,
        text::{count, duration, size},
    },
};

/// Steps, and what they cost.
pub(super) fn table_of(story: &Story) -> String {
    let head = ["STEP", "DONE", "TIME", "REQUESTS", "PER PLATFORM", "SENT", "RECEIVED"];
    table(&head, story.steps.iter().map(|step| row(step, story)))
}

fn row(step: &Step, story: &Story) -> [String; 7] {
    [
        step.name.to_owned(),
        step.what.clone(),
        duration(Duration::from_millis(step.milliseconds)),
        step.requests.to_string(),
        each(step.requests, story),
        size(step.bytes_sent),
        size(step.bytes_received),
    ]
}

/// For each image and platform.
fn each(requests: u64, story: &Story) -> String {
    let platforms = u64::try_from(story.platform_images.max(1)).unwrap_or(u64::MAX);
    let tenths = (requests * 10 + platforms / 2) / platforms;
    format!("{}.{}", tenths / 10, tenths % 10)
}

pub(super) fn tell(story: &Story, session: &Session) {
    let say = |text: String| session.ui.say(text);
    let until_pushed: Vec<&Step> =
        story.steps.iter().filter(|step| ["scan", "plan", "apply"].contains(&step.name)).collect();
    let sum = |of: fn(&Step) -> u64| until_pushed.iter().map(|step| of(step)).sum::<u64>();
    say(format!(
        "{} for {}: found, planned and pushed in {} with {} requests ({} for each image and platform), {} sent",
        count(story.images, "image"),
        count(story.platform_images, "platform image"),
        duration(Duration::from_millis(sum(|step| step.milliseconds))),
        sum(|step| step.requests),
        each(sum(|step| step.requests), story),
        size(sum(|step| step.bytes_sent)),
    ));
    let verdicts: Vec<String> = story.verdicts.iter().map(|(verdict, n)| format!("{n} {verdict}")).collect();
    say(format!(
        "verdicts: {}; {} of the wave canary passed the smoke test",
        verdicts.join(", "),
        story.tested
    ));
    for (reason, images) in grouped(&story.held) {
        say(format!("held: {}: {reason}", images.join(", ")));
    }
    for moved in &story.moved {
        say(format!("left alone: {}: somebody moved its tag after it was applied", moved.image));
    }
    let back = count(story.restored.len(), "image");
    say(format!("promoted {}, gave {back} back", count(story.promoted, "image")));
    say(format!(
        "{} read back: every file of the new bases and of the images, configs, platforms, backups; nothing else moved",
        count(story.checked, "tag")
    ));
}

/// By reason, in the order in which they come first.
fn grouped(all: &[Told]) -> Vec<(&str, Vec<&str>)> {
    let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
    for told in all {
        match groups.iter_mut().find(|(reason, _)| *reason == told.reason) {
            Some((_, images)) => images.push(&told.image),
            None => groups.push((&told.reason, vec![&told.image])),
        }
    }
    groups
}
