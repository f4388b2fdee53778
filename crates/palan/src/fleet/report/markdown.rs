//! The report as Markdown, for a pull request or a chat: a summary, a table, and what is long folded.
//!
//! Source: GitHub Flavored Markdown 0.29 (tables, inline HTML) and CommonMark 0.31.

use super::{Base, Image, Report, Standing, markup::verdict};
use crate::{
    fleet::inventory::Missed,
    text::{count, one_line, size},
};

/// How much of a sentence a line has.
const LINE: usize = 300;
/// How many images the open table shows; more are folded.
const OPEN: usize = 25;

impl Report {
    /// Markdown. Names are code, sentences are escaped: nothing in them is formatted, links or mentions anybody.
    pub fn to_markdown(&self) -> String {
        let mut out = self.summary();
        out.push_str(&missed(&self.missed));
        out.push_str(&bases(&self.bases));
        for (state, title) in [
            (Standing::Failed, "Failed"),
            (Standing::GateFailed, "Stopped by a gate"),
            (Standing::Moved, "Moved by somebody else, and left alone"),
            (Standing::NeedsRebuild, "Need a rebuild"),
            (Standing::Held, "Held for a decision"),
        ] {
            out.push_str(&list(title, &self.standing(state).collect::<Vec<_>>()));
        }
        out.push_str(&self.images_table());
        out
    }

    fn summary(&self) -> String {
        let (all, totals) = (self.totals.concerned(), &self.totals);
        let mut out =
            format!("## Fleet: {} of {} promoted\n\n", totals.count(Standing::Promoted), count(all, "image"));
        if totals.images > 0 {
            out.push_str(&format!("**{}**", totals.sentence()));
            if totals.size > 0 {
                let growth = super::image::growth(totals.size, totals.new_size);
                out.push_str(&format!(
                    " · layers {} → {}, {growth}",
                    size(totals.size),
                    size(totals.new_size)
                ));
            }
            out.push_str("\n\n");
        }
        for wave in self.waves.iter().filter(|wave| wave.totals.images > 0) {
            out.push_str(&format!("- wave {}: {}\n", code(&wave.name), wave.totals.sentence()));
            let terms = wave.gate_terms().map(|terms| format!("  - gates: {}\n", ticked(&terms)));
            out.push_str(&terms.unwrap_or_default());
        }
        out.push_str(&format!("- rebase: {}\n", ticked(&self.rebase_terms())));
        out.push_str(&format!("\nPlan {}\n", code(&self.plan.to_string())));
        out
    }

    fn images_table(&self) -> String {
        if self.images.is_empty() {
            return String::new();
        }
        let mut table =
            String::from("| image | wave | state | verdict | base | layers |\n|---|---|---|---|---|---|\n");
        table.extend(self.images.iter().map(row));
        match self.images.len() {
            0..=OPEN => format!("\n### All images\n\n{table}"),
            many => folded(&format!("All {many} images"), &table),
        }
    }
}

fn bases(bases: &[Base]) -> String {
    if bases.is_empty() {
        return String::new();
    }
    let mut out = String::from("\n### By base\n\n| base | becomes | images | states |\n|---|---|---:|---|\n");
    for base in bases {
        let name = base.base.as_deref().map_or_else(|| "not known".to_owned(), cell);
        let new: Vec<String> = base.new_bases.iter().map(|new| becomes(base, new)).collect();
        let (images, states) = (base.totals.images, base.totals.sentence());
        out.push_str(&format!("| {name} | {} | {images} | {states} |\n", new.join(", ")));
    }
    out
}

/// What nobody would miss otherwise.
fn missed(all: &[Missed]) -> String {
    if all.is_empty() {
        return String::new();
    }
    let item = |one: &Missed| format!("- {}: {}\n", code(&one.image), sentence(&one.reason));
    let items: String = all.iter().map(item).collect();
    format!("\n### Not looked at\n\nImages of these are not in the plan.\n\n{items}")
}

/// A new base in full, as code; the same name is no news.
fn becomes(base: &Base, new: &str) -> String {
    if base.base.as_deref() == Some(new) { "new digest".to_owned() } else { cell(new) }
}

/// Images with all that is known about why.
fn list(title: &str, images: &[&Image]) -> String {
    if images.is_empty() {
        return String::new();
    }
    let mut text = String::new();
    for image in images {
        text.push_str(&format!("- {}\n", code(&image.image.to_string())));
        for line in image.reasons.iter().chain(&image.findings) {
            text.push_str(&format!("  - {}\n", sentence(line)));
        }
        text.push_str(&image.gate.iter().map(|gate| output(&gate.output)).collect::<String>());
    }
    folded(&format!("{title}: {}", count(images.len(), "image")), &text)
}

/// What a gate said, as a block of code below a list's item.
fn output(text: &str) -> String {
    if text.trim().is_empty() {
        return String::new();
    }
    let fence = "`".repeat(longest_run(text).max(2) + 1);
    let lines: String = text.trim_end().lines().map(|line| format!("    {line}\n")).collect();
    format!("\n    {fence}text\n{lines}    {fence}\n\n")
}

fn folded(title: &str, text: &str) -> String {
    format!("\n<details><summary>{title}</summary>\n\n{text}\n</details>\n")
}

fn row(image: &Image) -> String {
    let verdict = image.verdict.map(verdict).unwrap_or_default();
    let base = image.bases().map(|bases| cell(&bases)).unwrap_or_default();
    let (name, wave) = (cell(&image.image.to_string()), cell(&image.wave));
    let growth = image.growth().unwrap_or_default().replace('<', "&lt;");
    format!("| {name} | {wave} | {} | {verdict} | {base} | {growth} |\n", image.state)
}

/// Code in a table, where a bar would end the cell.
fn cell(text: &str) -> String {
    code(text).replace('|', "\\|")
}

/// Text as code, as much of it as a line has.
fn code(text: &str) -> String {
    ticked(&one_line(text, LINE))
}

/// Text as code: with as many backticks around it as it takes.
fn ticked(text: &str) -> String {
    if text.is_empty() {
        return String::new();
    }
    let ticks = "`".repeat(longest_run(text) + 1);
    let space = if text.starts_with('`') || text.ends_with('`') { " " } else { "" };
    format!("{ticks}{space}{text}{space}{ticks}")
}

fn longest_run(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or_default()
}

/// A sentence as it is: no character in it means anything.
fn sentence(text: &str) -> String {
    let mut out = String::new();
    let mut before = ' ';
    for c in one_line(text, LINE).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            // Forges look for people's names in the finished text, where escapes are gone.
            '@' if !before.is_alphanumeric() => out.push_str("@\u{200b}"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '#' | '!' | '$' => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
        before = c;
    }
    out
}
