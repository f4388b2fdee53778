//! All images.

use palan_core::Digest;

use super::{
    super::{
        Image, Report, Standing,
        markup::{escape, verdict},
    },
    DIGITS, badge, name,
};
use crate::text::count;

/// The columns: name, and how they are sorted.
const COLUMNS: [(&str, &str); 7] = [
    ("Image", "text"),
    ("Wave", "number"),
    ("State", "number"),
    ("Verdict", "number"),
    ("Base", "text"),
    ("Platforms", "text"),
    ("Layers", "number"),
];

pub(super) fn section(out: &mut String, report: &Report) {
    let count = count(report.images.len(), "image");
    out.push_str(&format!("<section id=\"images\">\n<h2>{count}</h2>\n"));
    out.push_str(&controls(report));
    out.push_str("<div class=\"card scroll\"><table class=\"images\">\n<thead><tr>");
    out.extend(COLUMNS.map(|(name, kind)| format!("<th scope=\"col\" data-kind=\"{kind}\">{name}</th>")));
    out.push_str("</tr></thead>\n<tbody>\n");
    let wave =
        |image: &Image| report.waves.iter().position(|wave| wave.name == image.wave).unwrap_or_default();
    out.extend(report.images.iter().map(|image| row(image, wave(image))));
    out.push_str("</tbody>\n</table></div>\n</section>\n");
}

/// For the script, which shows them.
fn controls(report: &Report) -> String {
    let option = |word: &str| format!("<option>{}</option>", escape(word));
    let states: String = report.totals.states.keys().map(|state| option(state.as_str())).collect();
    let waves: String = report.waves.iter().map(|wave| option(&wave.name)).collect();
    format!(
        "<form class=\"controls\" hidden>\n\
         <input type=\"search\" name=\"text\" placeholder=\"Filter by name, base, reason\" aria-label=\"Filter by text\">\n\
         <select name=\"state\" aria-label=\"Filter by state\"><option value=\"\">All states</option>{states}</select>\n\
         <select name=\"wave\" aria-label=\"Filter by wave\"><option value=\"\">All waves</option>{waves}</select>\n\
         <output></output>\n</form>\n"
    )
}

fn row(image: &Image, wave: usize) -> String {
    let state = Standing::ALL.iter().position(|state| *state == image.state).unwrap_or_default();
    let (word, label) = (image.state.as_str(), escape(&image.wave));
    let change = i128::from(image.new_size.unwrap_or_default()) - i128::from(image.size.unwrap_or_default());
    let (platforms, growth) =
        (platforms(image), image.growth().map(|growth| escape(&growth)).unwrap_or_default());
    let (rank, verdict) =
        image.verdict.map_or((0, String::new()), |found| (rank(verdict(found)), badge(verdict(found))));
    let base = image.bases().map(|bases| base(&bases)).unwrap_or_default();
    format!(
        "<tr data-state=\"{word}\" data-wave=\"{label}\">\n<td>{}</td><td data-sort=\"{wave}\">{label}</td>\
         <td data-sort=\"{state}\">{}</td><td data-sort=\"{rank}\">{verdict}</td><td>{base}</td>\
         <td class=\"note\">{platforms}</td><td class=\"number\" data-sort=\"{change}\">{growth}</td></tr>\n",
        details(image),
        badge(word),
    )
}

fn rank(verdict: &str) -> usize {
    ["clean", "shadowed", "not-assessed", "db-shadowed", "broken"]
        .iter()
        .position(|word| *word == verdict)
        .unwrap_or_default()
        + 1
}

fn base(bases: &str) -> String {
    match bases.split_once(" → ") {
        Some((old, new)) => format!("{} <span class=\"arrow\">→</span> {}", name(old), name(new)),
        None => name(bases),
    }
}

/// Most images are for Linux.
fn platforms(image: &Image) -> String {
    let names: Vec<&str> = image
        .platforms
        .iter()
        .map(|platform| platform.platform.strip_prefix("linux/").unwrap_or(&platform.platform))
        .collect();
    escape(&names.join(", "))
}

/// The name, and all that is known folded below it.
fn details(image: &Image) -> String {
    let mut facts = String::new();
    let mut fact = |key: &str, value: String| facts.push_str(&format!("<dt>{key}</dt><dd>{value}</dd>\n"));
    for reason in &image.reasons {
        fact("because", escape(reason));
    }
    for finding in &image.findings {
        fact("finding", escape(finding));
    }
    for before in &image.after {
        fact("after", escape(&before.to_string()));
    }
    for on in &image.platforms {
        let evidence = on.evidence.as_ref().map(|found| format!(", found by {found}")).unwrap_or_default();
        let (platform, layers) = (escape(&on.platform), count(on.boundary, "layer"));
        fact(&platform, escape(&format!("{layers} of {}{evidence}; {}", on.old_base, on.verdict)));
    }
    let names = [
        ("digest", image.digest.map(digest)),
        ("becomes", image.new_digest.map(digest)),
        ("new base", image.new_base.as_ref().map(|base| escape(&base.to_string()))),
        ("candidate", image.candidate.as_ref().map(|tag| escape(&tag.to_string()))),
        ("backup", image.backup.as_ref().map(|tag| escape(&tag.to_string()))),
    ];
    for (key, value) in names {
        if let Some(value) = value {
            fact(key, value);
        }
    }
    let name = name(&image.image.to_string());
    match facts.is_empty() {
        true => name,
        false => format!("<details><summary>{name}</summary>\n<dl>\n{facts}</dl></details>"),
    }
}

fn digest(digest: Digest) -> String {
    format!("<code title=\"{digest}\">{}</code>", &digest.hex()[..DIGITS])
}
