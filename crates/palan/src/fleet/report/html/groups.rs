//! Bases, waves and verdicts.

use super::{
    super::{Base, Report, Standing, Totals, Wave, image::beside},
    badge, bar, name,
};
use crate::{fleet::report::markup::escape, text::count};

pub(super) fn sections(out: &mut String, report: &Report) {
    if !report.bases.is_empty() {
        out.push_str("<section>\n<h2>By base</h2>\n<div class=\"cards\">\n");
        out.extend(report.bases.iter().map(base));
        out.push_str("</div>\n</section>\n");
    }
    out.push_str("<div class=\"columns\">\n");
    waves(out, &report.waves);
    verdicts(out, report);
    out.push_str("</div>\n");
}

fn base(base: &Base) -> String {
    let old =
        base.base.as_deref().map_or_else(|| "<span class=\"last\">base not known</span>".to_owned(), name);
    let new: Vec<String> = base.new_bases.iter().map(|new| name(beside(base.name(), new))).collect();
    let arrow = if new.is_empty() { "" } else { " <span class=\"arrow\">→</span> " };
    let (new, bar, sentence) = (new.join(", "), bar(&base.totals.states, ""), base.totals.sentence());
    let (percent, count) = (percent(&base.totals), count(base.totals.images, "image"));
    format!(
        "<article class=\"card\">\n<h3>{old}{arrow}{new}</h3>\n<p class=\"share\"><b>{percent}</b> of {count} promoted</p>\n\
         {bar}<p class=\"note\">{sentence}</p>\n</article>\n"
    )
}

/// Rounded down: 100 % is said when it is all.
fn percent(totals: &Totals) -> String {
    let done = totals.count(Standing::Promoted) * 100;
    done.checked_div(totals.concerned()).map_or_else(|| "–".to_owned(), |percent| format!("{percent} %"))
}

fn waves(out: &mut String, waves: &[Wave]) {
    out.push_str("<section>\n<h2>By wave</h2>\n<div class=\"card\"><table class=\"plain\">\n");
    for wave in waves {
        let (done, all) = (wave.totals.count(Standing::Promoted), wave.totals.concerned());
        let (name, bar) = (escape(&wave.name), bar(&wave.totals.states, ""));
        out.push_str(&format!(
            "<tr><th scope=\"row\">{name}</th><td class=\"wide\">{bar}</td><td class=\"number\">{done} of {all}</td></tr>\n"
        ));
    }
    out.push_str("</table></div>\n</section>\n");
}

fn verdicts(out: &mut String, report: &Report) {
    if report.verdicts.is_empty() {
        return;
    }
    let most = report.verdicts.values().copied().max().unwrap_or_default();
    out.push_str("<section>\n<h2>By verdict</h2>\n<div class=\"card\"><table class=\"plain\">\n");
    for word in ["clean", "shadowed", "db-shadowed", "broken", "not-assessed"] {
        let Some(count) = report.verdicts.get(word) else { continue };
        let (badge, rest) = (badge(word), most - count);
        let rest = if rest == 0 { String::new() } else { format!("<i style=\"flex-grow:{rest}\"></i>") };
        let bar =
            format!("<div class=\"bar\"><i class=\"s-{word}\" style=\"flex-grow:{count}\"></i>{rest}</div>");
        out.push_str(&format!(
            "<tr><th scope=\"row\">{badge}</th><td class=\"wide\">{bar}</td><td class=\"number\">{count}</td></tr>\n"
        ));
    }
    out.push_str("</table></div>\n</section>\n");
}
