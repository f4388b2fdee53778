//! Command lines as wrappers of scripts write them: flags twice, switches with a value, and flags without one (`-t "$TAG"`).

use std::{
    collections::BTreeSet,
    ffi::{OsStr, OsString},
};

use clap::{Arg, ArgAction, Command};

/// crane's flags that take a text which may be missing: an empty one is as if the flag were not there. The others of its
/// flags have to be pairs, numbers or words of a list, and an empty one is a mistake there too.
const OPTIONAL: &[&str] = &[
    "address",
    "append",
    "base",
    "cache-path",
    "cmd",
    "disk",
    "entrypoint",
    "exposed-ports",
    "image-refs",
    "manifest",
    "media-type",
    "mount",
    "new-base",
    "old-base",
    "original",
    "output",
    "platform",
    "rebased",
    "remote",
    "repo",
    "set-platform",
    "tag",
    "tarball",
    "user",
    "workdir",
];

/// The long names of flags that take no value, in whatever command of the parser they are.
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

/// Leaves out the flags of [`OPTIONAL`] whose value is empty.
pub(crate) fn without_empty(words: Vec<OsString>, parser: &Command) -> Vec<OsString> {
    let may_be_empty = |word: &OsString| word.is_empty() || word.as_encoded_bytes().ends_with(b"=");
    if !words.iter().any(may_be_empty) {
        return words;
    }
    let mut command = parser;
    let mut words = words.into_iter();
    let mut out: Vec<OsString> = words.next().into_iter().collect();
    while let Some(word) = words.next() {
        let text = word.to_str().unwrap_or_default();
        if text == "--" {
            out.push(word);
            break;
        }
        let Some(flag) = Flag::of(text, [parser, command]) else {
            command = command.find_subcommand(text).unwrap_or(command);
            out.push(word);
            continue;
        };
        let next = if flag.attached.is_none() { words.next() } else { None };
        let is_empty = flag.attached == Some("") || next.as_ref().is_some_and(|value| value.is_empty());
        match is_empty && flag.is_optional() {
            true => out.extend(flag.switches().map(OsString::from)),
            false => out.extend([word].into_iter().chain(next)),
        }
    }
    out.extend(words);
    out
}

/// A flag that takes a value, as it stands in a word.
struct Flag<'a> {
    argument: &'a Arg,
    /// The switches that it shares the word with: `-v` of `-vt`.
    before: &'a str,
    /// The value, if that is in the same word.
    attached: Option<&'a str>,
}

impl<'a> Flag<'a> {
    fn of(word: &'a str, commands: [&'a Command; 2]) -> Option<Self> {
        let arguments: Vec<&Arg> = commands.into_iter().flat_map(Command::get_arguments).collect();
        if let Some(long) = word.strip_prefix("--") {
            let (name, attached) =
                long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
            let argument = arguments.iter().find(|argument| has_name(argument, name))?;
            return takes_value(argument).then_some(Self { argument, before: "", attached });
        }
        for (at, letter) in word.strip_prefix('-')?.char_indices() {
            let argument = arguments.iter().find(|argument| argument.get_short() == Some(letter))?;
            if takes_value(argument) {
                let (before, rest) = (&word[..=at], &word[1 + at + letter.len_utf8()..]);
                let attached = (!rest.is_empty()).then(|| rest.strip_prefix('=').unwrap_or(rest));
                return Some(Self { argument, before, attached });
            }
        }
        None
    }

    fn is_optional(&self) -> bool {
        OPTIONAL.iter().any(|name| has_name(self.argument, name))
    }

    fn switches(&self) -> Option<&'a str> {
        (self.before.len() > 1).then_some(self.before)
    }
}

fn has_name(argument: &Arg, name: &str) -> bool {
    argument.get_long() == Some(name)
        || argument.get_all_aliases().is_some_and(|aliases| aliases.contains(&name))
}

/// Whether a value must follow.
fn takes_value(argument: &Arg) -> bool {
    matches!(argument.get_action(), ArgAction::Set | ArgAction::Append)
        && argument.get_num_args().is_none_or(|values| values.min_values() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn optional_flags_without_a_value_are_left_out() {
        let parser = crate::args::command();
        for (words, left) in [
            ("mutate a -t '' -l b=", "mutate a -l b="),
            ("mutate a --tag= --repo ''", "mutate a"),
            ("mutate a -vt ''", "mutate a -v"),
            ("mutate a -t= -u=", "mutate a"),
            ("mutate -l -t ''", "mutate -l -t ''"),
            ("mutate a -l ''", "mutate a -l ''"),
            ("mutate a -- -t ''", "mutate a -- -t ''"),
            ("--platform '' digest a", "digest a"),
            ("digest a --tarball ''", "digest a"),
            ("digest ''", "digest ''"),
            ("copy a b -j ''", "copy a b -j ''"),
            ("rebase a --old_base '' --new_base b --rebased ''", "rebase a --new_base b"),
            ("registry serve --disk '' --address ''", "registry serve"),
            ("append -f '' -b '' -t a", "append -f '' -t a"),
            ("mutate a -t", "mutate a -t"),
        ] {
            let split = |text: &str| {
                let words = ["palan"].into_iter().chain(text.split(' ')).map(|word| word.replace("''", ""));
                words.map(OsString::from).collect::<Vec<_>>()
            };
            assert_eq!(without_empty(split(words), &parser), split(left), "{words}");
        }
    }

    #[test]
    fn what_is_optional_is_a_flag() {
        let mut commands = vec![crate::args::command()];
        let mut known = BTreeSet::new();
        while let Some(command) = commands.pop() {
            let optional = |argument: &Arg| {
                OPTIONAL.iter().copied().filter(|name| has_name(argument, name)).collect::<Vec<_>>()
            };
            known.extend(command.get_arguments().filter(|a| takes_value(a)).flat_map(optional));
            commands.extend(command.get_subcommands().cloned());
        }
        assert_eq!(known.into_iter().collect::<Vec<_>>(), OPTIONAL);
    }
}
