//! Every command and every flag of crane's is known; where crane is installed, the list is compared with its help.

use std::{collections::BTreeSet, path::Path, process::Command};

use crate::context::TestContext;

/// Commands with their flags, `-x` and `--long`, and the global ones at the top.
const FLAGS: &[(&str, &str)] = &[
    ("", "--allow-nondistributable-artifacts -h --help --insecure --platform -v --verbose"),
    (
        "append",
        "-b --base -f --new_layer -t --new_tag --oci-empty-base -o --output --set-base-image-annotations",
    ),
    ("auth", ""),
    ("auth get", ""),
    ("auth login", "-p --password --password-stdin -u --username"),
    ("auth logout", ""),
    ("auth token", "-H --header -m --mount --push"),
    ("blob", ""),
    ("catalog", "--full-ref"),
    ("completion", ""),
    ("config", ""),
    ("copy", "-a --all-tags -j --jobs -n --no-clobber"),
    ("cp", "-a --all-tags -j --jobs -n --no-clobber"),
    ("delete", ""),
    ("digest", "--full-ref --tarball"),
    ("edit", ""),
    ("edit config", "-t --tag"),
    ("edit fs", "-f --filename -t --tag"),
    ("edit manifest", "-m --media-type -t --tag"),
    ("export", ""),
    ("flatten", "-t --tag"),
    ("index", ""),
    ("index append", "--docker-empty-base --flatten -m --manifest -t --tag"),
    ("index filter", "--platform -t --tag"),
    ("index list", ""),
    ("layout", ""),
    ("layout gc", ""),
    ("ls", "--full-ref -O --omit-digest-tags"),
    ("manifest", ""),
    (
        "mutate",
        "-a --annotation --append --cmd --entrypoint -e --env --exposed-ports -l --label -o --output --repo \
         --set-platform -t --tag -u --user -w --workdir",
    ),
    ("pull", "--annotate-ref -c --cache_path --format"),
    ("push", "--image-refs --index"),
    ("rebase", "--new_base --old_base --original --rebased -t --tag"),
    ("registry", ""),
    ("registry serve", "--address --disk"),
    ("tag", ""),
    ("validate", "--fast --remote --tarball"),
    ("version", ""),
];

#[test]
fn every_command_and_flag_is_known() {
    let context = TestContext::new();
    let mut unknown = Vec::new();
    for (command, flags) in FLAGS {
        let words: Vec<&str> = command.split_whitespace().collect();
        if context.run(&[&words[..], &["--help"]].concat()).code != Some(0) {
            unknown.push((*command).to_owned());
            continue;
        }
        for flag in flags.split_whitespace() {
            // A flag without a value, or without what the command needs, is an error too; an unknown one says so.
            let said = context.run(&[&words[..], &[flag]].concat()).stderr;
            if said.contains("unexpected argument") {
                unknown.push(format!("{command} {flag}"));
            }
        }
    }
    assert_eq!(unknown, [""; 0]);
}

/// Hidden commands are not in crane's help; their own help is there.
const HIDDEN: &[(&str, &[&str])] = &[("", &["edit", "layout", "cp"])];

#[test]
fn the_list_is_that_of_an_installed_crane() {
    let Some(crane) = super::peer() else {
        palan_testkit::peer::skip("crane is not installed, the list of its flags was not compared with it");
        return;
    };
    let mut found = BTreeSet::new();
    commands(&crane, &[], &mut found);
    let listed: BTreeSet<String> = FLAGS
        .iter()
        .flat_map(|(command, flags)| {
            let flags = flags.split_whitespace().map(move |flag| format!("{command} {flag}"));
            flags.chain([format!("{command} ")])
        })
        .collect();
    let missing: Vec<&String> = found.difference(&listed).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

fn commands(crane: &Path, words: &[&str], found: &mut BTreeSet<String>) {
    let output = Command::new(crane).args(words).arg("--help").output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let command = words.join(" ");
    found.insert(format!("{command} "));
    let own = help.split_once("\nFlags:\n").map_or("", |(_, flags)| flags);
    let own = own.split_once("\nGlobal Flags:").map_or(own, |(own, _)| own);
    let names = own.lines().flat_map(|line| line.split_whitespace().take(2));
    for flag in names.map(|word| word.trim_end_matches(',')).filter(|word| word.starts_with('-')) {
        if words.is_empty() || !["-h", "--help"].contains(&flag) {
            found.insert(format!("{command} {flag}"));
        }
    }
    let hidden = HIDDEN.iter().find(|(of, _)| *of == command).map_or(&[][..], |(_, hidden)| hidden);
    let listed = help.split_once("Available Commands:\n").map_or("", |(_, rest)| rest);
    let listed = listed.lines().take_while(|line| line.starts_with("  "));
    let listed = listed.filter_map(|line| line.split_whitespace().next());
    for sub in listed.chain(hidden.iter().copied()).filter(|sub| !["help", "completion"].contains(sub)) {
        commands(crane, &[words, &[sub]].concat(), found);
    }
}
