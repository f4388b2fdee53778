//! What is configured per registry: `registries.conf`, certificates, plain http.

use std::fs;

use insta::assert_snapshot;

use crate::{TestContext, family};

/// Where a user's `registries.conf` lies.
fn user_conf(context: &TestContext, name: &str, text: &str) {
    let path = context.home(".config/containers").join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

#[test]
fn images_keep_their_names_wherever_they_come_from() {
    let context = TestContext::new();
    context.push("cache/team/app:1", &family("linux/amd64").app.graph());
    context.write(
        "r.conf",
        format!(
            "[[registry]]\nprefix = \"a.test\"\nlocation = \"127.0.0.1:1\"\n\
             [[registry.mirror]]\nlocation = \"{}/cache\"\n",
            context.host()
        ),
    );
    let plain = context.run(&["digest", "@@cache/team/app:1"]).ok().text();
    context.name(&plain, "APP");
    assert_snapshot!(context.run(&["digest", "--full-ref", "a.test/team/app:1", "--registries-conf", "r.conf"]), @"
    exit: 0
    --- stdout
    a.test/team/app@[APP]

    --- stderr
    ");
    let words = ["pull", "a.test/team/app:1", "--format", "oci", "out", "--registries-conf", "r.conf"];
    context.run(&words).ok();
    assert_eq!(context.run(&["digest", "oci:out"]).ok().text(), plain);
}

/// Writing goes to the registry's own place, and what is there already is asked there.
#[test]
fn mirrors_are_not_written_to() {
    let context = TestContext::new();
    let image = family("linux/amd64").app.graph();
    context.push("cache/app:1", &image);
    context.push("app:1", &image);
    user_conf(
        &context,
        "registries.conf",
        &format!(
            "[[registry]]\nprefix = \"a.test\"\nlocation = \"{0}/real\"\n\
             [[registry.mirror]]\nlocation = \"{0}/cache\"\n",
            context.host()
        ),
    );
    let before = context.requests().len();
    context.run(&["copy", "@@app:1", "a.test/app:1"]).ok();
    let wanted = context.run(&["digest", "@@app:1"]).ok().text();
    assert_eq!(context.run(&["digest", "@@real/app:1"]).ok().text(), wanted);
    assert!(context.requests()[before..].iter().all(|r| !r.contains("/v2/cache/")));
}

/// A mirror may have an older image under a tag: what is changed in place is read where it stands.
#[test]
fn what_is_changed_in_place_is_not_read_from_a_mirror() {
    let context = TestContext::new();
    let images = family("linux/amd64");
    context.push("cache/app:1", &images.old.graph());
    let current = context.push("real/app:1", &images.app.graph());
    let conf = format!(
        "[[registry]]\nprefix = \"a.test\"\nlocation = \"{0}/real\"\n\
         [[registry.mirror]]\nlocation = \"{0}/cache\"\n",
        context.host()
    );
    user_conf(&context, "registries.conf", &conf);
    let old = context.run(&["digest", "a.test/app:1"]).ok().text();
    assert_ne!(old, current.to_string());
    context.run(&["tag", "a.test/app:1", "2"]).ok();
    assert_eq!(context.run(&["digest", "@@real/app:2"]).ok().text(), current.to_string());
    context.run(&["mutate", "a.test/app:1", "--label", "x=y"]).ok();
    let labels = context.run(&["config", "@@real/app:1"]).ok().text();
    assert!(labels.contains(r#""x":"y""#), "{labels}");
}

#[test]
fn no_verb_that_changes_in_place_reads_a_mirror() {
    let context = TestContext::new();
    let images = family("linux/amd64");
    context.push("cache/app:1", &images.old.graph());
    context.push("cache/old:1", &images.old.graph());
    let conf = format!(
        "[[registry]]\nprefix = \"a.test\"\nlocation = \"{0}/real\"\n\
         [[registry.mirror]]\nlocation = \"{0}/cache\"\n",
        context.host()
    );
    user_conf(&context, "registries.conf", &conf);
    let verbs: [(&[&str], &[u8]); 7] = [
        (&["flatten", "a.test/app:1"], b""),
        (&["flatten", "a.test/app:1", "--keep-base=1"], b""),
        (&["convert", "a.test/app:1", "--compression", "zstd"], b""),
        (&["edit", "config", "a.test/app:1", "-t", "a.test/app:1"], b"CONFIG"),
        (&["edit", "manifest", "a.test/app:1"], b"MANIFEST"),
        (&["edit", "fs", "a.test/app:1", "-f", "new"], b"new"),
        (&["layers", "pick", "@@cache/old:1", "1", "--onto", "a.test/app:1", "-t", "a.test/app:1"], b""),
    ];
    for (words, input) in verbs {
        let current = context.push("real/app:1", &images.app.graph());
        let config = || context.run(&["config", "@@real/app:1"]).ok().text();
        let input = match input {
            b"CONFIG" => config().replacen('{', r#"{"author":"me","#, 1).into_bytes(),
            b"MANIFEST" => {
                let text = context.run(&["manifest", "@@real/app:1"]).ok().text();
                text.replacen('{', r#"{"x":1,"#, 1).into_bytes()
            }
            other => other.to_vec(),
        };
        let before = context.requests().len();
        context.run_input(words, &input).ok();
        let asked = context.requests().split_off(before);
        let of_mirror = |line: &&String| line.contains("/v2/cache/app/manifests");
        assert_eq!(asked.iter().find(of_mirror), None, "{words:?}");
        assert_ne!(context.run(&["digest", "@@real/app:1"]).ok().text(), current.to_string(), "{words:?}");
    }
}

#[test]
fn what_is_blocked_is_refused_until_the_file_is_left_out() {
    let context = TestContext::new();
    context.push("app:1", &family("linux/amd64").app.graph());
    user_conf(&context, "registries.conf", "[aliases]\n\"app\" = \"a.test/app\"\n");
    let conf = format!("[[registry]]\nprefix = \"{}\"\nblocked = true\n", context.host());
    user_conf(&context, "registries.conf.d/50-block.conf", &conf);
    user_conf(&context, "registries.conf.d/README", "not a part of it");
    let before = context.requests().len();
    for verb in [&["manifest", "@@app:1"][..], &["tag", "@@app:1", "2"], &["ls", "@@app"]] {
        let ran = context.run(verb);
        assert_eq!(ran.code, Some(1), "{ran}");
    }
    assert_snapshot!(context.run(&["digest", "@@app:1"]), @r#"
    exit: 1
    --- stdout

    --- stderr
    error: [HOST]/app is blocked by registries.conf (the entry "[HOST]")
    hint: --registries-conf none goes on without that file
    "#);
    assert_eq!(context.run(&["catalog", &context.host()]).code, Some(1));
    assert_eq!(context.requests().len(), before);
    context.run(&["digest", "@@app:1", "--registries-conf", "none"]).ok();
}

/// Scripts mean Docker Hub by short names.
#[test]
fn short_names_mean_docker_hub_whatever_the_file_says() {
    let context = TestContext::new();
    context.push("hub/library/app:latest", &family("linux/amd64").app.graph());
    context.write(
        "r.conf",
        format!(
            "unqualified-search-registries = [\"b.test\"]\n[[registry]]\nprefix = \"docker.io\"\n\
             location = \"{}/hub\"\n[aliases]\n\"app\" = \"a.test/app\"\n",
            context.host()
        ),
    );
    let env: &[(&str, &std::ffi::OsStr)] = &[("CONTAINERS_REGISTRIES_CONF", "r.conf".as_ref())];
    assert_snapshot!(context.run_with(&["digest", "--full-ref", "app"], env), @"
    exit: 0
    --- stdout
    index.docker.io/library/app@sha256:…

    --- stderr
    ");
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let context = TestContext::new();
    context.write("bad.conf", "[[registry]]\nprefix = 1\n");
    assert_snapshot!(context.run(&["digest", "@@app:1", "--registries-conf", "bad.conf"]), @"
    exit: 1
    --- stdout

    --- stderr
    error: bad.conf: line 2: invalid type: integer `1`, expected a string
    hint: --registries-conf none goes on without such files
    ");
    assert_snapshot!(context.run(&["digest", "@@app:1", "--registries-conf", "missing.conf"]), @"
    exit: 3
    --- stdout

    --- stderr
    error: cannot read missing.conf
      caused by: No such file or directory (os error 2)
    ");
}

#[test]
fn certificates_are_checked_before_anything_is_asked() {
    let context = TestContext::new();
    context.write("x.pem", "hello");
    let ran = |words: &[&str]| context.run(&[&["digest", "@@app:1"], words].concat());
    assert_snapshot!(ran(&["--ca-file", "x.pem"]), @"
    exit: 1
    --- stdout

    --- stderr
    error: root certificate: the PEM text holds no certificate
    ");
    assert_snapshot!(ran(&["--cert-file", "x.pem"]), @"
    exit: 2
    --- stdout

    --- stderr
    error: --cert-file and --key-file belong together
    ");
    assert_snapshot!(ran(&["--cert-file=a.io=x.pem", "--key-file=b.io=x.pem"]), @"
    exit: 2
    --- stdout

    --- stderr
    error: there is no --key-file for the --cert-file of a.io
    ");
    assert_eq!(ran(&["--ca-file", "missing.pem"]).code, Some(3));
    assert_eq!(ran(&["--cert-dir", "missing"]).code, Some(1));
    assert!(context.requests().is_empty());
}

#[test]
fn trust_is_a_matter_of_single_registries() {
    let context = TestContext::new();
    context.push("app:1", &family("linux/amd64").app.graph());
    let host = context.host();
    for flags in [
        &["--plain-http"][..],
        &[&format!("--plain-http={host}")],
        &["--tls-verify=false"],
        &["--skip-tls-verify"],
        &[&format!("--skip-tls-verify={host}"), "--skip-tls-verify=a.io"],
        &["--insecure"],
    ] {
        context.run(&[&["digest", "@@app:1"], flags].concat()).ok();
    }
    assert_eq!(context.run(&["digest", "@@app:1", "--plain-http=Not/A/Registry"]).code, Some(2));
}

#[test]
fn short_names_are_read_by_the_file_where_that_is_wanted() {
    let context = TestContext::new();
    context.push("team/app:1", &family("linux/amd64").app.graph());
    let host = context.host();
    let conf = format!(
        "unqualified-search-registries = [\"{host}/team\"]\n[aliases]\n\"web\" = \"{host}/team/app\"\n"
    );
    user_conf(&context, "registries.conf", &conf);
    let digest = context.run(&["digest", "@@team/app:1"]).ok().stdout;
    for words in [
        &["digest", "web:1"][..],
        &["digest", "app:1"],
        &["digest", "@@team/app:1"],
        &["--platform", "linux/amd64", "digest", "web:1"],
    ] {
        assert!(context.run(&[words, &["--short-names"]].concat()).ok().stdout == digest, "{words:?}");
    }
    assert_snapshot!(context.run(&["--short-names", "validate", "web:1", "--fast"]), @"
    exit: 0
    --- stdout
    PASS: [HOST]/team/app:1

    --- stderr
    ");
    context.run(&["--short-names", "copy", "web:1", "app:2"]).ok();
    context.run(&["--short-names", "pull", "web:1", "web", "--format", "oci"]).ok();
    assert!(context.run(&["digest", "oci:web"]).ok().stdout == digest);
    assert!(context.run(&["digest", "@@team/app:2"]).ok().stdout == digest);
    assert_snapshot!(context.run(&["--short-names", "ls", "app"]), @"
    exit: 0
    --- stdout
    1
    2

    --- stderr
    ");
    user_conf(&context, "registries.conf", "unqualified-search-registries = [\"a.test\", \"b.test\"]");
    assert_snapshot!(context.run(&["--short-names", "digest", "app:1"]), @"
    exit: 2
    --- stdout

    --- stderr
    error: invalid value 'app:1' for '[IMAGE]': the short name app:1 could be a.test/app:1 or b.test/app:1

    For more information, try '--help'.
    ");
}
