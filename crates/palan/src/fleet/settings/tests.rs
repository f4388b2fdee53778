use super::*;

const WHOLE: &str = r#"
jobs = 8
[images]
references = ["h.io/a:1"]
files = ["./list.txt"]
manifests = ["deploy"]
repositories = ["h.io/team/*:1.*"]
exclude = ["h.io/team/old"]
[[base]]
from = "debian:12*"
to = "debian:13"
[[base]]
from = "debian:12*"
digest = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
newest = "13*"
semver = ">=13, <14"
[tags]
candidate = "{tag}-c-{new}"
backup = "{tag}-b-{new}"
[gates]
accept = "shadowed"
max-growth-percent = 10
hook = ["./test"]
[[wave]]
name = "canary"
label = "tier=canary"
count = 3
percent = 5
gates = { accept-unassessed = true }
[[wave]]
name = "all"
[rebase]
created = "2026-01-01T00:00:00Z"
[registry."h.io:5000"]
requests = 4
"#;

#[test]
fn a_whole_file_is_read() {
    let settings = Settings::parse(WHOLE).unwrap().in_folder(Path::new("fleet"));
    assert_eq!(settings.images.files, ["fleet/list.txt"]);
    assert_eq!(settings.images.manifests, ["fleet/deploy"]);
    assert_eq!(settings.bases[1].newest.newest.as_deref(), Some("13*"));
    assert!(settings.waves[0].gates.as_ref().unwrap().accept_unassessed);
    assert_eq!(settings.registries["h.io:5000"].requests, Some(4));
    assert_eq!(Settings::parse("").unwrap(), Settings::default());
}

#[test]
fn what_is_wrong_is_said_with_line_and_key() {
    let cases: &[(&str, &[&str])] = &[
        ("job = 1", &["line 1: job: there is no such key, did you mean \"jobs\"?"]),
        ("\n[image]\nreferences = []", &["line 2: image: there is no such key, did you mean \"images\"?"]),
        (
            "[images]\nfile = []\nrefrences = []\nfoo = 1",
            &[
                "line 2: images.file: there is no such key, did you mean \"files\"?",
                "line 3: images.refrences: there is no such key, did you mean \"references\"?",
                "line 4: images.foo: there is no such key, known are references, files, manifests, repositories, exclude",
            ],
        ),
        (
            "[[base]]\nfrom = \"a\"\n[[base]]\nfrom = \"b\"\nnewst = \"1*\"",
            &["line 5: base[2].newst: there is no such key, did you mean \"newest\"?"],
        ),
        (
            "[[wave]]\nname = \"a\"\n[wave.gates]\naccept_unassesed = true",
            &[
                "line 4: wave[1].gates.accept_unassesed: there is no such key, did you mean \"accept-unassessed\"?",
            ],
        ),
        (
            "[registry.\"h.io\"]\nrequest = 1",
            &["line 2: registry.h.io.request: there is no such key, did you mean \"requests\"?"],
        ),
        (
            "[registry.\"h/io\"]\nrequests = 0",
            &[
                "line 1: registry.h/io: invalid reference \"h/io\": registry (at position 1): '/' is not allowed in a host name",
                "line 2: registry.h/io.requests: must be 1 at least",
            ],
        ),
        ("jobs = \"a\"", &["line 1: jobs: must be a whole number that is not negative, and not too large"]),
        ("jobs = -1", &["line 1: jobs: must be a whole number that is not negative, and not too large"]),
        ("jobs = 0", &["line 1: jobs: must be 1 at least"]),
        ("jobs = 1\njobs = 2", &["line 2: duplicate key"]),
        ("[images", &["line 1: unclosed table, expected `]`"]),
        (
            "[images]\nreferences = [\n  \"a\",\n  \"B\",\n]",
            &[
                "line 2: images.references: invalid reference \"B\": repository (at position 0): 'B' is upper case, repository names are lower case",
            ],
        ),
        (
            "[images]\nrepositories = [\"h.io/A*\"]",
            &[
                "line 2: images.repositories: invalid reference \"h.io/Ax\": repository (at position 5): 'A' is upper case, repository names are lower case",
            ],
        ),
        ("[[base]]\nto = \"b\"", &["line 1: base[1]: from is missing"]),
        ("[[base]]\nfrom = \"a\"\nnewest = 5", &["line 3: base[1].newest: is not a string"]),
        (
            "[[base]]\nfrom = \"a\"\nnewest = \"a b\"",
            &[
                "line 3: base[1].newest: invalid reference \"a b\": tag (at position 1): ' ' is not allowed here",
            ],
        ),
        (
            "[[base]]\nfrom = \"a\"\nto = \"b\"\nsemver = \">1\"",
            &["line 4: base[1].semver: contradicts to, which names exactly one base"],
        ),
        (
            "[[base]]\nfrom = \"a:1\"\n[[base]]\nfrom = \"docker.io/a:1\"",
            &["line 4: base[2].from: index.docker.io/library/a:1 has a rule already"],
        ),
        (
            "[tags]\ncandidate = \"{x}\"",
            &["line 2: tags.candidate: invalid template \"{x}\": {x} is none of {tag}, {old}, {new}, {base}"],
        ),
        (
            "[tags]\ncandidate = \"{tag}-before-{new}\"",
            &["line 1: tags.backup: is the same as tags.candidate"],
        ),
        (
            "[gates]\naccept = \"good\"",
            &[
                "line 2: gates.accept: unknown variant `good`, expected one of `clean`, `shadowed`, `db-shadowed`, `broken`",
            ],
        ),
        (
            "[gates]\naccept = \"claen\"",
            &[
                "line 2: gates.accept: unknown variant `claen`, expected one of `clean`, `shadowed`, `db-shadowed`, `broken`, did you mean \"clean\"?",
            ],
        ),
        (
            "[gates]\nmax-growth = 5\nhook = []",
            &[
                "line 2: gates.max-growth: there is no such key, did you mean \"max-growth-percent\"?",
                "line 3: gates.hook: names no program: without a hook, leave it out",
            ],
        ),
        (
            "[[wave]]\nname = \"a\"\nlable = \"b\"\ngates = { hook = [] }",
            &[
                "line 3: wave[1].lable: there is no such key, did you mean \"label\"?",
                "line 4: wave[1].gates.hook: names no program: without a hook, leave it out",
            ],
        ),
        (
            "[gates]\nhook = [\"\"]\nhook-timeout = 0",
            &["line 2: gates.hook: names no program", "line 3: gates.hook-timeout: must be 1 at least"],
        ),
        (
            "[[wave]]\nname = \"rest\"\n[[wave]]\nname = \"a\"\npercent = 101\n[[wave]]\nname = \"a\"\ncount = 0",
            &[
                "line 2: wave[1].name: \"rest\" is the wave of the images that are in no other",
                "line 5: wave[2].percent: is not between 1 and 100",
                "line 7: wave[3].name: there is a wave \"a\" already",
                "line 8: wave[3].count: must be 1 at least",
            ],
        ),
        (
            "[[wave]]\nname = \"\"\nlabel = \"=x\"\nimages = [\"A\"]",
            &[
                "line 2: wave[1].name: is empty",
                "line 3: wave[1].label: has no key",
                "line 4: wave[1].images: invalid reference \"A\": repository (at position 0): 'A' is upper case, repository names are lower case",
            ],
        ),
        (
            "[rebase]\ncreated = \"today\"",
            &["line 2: rebase.created: \"today\" is not a time as RFC 3339 writes it"],
        ),
    ];
    let mut wrong = Vec::new();
    for (text, expected) in cases {
        let error = Settings::parse(text).expect_err(text);
        let found: Vec<String> = error.problems.iter().map(ToString::to_string).collect();
        if found != *expected {
            wrong.push((text, found));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Every setting, given: when a field is added, this does not compile.
fn all() -> Settings {
    let gates = Gates {
        accept: crate::verdict::Grade::Clean,
        accept_unassessed: false,
        max_growth_percent: Some(1),
        hook: vec!["test".to_owned()],
        hook_timeout: 1,
        signed_base: false,
    };
    let base: Reference = "h.io/base:1".parse().unwrap();
    Settings {
        images: Images {
            references: vec![base.clone()],
            files: Vec::new(),
            manifests: Vec::new(),
            repositories: Vec::new(),
            exclude: Vec::new(),
        },
        bases: vec![BaseRule {
            from: "h.io/base".parse().unwrap(),
            digest: Some(Digest::sha256(b"")),
            to: Some(base),
            newest: Newest { newest: Some(String::new()), semver: Some(String::new()) },
        }],
        tags: Tags { candidate: Template::candidate(), backup: Template::backup() },
        gates: gates.clone(),
        waves: vec![WaveRule {
            name: String::new(),
            label: Some(String::new()),
            images: vec![String::new()],
            count: Some(1),
            percent: Some(1),
            gates: Some(gates),
        }],
        rebase: Rules {
            check: Check::default(),
            config: ConfigPolicy::default(),
            on_conflict: OnConflict::default(),
            attestations: OldAttestations::default(),
            referrers: true,
            attest: false,
            created: Some(String::new()),
        },
        requests: Some(1),
        registries: [("h.io".to_owned(), RegistryRules { requests: Some(1) })].into(),
        jobs: Some(1),
    }
}

#[test]
fn the_table_of_keys_is_that_of_the_types() {
    fn collect(value: &serde_json::Value, table: &str, out: &mut Vec<(String, String)>) {
        let first = value.as_array().and_then(|all| all.first()).filter(|first| first.is_object());
        for (key, value) in first.unwrap_or(value).as_object().into_iter().flatten() {
            let key = if table == "registry" { "<name>" } else { key };
            out.push((table.to_owned(), key.to_owned()));
            collect(value, &if table.is_empty() { key.to_owned() } else { format!("{table}.{key}") }, out);
        }
    }
    let mut found = Vec::new();
    collect(&serde_json::to_value(all()).unwrap(), "", &mut found);
    let known = |table: &str, key: &str| keys::of(table).contains(&key);
    for (table, key) in &found {
        let is_known = known(table, key) || (table.as_str(), key.as_str()) == ("registry", "<name>");
        assert!(is_known, "{table}.{key} is not in the table");
    }
    for Key { table, key, .. } in KEYS {
        assert!(found.iter().any(|(t, k)| (t.as_str(), k.as_str()) == (table, key)), "{table}.{key} is none");
    }
}

#[test]
fn every_key_is_in_the_reference() {
    let page = include_str!("../../../../../docs/reference/fleet-toml.md");
    for row in KEYS.iter().map(Key::row) {
        assert!(page.contains(&row), "docs/reference/fleet-toml.md lacks\n{row}");
    }
}

#[test]
fn examples_are_values() {
    for Key { table, key, example, .. } in KEYS.iter().filter(|key| key.key != "digest") {
        let head = match *table {
            "" => String::new(),
            "base" if *key != "from" => "[[base]]\nfrom = \"a\"".to_owned(),
            "wave" if *key != "name" => "[[wave]]\nname = \"a\"".to_owned(),
            table @ ("base" | "wave") => format!("[[{table}]]"),
            table => format!("[{}]", table.replace("<name>", "\"h.io\"")),
        };
        let text = format!("{head}\n{key} = {example}\n");
        Settings::parse(&text).unwrap_or_else(|e| panic!("{text}: {e}"));
    }
}
