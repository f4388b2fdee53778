//! Own paths over what the bases do not have alike.

use super::*;

/// Old base, new base, own layer, findings that lead to a grade.
type Case = (
    &'static str,
    &'static [&'static str],
    &'static [&'static str],
    &'static [&'static str],
    &'static [&'static str],
);

const CASES: &[Case] = &[
    ("nothing in common", &["etc/a=1"], &["etc/a=2"], &["app/x=9"], &[]),
    ("over an unchanged file", &["etc/a=1", "b=1"], &["etc/a=1", "b=2"], &["etc/a=3"], &[]),
    ("over a changed file", &["etc/a=1"], &["etc/a=2"], &["etc/a=3"], &["shadowed file etc/a"]),
    ("over a file whose mode changed", &["a=1"], &["@600 a=1"], &["a=3"], &["shadowed file a"]),
    ("over a vanished file", &["etc/a=1"], &["etc/b=2"], &["etc/a=3"], &["shadowed file etc/a"]),
    ("over a new file", &["etc/b=1"], &["etc/b=1", "etc/a=2"], &["etc/a=3"], &["shadowed file etc/a"]),
    ("mode of a changed file", &["a=1"], &["a=2"], &["@755 a=1"], &["shadowed file a"]),
    (
        "parent with the old metadata",
        &["@755 d/"],
        &["@700 d/"],
        &["@755 d/", "d/x=9"],
        &["shadowed directory d"],
    ),
    ("parent with the new metadata", &["@755 d/"], &["@700 d/"], &["@700 d/", "d/x=9"], &[]),
    ("parent unchanged", &["@700 d/", "e=1"], &["@700 d/", "e=2"], &["@700 d/", "d/x=9"], &[]),
    ("directory new in both, alike", &["e=1"], &["e=1", "d/"], &["d/", "d/x=9"], &[]),
    ("directory new in both", &["e=1"], &["e=1", "@700 d/"], &["d/", "d/x=9"], &["shadowed directory d"]),
    ("no entry for the parent", &["@755 d/"], &["@700 d/"], &["d/x=9"], &[]),
    ("inside a vanished directory", &["d/a=1"], &["e=1"], &["d/x=9"], &["shadowed directory d"]),
    ("merged usr", &["bin/sh=1"], &["bin->usr/bin", "usr/bin/sh=1"], &["bin/x=1"], &["broken kind bin"]),
    ("merged usr, entry", &["bin/sh=1"], &["bin->usr/bin", "usr/bin/sh=1"], &["bin/"], &["broken kind bin"]),
    (
        "merged usr, removal",
        &["bin/sh=1"],
        &["bin->usr/bin", "usr/bin/sh=1"],
        &["-bin/sh"],
        &["broken kind bin"],
    ),
    (
        "split usr",
        &["lib->usr/lib", "usr/lib/a=1"],
        &["lib/a=1", "usr/lib/b=1"],
        &["usr/lib/x=1"],
        &["shadowed symlink lib"],
    ),
    ("file where a directory is now", &["a=1"], &["a/b=1"], &["a=2"], &["broken kind a"]),
    ("directory where a file is now", &["a/b=1"], &["a=1"], &["a/x=2"], &["broken kind a"]),
    ("removal of what is gone", &["d/a=1"], &["d/"], &["-d/a"], &[]),
    ("removal of what changed", &["a=1"], &["a=2"], &["-a"], &[]),
    (
        "removal beside new names",
        &["d/a.deb=1"],
        &["d/a.deb=1", "d/b.deb=1"],
        &["-d/a.deb"],
        &["shadowed removal d"],
    ),
    ("removal of a directory with other names", &["d/a=1"], &["d/b=1"], &["-d"], &["shadowed removal d"]),
    ("removal of a directory with the same names", &["d/a=1"], &["d/a=2"], &["-d"], &[]),
    ("emptied and changed", &["d/a=1"], &["d/a=2"], &["d/*", "d/x=9"], &["shadowed emptied d"]),
    ("emptied and unchanged", &["d/a=1"], &["d/a=1", "e=1"], &["d/*", "d/x=9"], &[]),
    (
        "link to a versioned library that is gone",
        &["lib/a.so.1.1=1"],
        &["lib/a.so.1.2=1"],
        &["app/a.so->/lib/a.so.1.1"],
        &["broken symlink app/a.so"],
    ),
    ("link that never led anywhere", &["a=1"], &["a=2"], &["app/l->/missing"], &[]),
    (
        "link through a directory link",
        &["l->usr/l", "usr/l/a=1"],
        &["l->usr/l", "usr/l/a=2"],
        &["x->/l/a"],
        &[],
    ),
    ("hard link to a missing file", &["a=1"], &["b=2"], &["x=>a"], &["broken hard-link x"]),
    ("hard link to a changed file", &["a=1"], &["a=2"], &["x=>a"], &["shadowed hard-link x"]),
    ("hard link of its own", &["a=1"], &["a=2"], &["y=1x", "x=>y"], &[]),
    ("base file with other names", &["a=1", "b=>a"], &["a=1", "b=1"], &["a=2"], &["shadowed hard-link a"]),
    (
        "through a link that leads elsewhere",
        &["c->v1", "v1/a=1", "v2/a=1"],
        &["c->v2", "v1/a=1", "v2/a=1"],
        &["v1/x=1"],
        &["shadowed symlink c"],
    ),
    (
        "dpkg",
        &["var/lib/dpkg/status=1"],
        &["var/lib/dpkg/status=2"],
        &["var/lib/dpkg/status=3"],
        &["db-shadowed package-database var/lib/dpkg/status"],
    ),
    (
        "dpkg, equal bases",
        &["var/lib/dpkg/status=1", "a=1"],
        &["var/lib/dpkg/status=1", "a=2"],
        &["var/lib/dpkg/status=3"],
        &[],
    ),
    (
        "dpkg of distroless",
        &["var/lib/dpkg/status.d/base=1"],
        &["var/lib/dpkg/status.d/base=2"],
        &["var/lib/dpkg/status.d/base=3"],
        &["db-shadowed package-database var/lib/dpkg/status.d/base"],
    ),
    (
        "apk",
        &["lib/apk/db/installed=1"],
        &["lib/apk/db/installed=2"],
        &["lib/apk/db/installed=3"],
        &["db-shadowed package-database lib/apk/db/installed"],
    ),
    (
        "rpm",
        &["var/lib/rpm/rpmdb.sqlite=1"],
        &["var/lib/rpm/rpmdb.sqlite=2"],
        &["var/lib/rpm/rpmdb.sqlite=3"],
        &["db-shadowed package-database var/lib/rpm/rpmdb.sqlite"],
    ),
    (
        "accounts",
        &["etc/passwd=1"],
        &["etc/passwd=2"],
        &["etc/passwd=3", "etc/passwd-=1x"],
        &["shadowed accounts etc/passwd"],
    ),
    (
        "loader cache",
        &["etc/ld.so.cache=1"],
        &["etc/ld.so.cache=2"],
        &["etc/ld.so.cache=3"],
        &["shadowed loader-cache etc/ld.so.cache"],
    ),
    (
        "loader cache of its own",
        &["lib/a.so.1=1"],
        &["lib/a.so.2=1"],
        &["etc/ld.so.cache=3"],
        &["shadowed loader-cache etc/ld.so.cache"],
    ),
    (
        "certificates",
        &["etc/ssl/certs/ca-certificates.crt=1"],
        &["etc/ssl/certs/ca-certificates.crt=2"],
        &["etc/ssl/certs/ca-certificates.crt=3"],
        &["shadowed trust-store etc/ssl/certs/ca-certificates.crt"],
    ),
    (
        "certificates put together",
        &["usr/share/ca-certificates/a.crt=1"],
        &["usr/share/ca-certificates/a.crt=2"],
        &["etc/ssl/certs/java/cacerts=3"],
        &["shadowed trust-store etc/ssl/certs/java/cacerts"],
    ),
    (
        "byte code",
        &["usr/lib/python3/a.py=1"],
        &["usr/lib/python3/a.py=2"],
        &["usr/lib/python3/__pycache__/a.cpython-311.pyc=x"],
        &["shadowed language-tree usr/lib/python3/__pycache__/a.cpython-311.pyc"],
    ),
    (
        "site-packages",
        &["usr/lib/python3/dist-packages/a.py=1"],
        &["usr/lib/python3/dist-packages/a.py=2"],
        &["usr/lib/python3/dist-packages/a.py=3"],
        &["shadowed language-tree usr/lib/python3/dist-packages/a.py"],
    ),
    (
        "log",
        &["var/log/dpkg.log=1"],
        &["var/log/dpkg.log=2"],
        &["var/log/dpkg.log=3"],
        &["shadowed residue var/log/dpkg.log"],
    ),
    (
        "copy of a changed file",
        &["lib/a.so=1"],
        &["lib/a.so=2"],
        &["app/a.so=1"],
        &["shadowed stale-copy app/a.so"],
    ),
    ("copy of a file that moved", &["lib/a.so=1"], &["lib64/a.so=1"], &["app/a.so=1"], &[]),
    ("empty files are no copies", &["a="], &["b=1"], &["app/x="], &[]),
    (
        "all owners below",
        &["d/a=1"],
        &["d/a=1", "d/s/b=1"],
        &["@755:7:7 d/", "@644:7:7 d/a=1"],
        &["shadowed directory d"],
    ),
    (
        "one owner",
        &["d/a=1", "d/b=1"],
        &["d/a=1", "d/b=1", "d/s/c=1"],
        &["@644:7:7 d/a=1"],
        &["shadowed directory d"],
    ),
    ("group handed down", &["@2755:0:5 d/"], &["@2755:0:6 d/"], &["d/x=9"], &["shadowed directory d"]),
];

#[test]
fn own_paths_are_graded() {
    let wrong = CASES.iter().filter_map(|(name, old, new, own, expected)| {
        let found = graded(&judge_entries(old, new, own));
        (found != *expected).then(|| format!("{name}: {found:?}, expected {expected:?}"))
    });
    assert_eq!(wrong.collect::<Vec<_>>(), [""; 0]);
}

#[test]
fn nothing_is_found_where_the_base_stays() {
    for (name, old, _, own, _) in CASES {
        assert_eq!(graded(&judge_entries(old, old, own)), [""; 0], "{name}");
    }
}

#[test]
fn removal_of_what_is_gone_is_noted() {
    let assessment = judge_entries(&["d/a=1"], &["d/"], &["-d/a"]);
    let texts: Vec<&str> = assessment.findings.iter().map(|found| &*found.text).collect();
    assert_eq!(texts, ["the application removes /d/a, which the new base no longer has"]);
}

#[test]
fn what_a_later_layer_removes_hides_nothing() {
    let (old, new) = ([layer(&["var/x=1"])], [layer(&["var/x=2"])]);
    assert_eq!(judge(&old, &new, &[layer(&["var/x=3"]), layer(&["-var/x"])]).grade, Grade::Clean);
}

#[test]
fn names_that_are_not_text_survive() {
    let base = |content| read(Builder::new().file(b"d/\xff", content));
    let assessment = judge(&[base("1")], &[base("2")], &[base("3")]);
    let found = serde_json::to_value(&assessment.findings[0]).unwrap();
    assert_eq!((&found["path"], &found["path_hex"]), (&json!("d/\u{fffd}"), &json!("642fff")));
}

#[test]
fn content_that_nobody_read_is_not_taken_for_equal() {
    let names = |content| {
        let tar = Builder::new().file("a", content).tar().unwrap();
        [Arc::new(Listing::read(&*tar, &Interest::NAMES, &Limits::default()).unwrap())]
    };
    let assessment = judge(&names("1"), &names("2"), &names("3"));
    assert_eq!(graded(&assessment), ["shadowed file a"]);
    assert!(assessment.findings[0].text.ends_with("was not looked at"), "{}", assessment.findings[0].text);
    let gate = assessment.gates.iter().find(|gate| gate.name == GateName::StaleCopies).unwrap();
    assert_eq!(gate.outcome, Outcome::NotAssessed);
}
