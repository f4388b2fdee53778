//! Reading `fleet.toml`: every key must be known, and the values must make sense together.

use std::{fmt, ops::Range};

use palan_core::{Repository, validate_tag};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{BaseRule, Gates, Settings, WaveRule, keys};
use crate::{base::RepositoryPattern, fleet::newest::check_range};

/// Something wrong in a file of settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsProblem {
    /// Counted from 1.
    pub line: usize,
    /// The key: `images.references`, `base[2].from`; empty: none in particular.
    pub key: String,
    /// What is wrong with it, in one sentence.
    pub reason: String,
}

impl fmt::Display for SettingsProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key.as_str() {
            "" => write!(f, "line {}: {}", self.line, self.reason),
            key => write!(f, "line {}: {key}: {}", self.line, self.reason),
        }
    }
}

/// Why a text is not the settings of a fleet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", shown(.problems))]
pub struct SettingsError {
    /// All that was found, by line; at least one.
    pub problems: Vec<SettingsProblem>,
}

fn shown(problems: &[SettingsProblem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl Settings {
    /// Reads a `fleet.toml` (TOML 1.0). Unknown keys, wrong values and contradictions are errors.
    pub fn parse(text: &str) -> Result<Self, SettingsError> {
        let root = DeTable::parse(text).map_err(|e| SettingsError {
            problems: vec![SettingsProblem {
                line: line(text, e.span().map_or(0, |span| span.start)),
                key: String::new(),
                reason: one_line(e.message()),
            }],
        })?;
        let mut checker = Checker { text, keys: Vec::new(), problems: Vec::new() };
        checker.table(root.get_ref(), "", "");
        let settings = match toml::from_str::<Self>(text) {
            Ok(settings) => {
                checker.settings(&settings);
                Some(settings)
            }
            Err(error) => {
                checker.value(&error);
                None
            }
        };
        let mut problems = checker.problems;
        problems.sort_by_key(|problem| problem.line);
        match settings {
            Some(settings) if problems.is_empty() => Ok(settings),
            _ => Err(SettingsError { problems }),
        }
    }
}

struct Checker<'a> {
    text: &'a str,
    /// Every key, and where it and its value are.
    keys: Vec<(String, Range<usize>, Range<usize>)>,
    problems: Vec<SettingsProblem>,
}

impl Checker<'_> {
    /// Notes where the keys are, and which are not known.
    fn table(&mut self, table: &DeTable<'_>, kind: &str, path: &str) {
        let known = keys::of(kind);
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            let full = join(path, name);
            self.keys.push((full.clone(), key.span(), value.span()));
            if kind == "registry" {
                self.table_below(value.get_ref(), keys::REGISTRY, &full);
            } else if known.contains(&name) {
                self.table_below(value.get_ref(), &join(kind, name), &full);
            } else {
                self.problem(key.span().start, full, unknown(name, &known));
            }
        }
    }

    /// Says what a rule lacks without which it is none.
    fn needs(&mut self, kind: &str, table: &Spanned<DeValue<'_>>, path: &str) {
        let needed = match kind {
            "base" => "from",
            "wave" => "name",
            _ => return,
        };
        if table.get_ref().get(needed).is_none() {
            self.problem(table.span().start, path.to_owned(), format!("{needed} is missing"));
        }
    }

    fn table_below(&mut self, value: &DeValue<'_>, kind: &str, path: &str) {
        let is_table = kind == "registry" || !keys::of(kind).is_empty();
        match value {
            DeValue::Table(table) if is_table => self.table(table, kind, path),
            DeValue::Array(tables) if is_table => {
                for (n, table) in tables.iter().enumerate() {
                    let path = format!("{path}[{}]", n + 1);
                    self.keys.push((path.clone(), table.span(), table.span()));
                    self.needs(kind, table, &path);
                    self.table_below(table.get_ref(), kind, &path);
                }
            }
            DeValue::Array(program) if kind.ends_with("gates.hook") && program.is_empty() => {
                let at = self.keys.last().map_or(0, |(_, _, value)| value.start);
                self.problem(
                    at,
                    path.to_owned(),
                    "names no program: without a hook, leave it out".to_owned(),
                );
            }
            // What choices among tags are is only known behind the rule that they belong to.
            value if ["base.newest", "base.semver"].contains(&kind) && value.as_str().is_none() => {
                let at = self.keys.last().map_or(0, |(_, _, value)| value.start);
                self.problem(at, path.to_owned(), "is not a string".to_owned());
            }
            _ => {}
        }
    }

    fn problem(&mut self, at: usize, key: String, reason: String) {
        self.problems.push(SettingsProblem { line: line(self.text, at), key, reason });
    }

    /// A value that is not what it must be.
    fn value(&mut self, error: &toml::de::Error) {
        let span = error.span().unwrap_or_default();
        let inside = |value: &Range<usize>| value.start <= span.start && span.end <= value.end;
        let around = self.keys.iter().filter(|(_, key, value)| inside(value) || inside(key));
        let found = around.min_by_key(|(_, _, value)| value.len());
        let key = found.map(|(name, ..)| name.clone()).unwrap_or_default();
        let already = self.problems.iter().any(|problem| problem.key.starts_with(&key) && !key.is_empty());
        if !already || self.problems.is_empty() {
            self.problem(span.start, key, plain(error.message()));
        }
    }

    fn at(&self, key: &str) -> usize {
        self.keys.iter().find(|(name, ..)| name == key).map_or(0, |(_, key, _)| key.start)
    }

    /// Says what is wrong with the value of a key.
    fn refuse(&mut self, key: &str, reason: impl Into<String>) {
        // What a table lacks is said of the table.
        let known = std::iter::successors(Some(key), |key| Some(key.rsplit_once('.')?.0));
        let at = known.map(|key| self.at(key)).find(|at| *at > 0).unwrap_or_default();
        self.problem(at, key.to_owned(), reason.into());
    }

    /// Contradictions, and values that types do not know of.
    fn settings(&mut self, settings: &Settings) {
        self.patterns("images.repositories", &settings.images.repositories);
        self.patterns("images.exclude", &settings.images.exclude);
        for (n, rule) in settings.bases.iter().enumerate() {
            self.base(&format!("base[{}]", n + 1), rule, &settings.bases[..n]);
        }
        if settings.tags.candidate == settings.tags.backup {
            self.refuse("tags.backup", "is the same as tags.candidate");
        }
        self.gates("gates", &settings.gates);
        for (n, wave) in settings.waves.iter().enumerate() {
            self.wave(&format!("wave[{}]", n + 1), wave, &settings.waves[..n]);
        }
        if let Some(created) = &settings.rebase.created
            && created.parse::<jiff::Timestamp>().is_err()
        {
            self.refuse("rebase.created", format!("\"{created}\" is not a time as RFC 3339 writes it"));
        }
        for (name, rules) in &settings.registries {
            if let Err(error) = Repository::parse_registry(name) {
                self.refuse(&join("registry", name), error.to_string());
            }
            self.positive(&format!("{}.requests", join("registry", name)), rules.requests);
        }
        self.positive("requests", settings.requests);
        self.positive("jobs", settings.jobs);
    }

    fn patterns(&mut self, key: &str, patterns: &[String]) {
        for pattern in patterns {
            if let Err(error) = pattern.parse::<RepositoryPattern>() {
                self.refuse(key, error.to_string());
            }
        }
    }

    fn positive(&mut self, key: &str, number: Option<usize>) {
        if number == Some(0) {
            self.refuse(key, "must be 1 at least");
        }
    }

    fn base(&mut self, key: &str, rule: &BaseRule, before: &[BaseRule]) {
        let newest = &rule.newest;
        let others = [("newest", newest.newest.is_some()), ("semver", newest.semver.is_some())];
        if let Some((other, _)) = others.iter().find(|(_, given)| rule.to.is_some() && *given) {
            self.refuse(&join(key, other), "contradicts to, which names exactly one base");
        }
        if let Some(pattern) = &newest.newest
            && let Err(error) = validate_tag(&pattern.replace(['*', '?'], "x"))
        {
            self.refuse(&join(key, "newest"), error.to_string());
        }
        if let Some(Err(reason)) = newest.semver.as_deref().map(check_range) {
            self.refuse(&join(key, "semver"), reason);
        }
        if before.iter().any(|other| (&other.from, other.digest) == (&rule.from, rule.digest)) {
            self.refuse(&join(key, "from"), format!("{} has a rule already", rule.from));
        }
    }

    fn wave(&mut self, key: &str, wave: &WaveRule, before: &[WaveRule]) {
        let name = join(key, "name");
        match wave.name.as_str() {
            "" => self.refuse(&name, "is empty"),
            "rest" => self.refuse(&name, "\"rest\" is the wave of the images that are in no other"),
            taken if before.iter().any(|other| other.name == taken) => {
                self.refuse(&name, format!("there is a wave \"{taken}\" already"));
            }
            _ => {}
        }
        self.patterns(&join(key, "images"), &wave.images);
        self.positive(&join(key, "count"), wave.count);
        if wave.percent.is_some_and(|percent| !(1..=100).contains(&percent)) {
            self.refuse(&join(key, "percent"), "is not between 1 and 100");
        }
        if wave.label.as_deref().is_some_and(|label| label.split('=').next() == Some("")) {
            self.refuse(&join(key, "label"), "has no key");
        }
        if let Some(gates) = &wave.gates {
            self.gates(&join(key, "gates"), gates);
        }
    }

    fn gates(&mut self, key: &str, gates: &Gates) {
        if gates.hook.first().is_some_and(String::is_empty) {
            self.refuse(&join(key, "hook"), "names no program");
        }
        if gates.hook_timeout == 0 {
            self.refuse(&join(key, "hook-timeout"), "must be 1 at least");
        }
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn line(text: &str, at: usize) -> usize {
    1 + text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count()
}

fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn unknown(name: &str, known: &[&str]) -> String {
    match nearest(name, known) {
        Some(key) => format!("there is no such key, did you mean \"{key}\"?"),
        None => format!("there is no such key, known are {}", known.join(", ")),
    }
}

/// What a word may have been meant for: one that differs by few characters, or the only one that begins like it.
pub(in crate::fleet) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let near = known.iter().map(|key| (distance(word, key), *key)).min();
    if let Some((_, key)) = near.filter(|(far, key)| *far <= (key.len() / 3).max(1)) {
        return Some(key);
    }
    let begins = |key: &&&str| word.len() >= 3 && key.starts_with(word);
    let mut longer = known.iter().filter(begins);
    longer.next().filter(|_| longer.next().is_none()).copied()
}

/// The words of the library that reads TOML, for people.
fn plain(message: &str) -> String {
    let message = one_line(message);
    if message.contains("expected usize")
        || message.contains("expected u32")
        || message.contains("expected u64")
    {
        return "must be a whole number that is not negative, and not too large".to_owned();
    }
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let meant = match quoted.split_first() {
        Some((word, known)) if message.starts_with("unknown variant") => nearest(word, known),
        _ => None,
    };
    meant.map_or(message.clone(), |meant| format!("{message}, did you mean \"{meant}\"?"))
}

/// How many characters must be added, removed, replaced or exchanged with the next one; an underscore for a hyphen is none,
/// and so is an `s` at the end.
fn distance(a: &str, b: &str) -> usize {
    let plain = |text: &str| {
        let text = text.to_ascii_lowercase().replace('_', "-");
        text.strip_suffix('s').unwrap_or(&text).chars().collect::<Vec<_>>()
    };
    let (a, b) = (plain(a), plain(b));
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let replaced = rows[i][j] + usize::from(x != y);
            let is_exchanged = i > 0 && j > 0 && (*x, a[i - 1]) == (b[j - 1], *y);
            let exchanged = if is_exchanged { rows[i - 1][j - 1] + 1 } else { replaced };
            row.push(replaced.min(exchanged).min(rows[i][j + 1] + 1).min(row[j] + 1));
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}
