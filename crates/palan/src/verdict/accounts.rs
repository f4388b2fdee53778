//! Whether users and groups are who they were.

use std::collections::{BTreeMap, BTreeSet};

use palan_layer::tree::Tree;

use super::{
    Class, Collector, Finding, GateName, Grade, Outcome,
    search::text,
    settings::Settings,
    shown,
    trees::{Trees, is_own},
};

/// Names and numbers of `passwd(5)` or `group(5)`.
#[derive(Default)]
struct Accounts {
    by_name: BTreeMap<String, u64>,
    by_number: BTreeMap<u64, BTreeSet<String>>,
}

impl Accounts {
    fn of(trees: &Trees<'_>, tree: &Tree, path: &[u8]) -> Self {
        let mut all = Self::default();
        for line in text(trees, tree, path).unwrap_or_default().lines() {
            let mut fields = line.split(':');
            let name = fields.next().filter(|name| !name.is_empty());
            let number = fields.nth(1).and_then(|number| number.parse().ok());
            if let Some((name, number)) = name.zip(number) {
                all.by_name.entry(name.to_owned()).or_insert(number);
                all.by_number.entry(number).or_default().insert(name.to_owned());
            }
        }
        all
    }

    fn has(&self, name_or_number: &str) -> bool {
        match name_or_number.parse::<u64>() {
            Ok(number) => self.by_number.contains_key(&number),
            Err(_) => self.by_name.contains_key(name_or_number),
        }
    }
}

/// Adds findings and the gate.
pub(super) fn check(trees: &Trees<'_>, before: &Settings<'_>, after: &Settings<'_>, report: &mut Collector) {
    let mark = report.findings.len();
    let files: [(&str, &[u8]); 2] = [("user", b"etc/passwd"), ("group", b"etc/group")];
    let mut known = false;
    for (index, (what, path)) in files.into_iter().enumerate() {
        let app = Accounts::of(trees, &trees.app, path);
        let result = Accounts::of(trees, &trees.result, path);
        known |= !app.by_name.is_empty() || !result.by_name.is_empty();
        let part = |settings: &Settings<'_>| {
            settings.user().and_then(|user| user.splitn(2, ':').nth(index)).map(str::to_owned)
        };
        if let Some(name) = part(after) {
            let worked = part(before).is_none_or(|name| app.has(&name));
            named(what, &name, worked, &result, report);
        }
        owners(trees, what, [&app, &result], report);
    }
    if !known {
        return report.gate(GateName::Accounts, Outcome::NotAssessed, "there is no etc/passwd");
    }
    report.gate_since(mark, GateName::Accounts, "users and groups are who they were");
}

/// The config's user or group.
fn named(what: &str, name: &str, worked: bool, result: &Accounts, report: &mut Collector) {
    if name.is_empty() || result.has(name) {
        return;
    }
    // A number needs no entry.
    let grade = (worked && name.parse::<u64>().is_err()).then_some(Grade::Broken);
    let text = format!("the config's {what} {name:?} has no entry in the result's etc/{}", file(what));
    report.add(
        Finding::new(grade, Class::User, format!("etc/{}", file(what)).as_bytes(), text)
            .relating([name.to_owned()]),
    );
}

fn file(what: &str) -> &'static str {
    if what == "user" { "passwd" } else { "group" }
}

/// Numeric owners of own files that were somebody and now are somebody else.
fn owners(trees: &Trees<'_>, what: &str, [app, result]: [&Accounts; 2], report: &mut Collector) {
    let mut files: BTreeMap<u64, Vec<&[u8]>> = BTreeMap::new();
    for (path, node) in trees.result.iter().filter(|(_, node)| is_own(node)) {
        let number = if what == "user" { node.uid } else { node.gid };
        files.entry(number).or_default().push(path);
    }
    let names = |accounts: &Accounts, number| accounts.by_number.get(&number).cloned().unwrap_or_default();
    for (number, paths) in files {
        let (was, is) = (names(app, number), names(result, number));
        if was.is_empty() || !was.is_disjoint(&is) {
            continue;
        }
        let join = |names: BTreeSet<String>| names.into_iter().collect::<Vec<_>>().join(", ");
        let now = if is.is_empty() { "nobody".to_owned() } else { join(is) };
        let count =
            if paths.len() == 1 { "1 own file".to_owned() } else { format!("{} own files", paths.len()) };
        let text = format!("{what} {number} of {count} was {} and is {now} on the new base", join(was));
        let first = paths.first().copied().unwrap_or_default();
        let finding = Finding::new(Grade::Shadowed, Class::Owner, first, text);
        report.add(finding.relating(paths.iter().map(|path| shown(path))));
    }
}
