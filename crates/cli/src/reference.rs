//! The reference of the command line, written from the parser: `docs/reference/cli.md`.

use std::fmt::Write as _;

use clap::{Arg, Command};

use crate::{env::VARIABLES, exit::Code};

/// What stands below `palan --help`.
pub(crate) fn help_appendix() -> String {
    let mut out = String::from("Exit codes:\n");
    for code in Code::ALL {
        let _ = writeln!(out, "  {:>3}  {}", code as u8, code.meaning());
    }
    out.push_str("\nEnvironment:\n");
    for v in VARIABLES {
        let _ = writeln!(out, "  {:<19} {}", v.name, v.meaning);
    }
    out
}

/// The whole reference as Markdown.
pub(crate) fn markdown(mut root: Command) -> String {
    root.build();
    let mut out = String::from("# palan on the command line\n\n");
    out.push_str("Written by `cargo xtask docs` from the program itself; do not edit.\n\n");
    paragraph(&mut out, &about(&root));
    out.push_str("Data goes to stdout, everything else to stderr.\n\n");
    contents(&mut out, &root, 0);
    out.push_str("\n## Global options\n\nEvery command takes them, before or after its name.\n\n");
    options(&mut out, root.get_arguments().filter(|a| a.is_global_set()));
    commands(&mut out, &root);
    tables(&mut out);
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

fn visible(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|c| !c.is_hide_set() && c.get_name() != "help")
}

fn contents(out: &mut String, command: &Command, depth: usize) {
    for sub in visible(command) {
        let name = path(sub);
        let summary = sub.get_about().map(ToString::to_string).unwrap_or_default();
        let anchor = name.replace(' ', "-");
        let _ = writeln!(out, "{:indent$}- [`{name}`](#{anchor}): {summary}", "", indent = depth * 2);
        contents(out, sub, depth + 1);
    }
}

fn commands(out: &mut String, command: &Command) {
    for sub in visible(command) {
        let _ = writeln!(out, "## {}\n", path(sub));
        paragraph(out, &about(sub));
        let usage = sub.clone().render_usage().to_string();
        let usage = usage.trim_start_matches("Usage:").lines().map(str::trim).collect::<Vec<_>>().join("\n");
        let _ = writeln!(out, "```text\n{usage}\n```\n");
        let aliases: Vec<_> = sub.get_visible_aliases().map(|a| format!("`{a}`")).collect();
        if !aliases.is_empty() {
            let _ = writeln!(out, "Also: {}\n", aliases.join(", "));
        }
        options(out, sub.get_arguments().filter(|a| a.is_positional()));
        options(out, sub.get_arguments().filter(|a| !a.is_positional() && !a.is_global_set()));
        commands(out, sub);
    }
}

/// `palan auth login`
fn path(command: &Command) -> String {
    command.get_bin_name().unwrap_or(command.get_name()).to_owned()
}

fn about(command: &Command) -> String {
    let text = command.get_long_about().or_else(|| command.get_about());
    text.map(ToString::to_string).unwrap_or_default()
}

fn paragraph(out: &mut String, text: &str) {
    let _ = writeln!(out, "{}\n", text.trim());
}

fn options<'a>(out: &mut String, arguments: impl Iterator<Item = &'a Arg>) {
    let mut any = false;
    for argument in arguments.filter(|a| !a.is_hide_set() && a.get_id() != "help" && a.get_id() != "version")
    {
        any = true;
        let help = argument.get_long_help().or_else(|| argument.get_help()).map(ToString::to_string);
        let help = help.unwrap_or_default().trim().replace("\n\n", ". ").replace('\n', " ");
        let _ = writeln!(out, "- `{}`: {help}{}", spelling(argument), extras(argument));
    }
    if any {
        out.push('\n');
    }
}

fn spelling(argument: &Arg) -> String {
    let value = argument.get_value_names().map(|names| {
        let names: Vec<_> = names.iter().map(ToString::to_string).collect();
        names.join(" ")
    });
    let takes_value = argument.get_action().takes_values();
    let value = value.filter(|_| takes_value).unwrap_or_default();
    if argument.is_positional() {
        let many = argument.get_num_args().is_some_and(|n| n.max_values() > 1);
        return format!("{value}{}", if many { "…" } else { "" });
    }
    let mut names: Vec<String> = argument.get_short().map(|c| format!("-{c}")).into_iter().collect();
    names.extend(argument.get_long().map(|l| format!("--{l}")));
    names.extend(argument.get_visible_aliases().unwrap_or_default().iter().map(|l| format!("--{l}")));
    let names = names.join(", ");
    if value.is_empty() { names } else { format!("{names} {value}") }
}

fn extras(argument: &Arg) -> String {
    let mut out = String::new();
    if !argument.get_action().takes_values() {
        return out;
    }
    let possible: Vec<_> =
        argument.get_possible_values().iter().map(|v| format!("`{}`", v.get_name())).collect();
    if !possible.is_empty() {
        let _ = write!(out, " (one of {})", possible.join(", "));
    }
    let default: Vec<_> = argument.get_default_values().iter().map(|v| v.to_string_lossy()).collect();
    if !default.is_empty() {
        let _ = write!(out, " (default `{}`)", default.join(" "));
    }
    out
}

fn tables(out: &mut String) {
    out.push_str("## Exit codes\n\n| code | meaning |\n|---|---|\n");
    for code in Code::ALL {
        let _ = writeln!(out, "| {} | {} |", code as u8, code.meaning());
    }
    out.push_str("\nWhere a script written for crane would notice a difference: [coming from crane](../guide/from-crane.md).\n");
    out.push_str("\n## Environment variables\n\n| variable | meaning |\n|---|---|\n");
    for v in VARIABLES {
        let _ = writeln!(out, "| `{}` | {} |", v.name, v.meaning.replace('|', "\\|"));
    }
}
