//! What build steps name.

use super::*;

/// Judges steps over bases that differ in some ways, by an application that leaves one file.
fn judged(step: &str) -> Vec<(String, Option<Grade>)> {
    let old = layer(&[
        "etc/motd=old",
        "etc/banner=same",
        "opt/conf/a=old",
        "opt/kept/x=same",
        "usr/bin/python3=3.11",
        "usr/bin/cp=1",
        "usr/bin/gone=1",
        "bin->usr/bin",
        "usr/share/doc/a=1",
    ]);
    let new = layer(&[
        "etc/motd=new",
        "etc/banner=same",
        "opt/conf/a=new",
        "opt/kept/x=same",
        "usr/bin/python3=3.13",
        "usr/bin/cp=2",
        "opt/fresh/f=new",
        "bin->usr/bin",
        "usr/share/doc/a=1",
        "usr/share/doc/b=new",
    ]);
    let own = layer(&["srv/out=1"]);
    let with = |release: &str| {
        let mut config = config();
        config["config"] = json!({"Env": [format!("RELEASE={release}"), "LANG=C"]});
        config
    };
    let (old_config, new_config) = (with("12"), with("13"));
    let steps = [step.to_owned()];
    let input = Input {
        old: &[old],
        new: &[new],
        own: &[own],
        app_config: &old_config,
        old_config: Some(&old_config),
        new_config: &new_config,
        result_config: &new_config,
        steps: Some(&steps),
    };
    let found = assess(&input).unwrap().findings.into_iter().filter(|f| f.class == Class::BuildStep);
    found.map(|finding| (finding.path, finding.grade)).collect()
}

#[test]
fn what_a_step_names_and_the_new_base_changed_is_found() {
    let cases: &[(&str, &[&str])] = &[
        ("wc -c < /etc/motd > /srv/size", &["etc/motd"]),
        ("cat /etc/banner > /srv/out", &[]),
        ("echo hello > /etc/motd", &[]),
        ("cd /etc && cat motd", &["etc/motd"]),
        ("cp /etc/motd /srv/", &["etc/motd"]),
        ("cp /srv/x /opt/conf", &[]),
        ("cp -r /opt/conf /srv", &["opt/conf/a"]),
        ("cp -r /opt/kept /srv", &[]),
        ("python3 -c 'print(1)'", &["usr/bin/python3"]),
        ("/bin/python3 /srv/x.py", &["usr/bin/python3"]),
        ("gone --now", &["usr/bin/gone"]),
        ("unknown-program /srv", &[]),
        ("rm -rf /opt/fresh", &["opt/fresh"]),
        ("rm -rf /opt/conf /etc/motd", &[]),
        ("rm /usr/share/doc/*", &["usr/share/doc/b"]),
        ("ls /opt/*/a", &["opt/conf/a"]),
        ("mkdir -p /opt/conf/own", &[]),
        ("mkdir -p /opt/fresh", &["opt/fresh"]),
        ("grep -r x --include=*.c /opt", &["opt/conf/a"]),
        ("echo $RELEASE > /srv/x", &[""]),
        ("echo \"v${RELEASE}\"", &[""]),
        ("echo $LANG", &[]),
        ("sh -c 'tail /etc/motd'", &["etc/motd"]),
        ("find / -name x", &["etc/motd"]),
        ("make PREFIX=/", &[]),
        ("make PREFIX=/opt/conf", &["opt/conf/a"]),
    ];
    for (step, expected) in cases {
        for written in [format!("/bin/sh -c {step}"), format!("RUN /bin/sh -c {step} # buildkit")] {
            let found = judged(&written);
            let paths: Vec<&str> = found.iter().map(|(path, _)| path.as_str()).collect();
            assert_eq!(paths, *expected, "{written}");
            assert!(found.iter().all(|(_, grade)| *grade == Some(Grade::Shadowed)), "{written}");
        }
    }
    for metadata in
        ["/bin/sh -c #(nop) COPY file:x in /etc/motd", "ENV X=/etc/motd", "COPY /etc/motd /x # buildkit"]
    {
        assert_eq!(judged(metadata), [], "{metadata}");
    }
}

#[test]
fn a_history_that_says_nothing_is_not_taken_for_a_good_one() {
    let config = config();
    let base = [layer(&["a=1"])];
    let input = Input {
        old: &base,
        new: &base,
        own: &[],
        app_config: &config,
        old_config: None,
        new_config: &config,
        result_config: &config,
        steps: None,
    };
    let assessment = assess(&input).unwrap();
    assert_eq!(assessment.gate(GateName::BuildSteps).unwrap().outcome, Outcome::NotAssessed);
    assert_eq!(assessment.grade, Grade::Clean);
}
