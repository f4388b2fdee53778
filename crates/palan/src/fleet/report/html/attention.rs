//! Who has to look at what, and why.

use super::{
    super::{Image, Report, Standing, markup::escape},
    badge, name,
};
use crate::{fleet::inventory::Missed, text::count};

/// What needs somebody, and what is said of it.
const KINDS: [(Standing, &str); 5] = [
    (Standing::Failed, "Something failed. Running the command again tries it again."),
    (Standing::GateFailed, "The candidate was pushed and did not pass a gate; the tag has not moved."),
    (
        Standing::Moved,
        "Somebody else has moved the tag since the plan was made. It was left alone; plan it again.",
    ),
    (Standing::NeedsRebuild, "New layers below these would not work: only a rebuild on the new base helps."),
    (Standing::Held, "They would not pass the gates; somebody has to decide."),
];

pub(super) fn section(out: &mut String, report: &Report) {
    let kinds = KINDS.map(|(state, text)| (state, text, report.standing(state).collect::<Vec<_>>()));
    if report.missed.is_empty() && kinds.iter().all(|(_, _, images)| images.is_empty()) {
        return;
    }
    out.push_str("<section id=\"attention\">\n<h2>Needs somebody</h2>\n");
    missed(out, &report.missed);
    for (state, text, images) in kinds.iter().filter(|(_, _, images)| !images.is_empty()) {
        let (badge, count) = (badge(state.as_str()), count(images.len(), "image"));
        out.push_str(&format!(
            "<details class=\"card kind\" open>\n<summary>{badge} <b>{count}</b> <span class=\"note\">{text}</span></summary>\n<ul>\n"
        ));
        out.extend(images.iter().map(|image| item(image)));
        out.push_str("</ul>\n</details>\n");
    }
    out.push_str("</section>\n");
}

fn missed(out: &mut String, all: &[Missed]) {
    if all.is_empty() {
        return;
    }
    let (badge, count) = (badge("failed"), count(all.len(), "name"));
    out.push_str(&format!(
        "<details class=\"card kind\" open>\n<summary>{badge} <b>{count}</b> <span class=\"note\">Could not be looked at \
         when the plan was made: their images are not in it.</span></summary>\n<ul>\n"
    ));
    for one in all {
        let (name, reason) = (name(&one.image), escape(&one.reason));
        out.push_str(&format!(
            "<li><div><p class=\"name\">{name}</p></div>\n<div class=\"why\">\n<p>{reason}</p>\n</div></li>\n"
        ));
    }
    out.push_str("</ul>\n</details>\n");
}

fn item(image: &Image) -> String {
    let verdict = image.verdict.map(|verdict| badge(crate::fleet::report::markup::verdict(verdict)));
    let bases = image.bases().map(|bases| format!("<p class=\"note\">{}</p>", escape(&bases)));
    let (name, verdict, bases) =
        (name(&image.image.to_string()), verdict.unwrap_or_default(), bases.unwrap_or_default());
    let mut out =
        format!("<li><div><p class=\"name\">{name} {verdict}</p>{bases}</div>\n<div class=\"why\">\n");
    for line in image.reasons.iter().chain(&image.findings) {
        out.push_str(&format!("<p>{}</p>\n", escape(line)));
    }
    if let Some(gate) = image.gate.as_ref().filter(|gate| !gate.output.trim().is_empty()) {
        out.push_str(&format!("<pre>{}</pre>\n", escape(gate.output.trim())));
    }
    out.push_str("</div></li>\n");
    out
}
