//! The search path, token by token.

use std::collections::HashSet;

use super::three::{Ruling, rule};

/// What builders put into an image whose base has no search path, but on Windows.
const DEFAULT: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Longer paths are merged as wholes: no real one comes near.
const MOST_TOKENS: usize = 1024;

/// How a search path is merged.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Merge {
    /// As any other variable.
    Ruled(Ruling),
    /// It was the builder's default, and stays so.
    Inherited(String),
    /// The part that was the old base's is replaced.
    Replaced(String),
    /// The old base's is there in pieces or more than once: a guess.
    InPieces(String),
}

/// Merges the `PATH` of an image that has one.
pub(super) fn merge(old: Option<&str>, app: &str, new: Option<&str>, windows: bool) -> Merge {
    let default = (!windows).then_some(DEFAULT);
    let stated = new;
    let (old, new) = (old.or(default), new.or(default));
    match rule(&old, &Some(app), &new) {
        Ruling::Inherit if stated.is_none() => {
            return new.map_or(Merge::Ruled(Ruling::Inherit), |path| Merge::Inherited(path.to_owned()));
        }
        Ruling::Conflict => {}
        ruling => return Merge::Ruled(ruling),
    }
    let separator = if windows { ";" } else { ":" };
    let [old, own, new] = [old, Some(app), new].map(|path| tokens(path.unwrap_or_default(), separator));
    if [&old, &own, &new].iter().any(|tokens| tokens.len() > MOST_TOKENS) {
        return Merge::Ruled(Ruling::Conflict);
    }
    match replace(&old, &own, &new).or_else(|| patch(&old, &own, &new).map(|path| (path, false))) {
        None => Merge::Ruled(Ruling::Conflict),
        Some((path, true)) => Merge::Replaced(path.join(separator)),
        Some((path, false)) if path == own => Merge::Ruled(Ruling::Keep),
        Some((path, false)) => Merge::InPieces(path.join(separator)),
    }
}

fn tokens<'a>(path: &'a str, separator: &str) -> Vec<&'a str> {
    match path {
        "" => Vec::new(),
        path => path.split(separator).collect(),
    }
}

/// Replaces the run of the old base's tokens, the last one where there are several: paths are mostly extended in
/// front. Whether there was only one.
fn replace<'a>(old: &[&str], own: &[&'a str], new: &[&'a str]) -> Option<(Vec<&'a str>, bool)> {
    if old.is_empty() {
        return None;
    }
    let is_run = |at: &usize| own.get(*at..at + old.len()) == Some(old);
    let mut runs = (0..own.len()).rev().filter(is_run);
    let at = runs.next()?;
    let path = [&own[..at], new, &own[at + old.len()..]].concat();
    Some((path, runs.next().is_none()))
}

/// Drops what the base dropped, and puts what it added before what follows it in the base. `None`: the path has nothing
/// of the old base's.
fn patch<'a>(old: &[&str], own: &[&'a str], new: &[&'a str]) -> Option<Vec<&'a str>> {
    let of_old: HashSet<&str> = old.iter().copied().collect();
    let of_new: HashSet<&str> = new.iter().copied().collect();
    if !own.iter().any(|token| of_old.contains(token)) {
        return None;
    }
    let stays = |token: &&str| !of_old.contains(token) || of_new.contains(token);
    let first = own.iter().position(|token| of_old.contains(token)).unwrap_or_default();
    let before = own[..first].iter().filter(|token| stays(token)).count();
    let mut path: Vec<&str> = own.iter().copied().filter(stays).collect();
    // From the last to the first, so that what follows a token is in place already.
    let mut at = path.iter().rposition(|token| of_new.contains(token)).map_or(before, |last| last + 1);
    for token in new.iter().rev() {
        match path.iter().position(|found| found == token) {
            Some(found) => at = found,
            None if of_old.contains(token) => {}
            None => path.insert(at, token),
        }
    }
    Some(path)
}
