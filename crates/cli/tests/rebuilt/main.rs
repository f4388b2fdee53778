//! Proof: an image that was rebased is what a rebuild on the new base makes, or its verdict says that it is not.
//!
//! Recipes are built with `buildah` on the old release of a base, rebased by the `palan` binary onto the new release,
//! and compared with what `buildah` builds of the same recipe on the new release: file systems as buildah mounts them,
//! configs, annotations. Everything happens in one folder and on loopback. Needs `buildah`, a C compiler, Debian's
//! package tools, and root; what is missing is skipped, loudly and counted. `PALAN_TEST_STORAGE=vfs` chooses buildah's
//! other storage, which writes other layers for the same recipe; `PALAN_TEST_RECIPES=a,b` chooses recipes.

#![cfg(target_os = "linux")]
#![allow(clippy::print_stderr, reason = "what is skipped is said aloud")]
// Helpers are not tests to clippy, and a test fails by panicking.
#![allow(clippy::unwrap_used)]

mod base;
mod build;
mod compare;
mod lab;
mod recipes;
mod tools;

use std::{
    fmt::Write as _,
    os::unix::fs::MetadataExt as _,
    process::Command,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use build::Outcome;
use lab::Lab;
use recipes::{Expect, Recipe};
use tools::{find, skip};

const TOOLS: [&str; 9] = ["buildah", "cc", "ldd", "ldconfig", "dpkg", "dpkg-deb", "useradd", "setcap", "tar"];

#[test]
fn rebased_images_equal_rebuilt_ones() {
    if let Some(missing) = TOOLS.iter().find(|tool| find(tool).is_none()) {
        return skip(&format!("{missing} is not installed"));
    }
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        return skip("buildah mounts file systems for root only");
    }
    if !tools::works(Command::new("unshare").args(["--mount", "true"])) {
        return skip("buildah may not mount here, and runs no commands without that");
    }
    let lab = Lab::new();
    base::make(&lab);
    build::context(&lab);
    let recipes: Vec<_> = recipes::ALL.iter().filter(|recipe| wanted(&lab, recipe)).collect();
    move_bases(&lab, "old");
    for_each(&recipes, |recipe| build::build(&lab, recipe, "old"));
    move_bases(&lab, "new");
    for_each(&recipes, |recipe| build::build(&lab, recipe, "new"));
    let outcomes = for_each(&recipes, |recipe| build::rebase(&lab, recipe));
    eprintln!("storage {}", lab.driver());
    eprint!("{}", table(&outcomes));
    let wrong: Vec<_> = outcomes.iter().filter_map(complaint).collect();
    assert!(wrong.is_empty(), "{} of {} recipes:\n{}", wrong.len(), outcomes.len(), wrong.join("\n"));
}

fn wanted(lab: &Lab, recipe: &Recipe) -> bool {
    if let Ok(names) = std::env::var("PALAN_TEST_RECIPES")
        && !names.split(',').any(|name| name == recipe.name)
    {
        return false;
    }
    let there = match recipe.needs {
        None => true,
        Some("apt") => base::has_apt(),
        Some(file) => lab.path("context").join(file).exists(),
    };
    if !there {
        skip(&format!("{}: the machine has no {}", recipe.name, recipe.needs.unwrap_or_default()));
    }
    there
}

/// A new release: from now on, `current` is another image.
fn move_bases(lab: &Lab, release: &str) {
    for name in ["os", "service", "trigger"] {
        let image = lab.at(&format!("base/{name}:{release}"));
        tools::run(&mut lab.palan(&["tag", &image, "current"]));
        lab.pull(&format!("base/{name}:current"));
    }
}

/// Two at a time; in the order of the recipes.
fn for_each<T: Send>(recipes: &[&'static Recipe], work: impl Fn(&'static Recipe) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(recipe) = { recipes.get(next.fetch_add(1, Ordering::Relaxed)) } {
                    let number = recipes.iter().position(|r| r.name == recipe.name);
                    let result = work(recipe);
                    done.lock().unwrap().push((number, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap();
    done.sort_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, result)| result).collect()
}

/// What is wrong with an outcome.
fn complaint(outcome: &Outcome) -> Option<String> {
    let (equal, verdict) = (outcome.differences.is_empty(), outcome.verdict.as_str());
    let problem = match outcome.recipe.expect {
        _ if !equal && verdict == "clean" => "graded clean, but it differs from the rebuild".to_owned(),
        Expect::Clean | Expect::Equal(_) if !equal => "differs from the rebuild".to_owned(),
        Expect::Differs(_) if equal => "equals the rebuild: the recipe no longer tests anything".to_owned(),
        Expect::Clean if verdict != "clean" => format!("graded {verdict}, not clean"),
        Expect::Equal(verdicts) | Expect::Differs(verdicts) | Expect::Graded(verdicts)
            if !verdicts.contains(&verdict) =>
        {
            format!("graded {verdict}, not {}", verdicts.join(" or "))
        }
        _ => match outcome.recipe.says {
            Some(what) if !outcome.findings.iter().any(|f| f.contains(what)) => {
                format!("nothing said of {what}")
            }
            _ => return None,
        },
    };
    Some(format!("{}: {problem}", outcome.recipe.name))
}

/// One line per recipe, and under it what differs and what the rebase found.
fn table(outcomes: &[Outcome]) -> String {
    let mut out = String::new();
    for outcome in outcomes {
        let equal = match outcome.differences.len() {
            0 => "equal".to_owned(),
            n => format!("{n} differences"),
        };
        let _ = writeln!(out, "{:26} {equal:16} {}", outcome.recipe.name, outcome.verdict);
        for line in outcome.differences.iter().take(20) {
            let _ = writeln!(out, "    {line}");
        }
        for line in &outcome.findings {
            let _ = writeln!(out, "    found: {line}");
        }
    }
    out
}
