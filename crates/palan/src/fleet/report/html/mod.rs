//! The report as one page of HTML: nothing is loaded from anywhere, everything is there without the script, which sorts
//! and filters the table. Colours follow the reader's preference; on paper what is folded is open.

mod attention;
mod groups;
mod table;

use super::{Counts, Report, Standing, markup::escape};
use crate::text::{count, size};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
/// How many digits of a digest are shown; the rest is in the title.
const DIGITS: usize = 12;

impl Report {
    /// A page.
    pub fn to_html(&self) -> String {
        let (title, plan) = (self.headline(), self.plan.to_string());
        let short = &self.plan.hex()[..DIGITS];
        let mut out = format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n<meta name=\"generator\" content=\"palan\">\n\
             <title>Fleet: {title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<header>\n\
             <p class=\"over\">Fleet report <span title=\"{plan}\">plan {short}</span></p>\n<h1>{title}</h1>\n"
        );
        out.push_str(&self.lead());
        out.push_str("</header>\n<main>\n");
        groups::sections(&mut out, self);
        attention::section(&mut out, self);
        table::section(&mut out, self);
        out.push_str(&format!("</main>\n<footer>Plan <code>{plan}</code></footer>\n"));
        out.push_str(&format!("<script>\n{SCRIPT}</script>\n</body>\n</html>\n"));
        out
    }

    fn headline(&self) -> String {
        let concerned = count(self.totals.concerned(), "image");
        format!("{} of {concerned} promoted", self.totals.count(Standing::Promoted))
    }

    /// The bar of all images, what its colours stand for, and what becomes of the sizes.
    fn lead(&self) -> String {
        let totals = &self.totals;
        let mut out = bar(&totals.states, "large");
        out.push_str("<ul class=\"stats\">\n");
        for (state, count) in &totals.states {
            let words = state.counted(*count);
            let words = words.split_once(' ').map_or("", |(_, words)| words);
            out.push_str(&format!("<li class=\"s-{state}\"><b>{count}</b> {words}</li>\n"));
        }
        out.push_str("</ul>\n");
        if totals.size > 0 {
            let (old, new) = (size(totals.size), size(totals.new_size));
            let growth = escape(&super::image::growth(totals.size, totals.new_size));
            out.push_str(&format!("<p class=\"note\">Layers: {old} before, {new} after, {growth}</p>\n"));
        }
        out
    }
}

/// A bar with a piece for each state; what had nothing to do is not in it. Its numbers are its text for those who do not see it.
fn bar(states: &Counts, class: &str) -> String {
    let pieces: Vec<(Standing, usize)> = states
        .iter()
        .map(|(state, count)| (*state, *count))
        .filter(|(state, _)| *state != Standing::Nothing)
        .collect();
    let words: Vec<String> = pieces.iter().map(|(state, count)| state.counted(*count)).collect();
    let piece = |(state, count): &(Standing, usize)| {
        format!("<i class=\"s-{state}\" style=\"flex-grow:{count}\" title=\"{}\"></i>", state.counted(*count))
    };
    let pieces: String = pieces.iter().map(piece).collect();
    format!("<div class=\"bar {class}\" role=\"img\" aria-label=\"{}\">{pieces}</div>\n", words.join(", "))
}

/// A state or a verdict: a word in its colour.
fn badge(word: &str) -> String {
    format!("<span class=\"badge s-{word}\">{word}</span>")
}

/// A name with what many have in common in the background: `registry.example.com/team/`**`web:1`**.
fn name(text: &str) -> String {
    match text.split_once('@').map_or(text, |(name, _)| name).rfind('/') {
        Some(slash) => {
            let (path, last) = text.split_at(slash + 1);
            format!(
                "<span class=\"path\">{}</span><wbr><span class=\"last\">{}</span>",
                escape(path),
                escape(last)
            )
        }
        None => format!("<span class=\"last\">{}</span>", escape(text)),
    }
}
