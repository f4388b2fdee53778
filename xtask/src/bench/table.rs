//! Figures of many runs, as tables for people.

use std::{fmt::Write as _, path::Path, time::Duration};

use super::measure::Cost;
use crate::Result;

/// What was measured of one job.
pub struct Row {
    pub name: String,
    pub aim: String,
    /// Ours first; as many costs for each: the runs took turns.
    pub contenders: Vec<(String, Vec<Cost>)>,
}

/// All rows as one table in Markdown.
pub fn render(rows: &[Row]) -> String {
    let mut out = String::from(
        "| operation | tool | wall | CPU | peak memory | requests | sent | received | time, against palan |\n\
         |---|---|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    for row in rows {
        for (number, (tool, costs)) in row.contenders.iter().enumerate() {
            let operation = if number == 0 { row.name.as_str() } else { "" };
            let ours = &row.contenders[0].1;
            let against = if number == 0 { String::new() } else { ratio(costs, ours) };
            let wall = spread(costs, |cost| cost.wall);
            let cpu = time(median(costs.iter().map(|cost| cost.cpu)));
            let peak = megabytes(median(costs.iter().map(|cost| cost.peak)));
            let last = costs.last().copied().unwrap_or_default();
            let (sent, received) = (megabytes(last.uploaded), megabytes(last.downloaded));
            let requests = last.requests;
            let _ = writeln!(
                out,
                "| {operation} | {tool} | {wall} | {cpu} | {peak} MB | {requests} | {sent} MB | {received} MB | {against} |"
            );
        }
        if !row.aim.is_empty() {
            let _ = writeln!(out, "| | *aim* | *{}* | | | | | | |", row.aim);
        }
    }
    out
}

/// Replaces what stands between the markers of a page with this name.
pub fn replace(page: &Path, name: &str, text: &str) -> Result {
    let (begin, end) = (format!("<!-- {name}:begin -->"), format!("<!-- {name}:end -->"));
    let whole = std::fs::read_to_string(page).map_err(|e| format!("cannot read {}: {e}", page.display()))?;
    let missing = || format!("{} has no {begin} and {end}", page.display());
    let (before, rest) = whole.split_once(&begin).ok_or_else(missing)?;
    let (_, after) = rest.split_once(&end).ok_or_else(missing)?;
    let whole = format!("{before}{begin}\n{text}{end}{after}");
    std::fs::write(page, whole).map_err(|e| format!("cannot write {}: {e}", page.display()))
}

/// The median of the ratios of runs that followed one another, with the smallest and the largest.
fn ratio(costs: &[Cost], ours: &[Cost]) -> String {
    let mut ratios: Vec<f64> = costs
        .iter()
        .zip(ours)
        .map(|(theirs, ours)| theirs.wall.as_secs_f64() / ours.wall.as_secs_f64().max(1e-9))
        .collect();
    ratios.sort_by(f64::total_cmp);
    let (Some(first), Some(last)) = (ratios.first(), ratios.last()) else { return String::new() };
    format!("×{:.2} ({first:.2}–{last:.2})", ratios[ratios.len() / 2])
}

fn spread(costs: &[Cost], of: impl Fn(&Cost) -> Duration) -> String {
    let (least, most) = (costs.iter().map(&of).min(), costs.iter().map(&of).max());
    let median = median(costs.iter().map(of));
    format!("{} ({}–{})", time(median), time(least.unwrap_or_default()), time(most.unwrap_or_default()))
}

fn median<T: Ord + Default>(values: impl Iterator<Item = T>) -> T {
    let mut values: Vec<T> = values.collect();
    values.sort_unstable();
    let middle = values.len() / 2;
    values.into_iter().nth(middle).unwrap_or_default()
}

pub fn time(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds < 0.1 { format!("{:.1} ms", seconds * 1e3) } else { format!("{seconds:.2} s") }
}

#[allow(clippy::cast_precision_loss)]
pub fn megabytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn costs(walls: &[u64]) -> Vec<Cost> {
        let cost = |wall: &u64| Cost { wall: Duration::from_millis(*wall), ..Cost::default() };
        walls.iter().map(cost).collect()
    }

    #[test]
    fn ratios_are_of_runs_that_followed_one_another() {
        assert_eq!(ratio(&costs(&[200, 900, 300]), &costs(&[100, 100, 100])), "×3.00 (2.00–9.00)");
    }

    #[test]
    fn medians_and_units() {
        assert_eq!(median([3, 1, 2].into_iter()), 2);
        assert_eq!(time(Duration::from_micros(2340)), "2.3 ms");
        assert_eq!(time(Duration::from_millis(2340)), "2.34 s");
        assert_eq!(megabytes(2_340_000), "2.3");
    }

    #[test]
    fn ours_is_what_the_others_are_compared_with() {
        let contenders = vec![("palan".to_owned(), costs(&[100])), ("crane".to_owned(), costs(&[600]))];
        let rows = [Row { name: "export".into(), aim: "1/3".into(), contenders }];
        let text = render(&rows);
        assert!(text.contains("| export | palan | 0.10 s (0.10 s–0.10 s) |"), "{text}");
        assert!(text.contains("| ×6.00 (6.00–6.00) |"), "{text}");
        assert!(text.contains("| *aim* | *1/3* |"), "{text}");
    }
}
