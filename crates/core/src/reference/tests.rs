use proptest::prelude::*;

use super::*;

const D: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn parse(text: &str) -> Reference {
    text.parse().unwrap()
}

#[test]
fn short_forms_expand_as_docker_does() {
    let cases = [
        ("ubuntu", "index.docker.io/library/ubuntu:latest"),
        ("ubuntu:24.04", "index.docker.io/library/ubuntu:24.04"),
        ("docker.io/ubuntu", "index.docker.io/library/ubuntu:latest"),
        ("docker.io/org/app:v1", "index.docker.io/org/app:v1"),
        ("org/app", "index.docker.io/org/app:latest"),
        ("ghcr.io/org/app", "ghcr.io/org/app:latest"),
        ("localhost/app", "localhost/app:latest"),
        ("localhost:5000/app", "localhost:5000/app:latest"),
        ("127.0.0.1:5000/a/b__c/d---e:T", "127.0.0.1:5000/a/b__c/d---e:T"),
        ("[::1]:5000/app:v1", "[::1]:5000/app:v1"),
        ("[::1]/app", "[::1]/app:latest"),
        ("GHCR.io/org/app", "ghcr.io/org/app:latest"),
    ];
    for (text, full) in cases {
        assert_eq!(parse(text).to_string(), full, "{text}");
    }
}

#[test]
fn tag_and_digest_are_both_kept_and_the_digest_selects() {
    let both = parse(&format!("ghcr.io/o/a:v1@{D}"));
    assert_eq!(both.tag(), Some("v1"));
    assert_eq!(both.digest().unwrap().to_string(), D);
    assert_eq!(both.selector(), Selector::Digest(D.parse().unwrap()));
    assert_eq!(both.to_string(), format!("ghcr.io/o/a:v1@{D}"));
    let digest = parse(&format!("ghcr.io/o/a@{D}"));
    assert_eq!((digest.tag(), digest.base_name()), (None, None));
}

#[test]
fn base_names_are_fully_qualified_and_never_frozen() {
    assert_eq!(parse("ubuntu").base_name().unwrap(), "docker.io/library/ubuntu:latest");
    assert_eq!(parse(&format!("ghcr.io/o/a:v1@{D}")).base_name().unwrap(), "ghcr.io/o/a:v1");
}

#[test]
fn errors_name_the_part_and_the_position() {
    let long = format!("ghcr.io/{}", "a".repeat(300));
    let cases = [
        ("", Part::Repository, 0),
        ("ghcr.io/", Part::Repository, 8),
        ("ghcr.io/Org/app", Part::Repository, 8),
        ("Foo/bar", Part::Repository, 0),
        ("ghcr.io/a//b", Part::Repository, 10),
        ("ghcr.io/../b", Part::Repository, 8),
        ("ghcr.io/a_-b", Part::Repository, 9),
        ("ghcr.io/a-", Part::Repository, 10),
        ("ghcr.io/a b", Part::Repository, 9),
        ("ghcr.io:x/a", Part::Registry, 8),
        ("ghcr.io:99999/a", Part::Registry, 8),
        ("gh..io/a", Part::Registry, 3),
        ("[::1/a", Part::Registry, 0),
        ("[::g].x/a", Part::Registry, 1),
        ("ghcr.io/a:", Part::Tag, 10),
        ("ghcr.io/a:-x", Part::Tag, 10),
        ("ghcr.io/a:v+1", Part::Tag, 11),
        ("ghcr.io/a@sha256:abc", Part::Digest, 10),
        ("ghcr.io/a@", Part::Digest, 10),
        (long.as_str(), Part::Repository, 8),
    ];
    for (text, part, position) in cases {
        let error = text.parse::<Reference>().unwrap_err();
        assert_eq!((error.part, error.position), (part, position), "{text}: {error}");
    }
}

#[test]
fn repositories_take_no_tag() {
    assert_eq!("ubuntu".parse::<Repository>().unwrap().path(), "library/ubuntu");
    assert!("ubuntu:24.04".parse::<Repository>().is_err());
    assert!(format!("ubuntu@{D}").parse::<Repository>().is_err());
}

proptest! {
    #[test]
    fn printing_and_parsing_are_inverse(
        host in "(localhost|[a-z0-9]{1,8}\\.[a-z]{2,5})(:[1-9][0-9]{0,3})?",
        path in "[a-z0-9]{1,8}((\\.|_|__|-{1,3})[a-z0-9]{1,5}){0,2}(/[a-z0-9]{1,8}){0,3}",
        tag in proptest::option::of("[A-Za-z0-9_][A-Za-z0-9._-]{0,20}"),
        digest in any::<bool>(),
    ) {
        prop_assume!(!host.ends_with("docker.io"));
        let mut text = format!("{host}/{path}");
        if let Some(tag) = &tag { text += &format!(":{tag}"); }
        if digest { text += &format!("@{D}"); }
        let reference: Reference = text.parse().unwrap();
        prop_assert_eq!(reference.to_string().parse::<Reference>().unwrap(), reference.clone());
        if tag.is_some() || digest { prop_assert_eq!(reference.to_string(), text); }
    }

    #[test]
    fn any_text_is_parsed_or_refused_without_panic(text in "\\PC{0,60}") {
        if let Err(e) = text.parse::<Reference>() {
            prop_assert!(e.position <= text.len());
        }
    }
}
