//! Command lines as wrappers of scripts write them: flags twice, and switches with a value.

use std::{
    collections::BTreeSet,
    ffi::{OsStr, OsString},
};

use clap::ArgAction;

/// Of a flag that is given twice, the last one counts, as wrappers of scripts expect.
pub(crate) fn last_wins(command: clap::Command) -> clap::Command {
    command.args_override_self(true).mut_subcommands(last_wins)
}

/// The long names of flags that take no value, in whatever command they are.
fn switches(parser: &clap::Command) -> BTreeSet<String> {
    let (mut switches, mut others) = (BTreeSet::new(), BTreeSet::new());
    let mut commands = vec![parser];
    while let Some(command) = commands.pop() {
        for argument in command.get_arguments() {
            let names = argument.get_long_and_visible_aliases().unwrap_or_default();
            let of =
                if matches!(argument.get_action(), ArgAction::SetTrue) { &mut switches } else { &mut others };
            of.extend(names.into_iter().map(str::to_owned));
        }
        commands.extend(command.get_subcommands());
    }
    switches.retain(|name| !others.contains(name));
    switches
}

/// `--insecure=true` is `--insecure`, `--insecure=false` is nothing: so does the library that reads crane's flags.
pub(crate) fn without_values(words: Vec<OsString>, parser: &clap::Command) -> Vec<OsString> {
    // Looking through all commands takes longer than most commands' words need.
    if !words.iter().any(|word| switch_with_value(word).is_some()) {
        return words;
    }
    let switches = switches(parser);
    let mut flags_end = false;
    let switch = |word: OsString| {
        flags_end |= word == "--";
        match switch_with_value(&word).filter(|(name, _)| !flags_end && switches.contains(*name)) {
            Some((name, true)) => Some(format!("--{name}").into()),
            Some((_, false)) => None,
            None => Some(word),
        }
    };
    words.into_iter().filter_map(switch).collect()
}

/// The name and value of a word that may be a switch with a value, as Go's `strconv.ParseBool` reads it.
fn switch_with_value(word: &OsStr) -> Option<(&str, bool)> {
    let (name, value) = word.to_str()?.strip_prefix("--")?.split_once('=')?;
    match value {
        "true" | "TRUE" | "True" | "t" | "T" | "1" => Some((name, true)),
        "false" | "FALSE" | "False" | "f" | "F" | "0" => Some((name, false)),
        _ => None,
    }
}
