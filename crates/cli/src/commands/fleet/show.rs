use std::{collections::BTreeMap, path::PathBuf};

use palan::fleet::{
    Missed, Shard,
    report::{Image, Report, Standing},
};

use super::status::total;
use crate::{
    exit::Result,
    session::Session,
    ui::text::{self, one_line},
};

/// How much of a sentence a line has.
const LINE: usize = 300;

/// Show a plan: what a reviewer must know first, then each image
///
/// Counts come first, with what each wave must pass, the programs that are going to be run among it, and how images are
/// rebased. Then what failed, is held or needs a rebuild, with the reasons, then each rebase in the order in which the images
/// go. Reads nothing but the file; `fleet status` tells what was done of it.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The plan file
    #[arg(value_name = "PLAN")]
    plan: PathBuf,

    /// Only this part of the plan, as `fleet apply --shard`
    #[arg(long, value_name = "I/N")]
    shard: Option<Shard>,

    /// The form
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    format: Format,

    /// Write to a file instead of stdout; it is replaced when the new one is complete
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people
    #[default]
    Text,
    /// For programs: the report of "fleet status" before anything was done
    Json,
    /// For a pull request
    Markdown,
}

pub(super) fn run(args: &Args, session: &Session) -> Result {
    let plan = super::read_plan(&args.plan)?;
    let part = args.shard.map_or_else(|| plan.clone(), |shard| shard.part(&plan));
    let report = Report { plan: plan.digest(), ..Report::new(&part, &BTreeMap::new()) };
    let text = match args.format {
        Format::Text => text(&report),
        Format::Json => report.to_json(),
        Format::Markdown => report.to_markdown(),
    };
    super::deliver(args.output.as_deref(), &text, session)
}

fn text(report: &Report) -> String {
    let mut out = summary(report);
    // What went wrong first, then what needs somebody, then what is going to happen.
    let order = [
        Standing::Failed,
        Standing::NeedsRebuild,
        Standing::Held,
        Standing::Planned,
        Standing::BaseUnknown,
        Standing::NoRule,
        Standing::Nothing,
    ];
    for state in order {
        for image in report.standing(state) {
            out.push('\n');
            out.push_str(&block(image));
        }
    }
    out
}

fn summary(report: &Report) -> String {
    let mut out = format!("plan {}\n{}rebase: {}\n", report.plan, total(report), report.rebase_terms());
    for wave in &report.waves {
        let (name, count) = (one_line(&wave.name, LINE), text::count(wave.totals.images, "image"));
        let states =
            if wave.totals.images == 0 { String::new() } else { format!(", {}", wave.totals.sentence()) };
        out.push_str(&format!("wave {name}: {count}{states}\n"));
        out.push_str(&wave.gate_terms().map(|terms| format!("  gates: {terms}\n")).unwrap_or_default());
    }
    for base in &report.bases {
        let count = text::count(base.totals.images, "image");
        out.push_str(&format!("{}: {count}, {}\n", one_line(&base.change(), LINE), base.totals.sentence()));
    }
    out.push_str(&missed(report));
    out
}

/// What could not be looked at when the plan was made, a line each.
pub(super) fn missed(report: &Report) -> String {
    let line = |missed: &Missed| {
        let (image, named) = (one_line(&missed.image, LINE), one_line(&missed.named_in.join(", "), LINE));
        format!("not looked at: {image} ({named}): {}\n", one_line(&missed.reason, LINE))
    };
    report.missed.iter().map(line).collect()
}

/// An image: a line of its own, then what there is to know of it, indented.
fn block(image: &Image) -> String {
    let mut out = format!("{}: {}\n", image.image, image.state);
    let mut line =
        |name: &str, value: &str| out.push_str(&format!("  {name:<10} {}\n", one_line(value, LINE)));
    for reason in &image.reasons {
        line("because", reason);
    }
    line("wave", &image.wave);
    for before in &image.after {
        line("after", &before.to_string());
    }
    for (name, value) in facts(image) {
        line(name, &value);
    }
    for finding in &image.findings {
        line("finding", finding);
    }
    out
}

fn facts(image: &Image) -> impl Iterator<Item = (&'static str, String)> {
    let platforms = image.platforms.iter().map(|on| {
        let found = on.evidence.as_ref().map(|evidence| format!(", found by {evidence}")).unwrap_or_default();
        let layers = text::count(on.boundary, "layer");
        ("platform", format!("{}: {}, {layers} of {}{found}", on.platform, on.verdict, on.old_base))
    });
    let all = [
        ("old base", image.old_base.clone()),
        ("new base", image.new_base.as_ref().map(ToString::to_string)),
        ("verdict", image.verdict.map(|verdict| verdict.to_string())),
        ("layers", image.growth()),
        ("digest", image.digest.map(|digest| digest.to_string())),
        ("becomes", image.new_digest.map(|digest| digest.to_string())),
        ("candidate", image.candidate.as_ref().map(ToString::to_string)),
        ("backup", image.backup.as_ref().map(ToString::to_string)),
    ];
    all.into_iter().filter_map(|(name, value)| Some((name, value?))).chain(platforms)
}
