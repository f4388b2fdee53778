use super::*;

fn conf(text: &str) -> RegistriesConf {
    RegistriesConf::parse("test.conf".as_ref(), text).unwrap()
}

fn shown(endpoint: &Endpoint) -> String {
    let insecure = if endpoint.insecure { " insecure" } else { "" };
    format!("{}/{}{insecure}", endpoint.registry, endpoint.path)
}

fn located(conf: &RegistriesConf, name: &str) -> String {
    let repository: Repository = name.parse().unwrap();
    let place = conf.locate(repository.registry(), repository.path());
    let mut out = shown(&place.primary);
    for (mirror, pulls) in &place.mirrors {
        out.push_str(&format!(" < {} {pulls:?}", shown(mirror)));
    }
    if let Some(prefix) = place.blocked {
        out.push_str(&format!(" blocked by {prefix}"));
    }
    out
}

const ALL: &str = r#"
unqualified-search-registries = ["example.com"]
short-name-mode = "enforcing"
[aliases]
"fedora" = "registry.fedoraproject.org/fedora"

[[registry]]
location = "a.io"
insecure = true

[[registry]]
prefix = "a.io/team"
location = "b.io:5000/mirror/"

[[registry]]
prefix = "a.io/team/secret"
blocked = true

[[registry]]
prefix = "*.corp.example"
[[registry.mirror]]
location = "cache.corp:8443/all"
pull-from-mirror = "tag-only"

[[registry]]
prefix = "*.old.example"
location = "new.example"

[[registry]]
prefix = "docker.io"
[[registry.mirror]]
location = "m1.io/hub"
insecure = true
[[registry.mirror]]
location = "m2.io"
pull-from-mirror = "digest-only"

[[registry]]
prefix = "docker.io/library/moved"
location = "docker.io/other/moved"
mirror-by-digest-only = true
[[registry.mirror]]
location = "m3.io/moved"
"#;

#[test]
fn the_longest_prefix_decides_where_a_repository_is() {
    let conf = conf(ALL);
    for (name, expected) in [
        ("a.io/x", "a.io/x insecure"),
        ("a.io/teams/x", "a.io/teams/x insecure"),
        ("a.io/team/x/y", "b.io:5000/mirror/x/y"),
        ("a.io/team", "b.io:5000/mirror"),
        ("a.io/team/secret/x", "a.io/team/secret/x blocked by a.io/team/secret"),
        ("a.io/team/secrets", "b.io:5000/mirror/secrets"),
        ("a.io:443/x", "a.io:443/x"),
        ("xa.io/x", "xa.io/x"),
        ("r.corp.example/x", "r.corp.example/x < cache.corp:8443/all/x ByTag"),
        ("deep.r.corp.example/x", "deep.r.corp.example/x < cache.corp:8443/all/x ByTag"),
        ("corp.example/x", "corp.example/x"),
        ("r.old.example/x", "new.example/x"),
        (
            "app",
            "index.docker.io/library/app < m1.io/hub/library/app insecure All < m2.io/library/app ByDigest",
        ),
        ("moved", "index.docker.io/other/moved < m3.io/moved ByDigest"),
        (
            "fedora",
            "index.docker.io/library/fedora < m1.io/hub/library/fedora insecure All < m2.io/library/fedora ByDigest",
        ),
    ] {
        assert_eq!(located(&conf, name), expected, "{name}");
    }
    assert_eq!(located(&RegistriesConf::default(), "a.io/x"), "a.io/x");
}

#[test]
fn a_registry_as_a_whole_is_not_moved() {
    let conf = conf(ALL);
    for (registry, insecure) in [("a.io", true), ("x.old.example", false), ("index.docker.io", false)] {
        let place = conf.locate_registry(registry);
        assert_eq!((place.primary.registry.as_str(), place.primary.insecure), (registry, insecure));
        assert!(place.mirrors.is_empty());
    }
}

#[test]
fn later_files_replace_whole_entries() {
    let mut all = conf(ALL);
    all.add(conf("[[registry]]\nprefix = \"a.io\"\nblocked = true\n[[registry]]\nlocation = \"new.io\"\ninsecure = true"));
    assert_eq!(located(&all, "a.io/x"), "a.io/x blocked by a.io");
    assert_eq!(located(&all, "a.io/team/x"), "b.io:5000/mirror/x");
    assert_eq!(located(&all, "new.io/x"), "new.io/x insecure");
}

#[test]
fn what_cannot_be_meant_is_refused_with_its_place() {
    for (text, reason) in [
        ("[[registry]]\ninsecure = 1", "test.conf: line 2: invalid type"),
        ("[[registry]]\n", "neither a prefix nor a location"),
        ("[registries.search]\nregistries = ['a.io']", "version 1"),
        ("[[registry]]\nprefix = \"a.io/Upper\"", "the prefix \"a.io/Upper\""),
        ("[[registry]]\nprefix = \"a.io/x:tag\"", "the prefix \"a.io/x:tag\""),
        ("[[registry]]\nprefix = \"*.a.io/x\"", "the beginning of a host name only"),
        ("[[registry]]\nprefix = \"a.io\"\nlocation = \"https://b.io\"", "the location \"https://b.io\""),
        (
            "[[registry]]\nprefix = \"a.io\"\n[[registry.mirror]]\nlocation = \"b.io\"\npull-from-mirror = \"x\"",
            "pull-from-mirror cannot be \"x\"",
        ),
        (
            "[[registry]]\nprefix = \"a.io\"\nmirror-by-digest-only = true\n[[registry.mirror]]\nlocation = \"b.io\"\npull-from-mirror = \"all\"",
            "cannot have pull-from-mirror",
        ),
        (
            "[[registry]]\nprefix = \"a.io\"\n[[registry]]\nprefix = \"a.io\"\nblocked = true",
            "contradict each other",
        ),
    ] {
        let error = RegistriesConf::parse("test.conf".as_ref(), text).unwrap_err().to_string();
        assert!(error.starts_with("test.conf: ") && error.contains(reason), "{text}: {error}");
    }
}

#[test]
fn short_names_have_aliases_or_one_registry() {
    let aliases = "[aliases]\n\"app\" = \"a.io/team/app\"\n\"team/app\" = \"b.io/app\"\n\"gone\" = \"\"\n";
    let one = conf(&format!("unqualified-search-registries = [\"c.io/all\"]\n{aliases}"));
    let digest = format!("@sha256:{}", "0".repeat(64));
    for (text, long) in [
        ("app", Some("a.io/team/app")),
        ("app:1", Some("a.io/team/app:1")),
        ("team/app:1", Some("b.io/app:1")),
        ("gone:1", Some("c.io/all/gone:1")),
        ("other/app", Some("c.io/all/other/app")),
        ("docker.io/app", None),
        ("localhost/app", None),
        ("host:5000/app:1", None),
        ("[::1]:5000/app", None),
        ("oci:app:1", None),
        ("not a name", None),
    ] {
        assert_eq!(one.long_name(text).unwrap().as_deref(), long, "{text}");
    }
    assert_eq!(one.long_name(&format!("app{digest}")).unwrap().unwrap(), format!("a.io/team/app{digest}"));
    assert_eq!(conf(aliases).long_name("other").unwrap(), None);

    let mut several = conf("unqualified-search-registries = [\"c.io\", \"docker.io\"]");
    let error = several.long_name("app:1").unwrap_err().to_string();
    assert!(error.contains("the short name app:1 could be c.io/app:1 or docker.io/app:1"), "{error}");
    several.add(conf("unqualified-search-registries = [\"d.io\"]"));
    several.add(conf("[aliases]\n\"app\" = \"e.io/app\""));
    assert_eq!(several.long_name("app").unwrap().as_deref(), Some("e.io/app"));
    assert_eq!(several.long_name("b").unwrap().as_deref(), Some("d.io/b"));
    for text in ["[aliases]\n\"a\" = \"B.io/UP\"", "unqualified-search-registries = [\"not one\"]"] {
        assert!(RegistriesConf::parse("x.conf".as_ref(), text).is_err(), "{text}");
    }
}
