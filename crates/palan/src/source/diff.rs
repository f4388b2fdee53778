//! Unified diffs of texts that have the same number of lines, which is all that [`patch`](super::patch()) makes.

use std::{fmt::Write as _, ops::Range};

const CONTEXT: usize = 3;

/// The difference between two texts as `patch -p1` and `git apply` take it, nothing when they are the same.
///
/// Lines are compared one by one: for texts with different numbers of lines the diff is right, but not small.
pub fn unified(path: &str, old: &str, new: &str) -> String {
    if old == new {
        return String::new();
    }
    let (old, new): (Vec<_>, Vec<_>) =
        (old.split_inclusive('\n').collect(), new.split_inclusive('\n').collect());
    let name = |side: char| header(&format!("{side}/{}", path.trim_start_matches('/')));
    let mut out = format!("--- {}\n+++ {}\n", name('a'), name('b'));
    if old.len() != new.len() {
        let _ = writeln!(out, "@@ -{} +{} @@", range(&(0..old.len())), range(&(0..new.len())));
        old.iter().for_each(|line| push(&mut out, '-', line));
        new.iter().for_each(|line| push(&mut out, '+', line));
        return out;
    }
    for hunk in hunks(&old, &new) {
        write_hunk(&mut out, &old, &new, hunk);
    }
    out
}

fn hunks(old: &[&str], new: &[&str]) -> Vec<Range<usize>> {
    let mut out: Vec<Range<usize>> = Vec::new();
    for i in (0..old.len()).filter(|i| old[*i] != new[*i]) {
        let around = i.saturating_sub(CONTEXT)..(i + 1 + CONTEXT).min(old.len());
        match out.last_mut() {
            Some(last) if last.end >= around.start => last.end = around.end,
            _ => out.push(around),
        }
    }
    out
}

fn write_hunk(out: &mut String, old: &[&str], new: &[&str], hunk: Range<usize>) {
    let lines = range(&hunk);
    let _ = writeln!(out, "@@ -{lines} +{lines} @@");
    let mut i = hunk.start;
    while i < hunk.end {
        if old[i] == new[i] {
            push(out, ' ', old[i]);
            i += 1;
            continue;
        }
        let end = (i..hunk.end).find(|j| old[*j] == new[*j]).unwrap_or(hunk.end);
        old[i..end].iter().for_each(|line| push(out, '-', line));
        new[i..end].iter().for_each(|line| push(out, '+', line));
        i = end;
    }
}

fn push(out: &mut String, sign: char, line: &str) {
    out.push(sign);
    out.push_str(line);
    if !line.ends_with('\n') {
        out.push_str("\n\\ No newline at end of file\n");
    }
}

fn range(lines: &Range<usize>) -> String {
    match lines.len() {
        0 => format!("{},0", lines.start),
        1 => (lines.start + 1).to_string(),
        n => format!("{},{n}", lines.start + 1),
    }
}

/// A file name as git writes it: quoted when it has characters that would end it.
fn header(name: &str) -> String {
    if !name.contains(|c: char| c.is_control() || c == '"' || c == '\\') {
        // A tab ends a name that has spaces.
        return if name.contains(' ') { format!("{name}\t") } else { name.to_owned() };
    }
    let mut out = String::from("\"");
    for c in name.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                let mut bytes = [0; 4];
                for byte in c.encode_utf8(&mut bytes).bytes() {
                    let _ = write!(out, "\\{byte:03o}");
                }
            }
            c => out.push(c),
        }
    }
    out + "\""
}
