//! Distributions, packages, runtimes, owners, sizes and the summary.

use super::*;

fn texts(assessment: &Assessment) -> Vec<&str> {
    assessment.findings.iter().map(|finding| &*finding.text).collect()
}

fn outcome(assessment: &Assessment, name: GateName) -> (Outcome, &str) {
    let gate = assessment.gate(name).unwrap();
    (gate.outcome, &gate.reason)
}

#[test]
fn every_gate_has_an_outcome() {
    let assessment = judge_entries(&["a=1"], &["a=2"], &["b=x"]);
    let gates: Vec<String> =
        assessment.gates.iter().map(|gate| format!("{} {}", gate.name, gate.outcome)).collect();
    let expected = [
        "shadow pass",
        "reach pass",
        "stale-copies pass",
        "build-steps pass",
        "elf pass",
        "entrypoint pass",
        "runtime pass",
        "distribution not assessed",
        "libc pass",
        "platform pass",
        "packages not assessed",
        "accounts not assessed",
    ];
    assert_eq!(gates, expected);
    assert_eq!(assessment.grade, Grade::Clean);
}

#[test]
fn grades_have_names_and_an_order() {
    for grade in Grade::ALL {
        assert_eq!(grade.to_string().parse(), Ok(grade));
        assert_eq!(serde_json::to_value(grade).unwrap(), json!(grade.as_str()));
    }
    assert!(Grade::Clean < Grade::Shadowed && Grade::DbShadowed < Grade::Broken);
    assert_eq!(
        "bad".parse::<Grade>().unwrap_err().to_string(),
        r#""bad" is no grade (clean, shadowed, db-shadowed, broken)"#
    );
}

#[test]
fn distributions_are_compared() {
    let release = |id: &str, version: &str| {
        format!("usr/lib/os-release=PRETTY_NAME=\"X\"\nID={id}\nVERSION_ID=\"{version}\"\n")
    };
    let link = "etc/os-release->../usr/lib/os-release";
    for (old, new, expected) in [
        (("debian", "12"), ("debian", "12"), (Outcome::Pass, "both bases are debian 12")),
        (
            ("debian", "12"),
            ("debian", "13"),
            (Outcome::Warn, "the new base is of another release: debian 13 after debian 12"),
        ),
        (
            ("debian", "12"),
            ("alpine", "3.20"),
            (Outcome::Warn, "the new base is of another distribution: alpine 3.20 after debian 12"),
        ),
    ] {
        let base = |(id, version)| release(id, version);
        let assessment = judge_entries(&[&base(old), link], &[&base(new), link], &["app/x=x"]);
        assert_eq!(outcome(&assessment, GateName::Distribution), expected);
        assert_eq!(assessment.grade, Grade::Clean);
        assert_eq!(assessment.new_distribution.version_id.as_deref(), Some(new.1));
    }
}

fn status(packages: &[(&str, &str)]) -> String {
    let record = |(name, version): &(&str, &str)| {
        format!(
            "Package: {name}\nStatus: install ok installed\nArchitecture: amd64\nVersion: {version}\nDescription: x\n a: b\n\n"
        )
    };
    let gone = "Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\n";
    format!("var/lib/dpkg/status={gone}{}", packages.iter().map(record).collect::<String>())
}

#[test]
fn packages_are_compared() {
    let old = status(&[
        ("libc6", "2.36-9+deb12u3"),
        ("openssl", "3.0.11-1~deb12u2"),
        ("perl", "5.36.0-7"),
        ("tzdata", "2024b-0"),
    ]);
    let new = status(&[
        ("libc6", "2.36-9+deb12u10"),
        ("openssl", "3.0.11-1~deb12u1"),
        ("tzdata", "2024b-0"),
        ("zlib1g", "1"),
    ]);
    let assessment = judge_entries(&[&old], &[&new], &["app/x=x"]);
    let packages = assessment.packages.as_ref().unwrap();
    let names = |list: &[PackageChange]| list.iter().map(|change| change.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&packages.upgraded), ["libc6"]);
    assert_eq!(names(&packages.downgraded), ["openssl"]);
    assert_eq!(names(&packages.removed), ["perl"]);
    assert_eq!(names(&packages.added), ["zlib1g"]);
    assert_eq!(
        outcome(&assessment, GateName::Packages),
        (Outcome::Warn, "packages: 1 upgraded, 1 added, 1 removed, 1 downgraded")
    );
    assert_eq!(
        texts(&assessment),
        [
            "the new base has an older openssl: 3.0.11-1~deb12u1 after 3.0.11-1~deb12u2",
            "the new base no longer has perl"
        ]
    );
}

#[test]
fn packages_of_images_without_a_package_manager_are_compared() {
    let old =
        ["var/lib/dpkg/status.d/base=Package: base\nVersion: 1\n", "var/lib/dpkg/status.d/base.md5sums=x"];
    let new = ["var/lib/dpkg/status.d/base=Package: base\nVersion: 2\n"];
    assert_eq!(judge_entries(&old, &new, &["x=x"]).packages.unwrap().upgraded.len(), 1);
    let apk = |version: &str| format!("lib/apk/db/installed=C:Q1\nP:musl\nV:{version}\nA:x86_64\n\n");
    assert_eq!(
        judge_entries(&[&apk("1.2.4-r2")], &[&apk("1.2.4-r10")], &["x=x"]).packages.unwrap().upgraded.len(),
        1
    );
    let rpm = judge_entries(&["var/lib/rpm/rpmdb.sqlite=1"], &["var/lib/rpm/rpmdb.sqlite=2"], &["x=x"]);
    assert_eq!(outcome(&rpm, GateName::Packages), (Outcome::NotAssessed, "rpm's database was not read"));
}

#[test]
fn runtimes_are_compared_where_the_application_uses_them() {
    let java = |major: u32| format!("usr/lib/jvm/java-{major}/release=JAVA_VERSION=\"{major}.0.9\"\n");
    let used = judge_entries(&[&java(17)], &[&java(21)], &["app/a.jar=x"]);
    assert_eq!(outcome(&used, GateName::Runtime), (Outcome::Warn, "java 21 after 17"));
    assert_eq!(used.grade, Grade::Clean);
    let unused = judge_entries(&[&java(17)], &[&java(21)], &["app/a=x"]);
    assert_eq!(outcome(&unused, GateName::Runtime).0, Outcome::Pass);
    assert_eq!(unused.runtimes.len(), 1);
}

#[test]
fn files_of_a_version_that_is_gone_are_broken() {
    let python = |minor: u32| format!("usr/lib/python3.{minor}/os.py={minor}");
    let own = ["venv/lib/python3.11/site-packages/a.py=x", "venv/lib/python3.11/site-packages/b.py=y"];
    let assessment = judge_entries(&[&python(11)], &[&python(13)], &own);
    assert_eq!(graded(&assessment), ["broken runtime venv/lib/python3.11"]);
    assert_eq!(
        assessment.findings[0].text,
        "/venv/lib/python3.11 has 2 own files for python 3.11, which the new base does not have"
    );
    let with_runtime = [own[0], "usr/lib/python3.11/os.py=own"];
    assert!(
        !graded(&judge_entries(&["a=1"], &[&python(13)], &with_runtime))
            .iter()
            .any(|found| found.starts_with("broken"))
    );
}

#[test]
fn owners_are_who_they_were() {
    let passwd = |line: &str| format!("etc/passwd=root:x:0:0::/:/\n{line}:x:101:7::/:/\n");
    let own = ["@644:101 app/a=x", "@644:101 app/b=y", "@644:555 app/c=z"];
    let assessment = judge_entries(&[&passwd("nginx")], &[&passwd("_apt")], &own);
    assert_eq!(graded(&assessment), ["shadowed owner app/a"]);
    assert_eq!(assessment.findings[0].text, "user 101 of 2 own files was nginx and is _apt on the new base");
    assert_eq!(assessment.findings[0].related, ["/app/a", "/app/b"]);
    let same = judge_entries(&[&passwd("nginx")], &[&passwd("nginx"), "x=1"], &own);
    assert_eq!(outcome(&same, GateName::Accounts), (Outcome::Pass, "users and groups are who they were"));
}

#[test]
fn sizes_count_what_is_visible() {
    let sizes = judge_entries(&["a=1234", "b=>a"], &["a=12"], &["c=1", "-a"]).sizes;
    let size = |bytes, files| Size { bytes, files };
    assert_eq!(
        (sizes.old_base, sizes.new_base, sizes.old, sizes.new),
        (size(4, 1), size(2, 1), size(5, 2), size(1, 1))
    );
}

#[test]
fn the_summary_is_short_and_begins_with_what_matters() {
    let docs = |content: &str| {
        (0..50).map(|i| format!("usr/share/doc/p{i:02}/copyright={content}{i}")).collect::<Vec<_>>()
    };
    let with = |mut entries: Vec<String>, more: &[&str]| {
        entries.extend(more.iter().map(|entry| (*entry).to_owned()));
        entries
    };
    let old = with(docs("1"), &["var/lib/dpkg/status=1", "lib/a.so.1=1"]);
    let new = with(docs("2"), &["var/lib/dpkg/status=2"]);
    let own = with(docs("3"), &["var/lib/dpkg/status=3", "app/l->/lib/a.so.1"]);
    let text = |entries: &Vec<String>| layer(&entries.iter().map(|entry| &**entry).collect::<Vec<_>>());
    let assessment = judge(&[text(&old)], &[text(&new)], &[text(&own)]);
    assert_eq!(assessment.findings.len(), 52);
    let lines = assessment.summary(10);
    assert_eq!(
        lines[..3],
        [
            "broken: /app/l is a link to \"/lib/a.so.1\", which the new base does not have",
            "db-shadowed: /var/lib/dpkg/status, the package database, is the application's: it lists the old base's packages",
            "shadowed: /usr/share/doc/p00/copyright is the application's, and the new base changed its own; and 49 more below /usr/share/doc",
        ]
    );
    assert!(lines[3].starts_with("not assessed: "), "{lines:#?}");
    assert_eq!(assessment.summary(2).len(), 2);
    assert_eq!(assessment.summary(0), [""; 0]);
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let json = || {
        serde_json::to_string(&judge_entries(&["a=1", "b=1"], &["a=2", "c=1"], &["a=3", "b=3", "c=3"]))
            .unwrap()
    };
    assert_eq!(json(), json());
}
