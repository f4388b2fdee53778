use proptest::prelude::*;

use super::*;

pub(super) const D1: &str = "sha256:1111111111111111111111111111111111111111111111111111111111111111";
pub(super) const D2: &str = "sha256:2222222222222222222222222222222222222222222222222222222222222222";

pub(super) fn swap(old: &str, new: &str) -> Swap {
    Swap::new(old.parse().unwrap(), new.parse().unwrap())
}

/// The text becomes `after`; of what is left alone, each reason contains the one given.
#[track_caller]
pub(super) fn check(kind: Kind, swap: &Swap, before: &str, after: &str, reasons: &[&str]) {
    let patch = patch(kind, before, swap);
    assert_eq!(patch.apply(before), after, "{patch:#?}");
    let left: Vec<&String> = patch.images.iter().filter_map(|i| reason(&i.outcome)).collect();
    assert_eq!(left.len(), reasons.len(), "{before}\n{patch:#?}");
    for (left, expected) in left.iter().zip(reasons) {
        assert!(left.contains(expected), "{before}\n{left}");
    }
}

fn reason(outcome: &Outcome) -> Option<&String> {
    match outcome {
        Outcome::Left { reason, .. } => Some(reason),
        Outcome::Changed { .. } => None,
    }
}

#[test]
fn files_are_known_by_name() {
    let dockerfile = [
        "Dockerfile",
        "dockerfile",
        "Dockerfile.dev",
        "app.Dockerfile",
        "a.dockerfile",
        "Containerfile",
        "Containerfile.x",
        "Containerfile-x",
    ];
    let yaml = ["compose.yaml", "docker-compose.yml", "values.YAML", "Dockerfile.yaml"];
    let neither =
        ["Dockerfile.dockerignore", ".dockerignore", "README.md", "compose.json", "Dockerfiles", "yaml"];
    for (names, kind) in
        [(&dockerfile[..], Some(Kind::Dockerfile)), (&yaml[..], Some(Kind::Yaml)), (&neither[..], None)]
    {
        for name in names {
            assert_eq!(Kind::of(&Path::new("a/b").join(name)), kind, "{name}");
        }
    }
}

#[test]
fn folders_are_walked_without_other_peoples_sources() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for path in [
        "Dockerfile",
        "b/x.yml",
        "b/notes.txt",
        "a/Containerfile",
        ".git/Dockerfile",
        ".github/a.yaml",
        "node_modules/Dockerfile",
        "a/target/Dockerfile",
        "vendor/a.yaml",
    ] {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "").unwrap();
    }
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(root.join("a"), root.join("link")).unwrap();
        std::os::unix::fs::symlink(root.join("Dockerfile"), root.join("Dockerfile.link")).unwrap();
    }
    let found: Vec<_> =
        walk(root).unwrap().into_iter().map(|f| f.path.strip_prefix(root).unwrap().to_owned()).collect();
    assert_eq!(found, ["Dockerfile", "a/Containerfile", "b/x.yml"].map(std::path::PathBuf::from));
    let named = walk(&root.join("b/notes.txt")).unwrap();
    assert_eq!(named[0].kind, Kind::Dockerfile, "a file that is named is read");
    let (path, error) = walk(&root.join("gone")).unwrap_err();
    assert_eq!((path, error.kind()), (root.join("gone"), std::io::ErrorKind::NotFound));
}

#[test]
fn too_large_a_text_is_not_read() {
    let text = format!("FROM debian:12\n{}", "#".repeat(MAX_SIZE));
    assert!(patch(Kind::Dockerfile, &text, &swap("debian:12", "debian:13")).images.is_empty());
}

#[test]
fn a_large_text_takes_no_time() {
    let swap = swap("debian:12", "debian:13");
    let mut text = String::from("ARG V=12\n");
    for i in 0..20_000 {
        text += &format!("FROM debian:$V AS s{i}\nCOPY --from=debian:12 a b\n");
    }
    let started = std::time::Instant::now();
    assert_eq!(patch(Kind::Dockerfile, &text, &swap).edits().len(), 20_001);
    let text = "- image: debian:12\n".repeat(50_000);
    assert_eq!(patch(Kind::Yaml, &text, &swap).edits().len(), 50_000);
    let open = "RUN a <<E\nE\n".repeat(50_000) + &"\"".repeat(100_000);
    patch(Kind::Dockerfile, &open, &swap);
    patch(Kind::Yaml, &"{{\n".repeat(100_000), &swap);
    patch(Kind::Yaml, &"a: \"\n".repeat(100_000), &swap);
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
}

/// Lines that make trouble together.
fn line() -> impl Strategy<Value = String> {
    let fixed = prop::sample::select(vec![
        "FROM debian:12",
        "FROM debian:12 AS a",
        "FROM a",
        "FROM $B",
        "FROM debian:${V}",
        "FROM debian:${V:-12}",
        "FROM --platform=x debian:12",
        "ARG V=12",
        "ARG V",
        "ARG B=debian:12",
        "ARG B=debian:$V",
        "FROM node:$V",
        "COPY --from=debian:12 a b",
        "RUN --mount=from=debian:12 x",
        "RUN <<EOF",
        "EOF",
        "RUN x \\",
        "# c",
        "",
        "# escape=`",
        "image: debian:12",
        "  image: 'debian:12'",
        "- image: \"debian:12\" # c",
        "    tag: 12",
        "    repository: debian",
        "  image:",
        "a: |",
        "b: >",
        "  build:",
        "    args:",
        "      - X=debian:12",
        "    dockerfile_inline: |",
        "      FROM debian:12",
        "x: {image: debian:12,",
        "y: 1}",
        "---",
        "{{ if x }}",
        "image: {{ x }}",
        "image: &a debian:12",
        "image: *a",
        "z: \"open",
        "w: &a debian:12",
        "\u{feff}é: ü",
        "  registry: docker.io",
        "  tag: '12'",
        "- - - x:",
        "FROM \"debian\":12",
        "FROM debian@$D",
        "ARG D=sha256:1111111111111111111111111111111111111111111111111111111111111111",
        "FROM debian:12@$D",
    ])
    .prop_map(str::to_owned);
    prop_oneof![9 => fixed, 1 => ".{0,20}", 1 => "[${}:\\-'\"\\\\ A-Ba1@/#|>&*!?,\\[\\]]{0,16}"]
}

fn text() -> impl Strategy<Value = String> {
    let end = prop::sample::select(vec!["\n", "\r\n"]);
    let lines = prop::collection::vec((line(), end), 0..14);
    (lines, any::<bool>()).prop_map(|(lines, last)| {
        let mut text: String = lines.iter().map(|(line, end)| format!("{line}{end}")).collect();
        if !last {
            text.truncate(text.trim_end_matches(['\r', '\n']).len());
        }
        text
    })
}

fn kind() -> impl Strategy<Value = Kind> {
    prop::sample::select(vec![Kind::Dockerfile, Kind::Yaml])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn bytes_outside_the_edits_stay(kind in kind(), text in text()) {
        let patch = patch(kind, &text, &swap("debian:12", "ubuntu:24.04"));
        let after = patch.apply(&text);
        let (mut old, mut new) = (0, 0);
        for edit in patch.edits() {
            prop_assert!(old <= edit.span.start, "edits do not overlap");
            let kept = edit.span.start - old;
            prop_assert_eq!(&text[old..edit.span.start], &after[new..new + kept]);
            prop_assert!(!text[edit.span.clone()].contains('\n') && !edit.text.contains('\n'));
            prop_assert_eq!(&after[new + kept..new + kept + edit.text.len()], edit.text.as_str());
            (old, new) = (edit.span.end, new + kept + edit.text.len());
        }
        prop_assert_eq!(&text[old..], &after[new..]);
        prop_assert_eq!(text.lines().count(), after.lines().count());
    }

    #[test]
    fn there_and_back_is_the_same(kind in kind(), text in text()) {
        // Nothing of the new base is there before; tags that need no quotes.
        let there = patch(kind, &text, &swap("debian:12", "debian:77"));
        let after = there.apply(&text);
        let back = patch(kind, &after, &swap("debian:77", "debian:12"));
        prop_assert_eq!(back.apply(&after), text);
        prop_assert_eq!(back.edits().len(), there.edits().len());
    }

    #[test]
    fn what_is_not_there_changes_nothing(kind in kind(), text in text()) {
        let patch = patch(kind, &text, &swap("example.com/none:1", "debian:13"));
        prop_assert_eq!(patch.edits(), vec![]);
        prop_assert_eq!(patch.apply(&text), text);
    }

    #[test]
    fn done_is_done(kind in kind(), text in text()) {
        let swap = swap("debian:12", "ubuntu:24.04");
        let after = patch(kind, &text, &swap).apply(&text);
        prop_assert_eq!(patch(kind, &after, &swap).edits(), vec![]);
    }
}

/// What `patch` and `git apply` make of a diff.
fn applied(tool: &[&str], name: &str, before: &str, diff: &str) -> Option<String> {
    use std::io::Write as _;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(name), before).unwrap();
    let mut command = std::process::Command::new(tool[0]);
    command.args(&tool[1..]).current_dir(folder.path()).stdin(std::process::Stdio::piped());
    command.stdout(std::process::Stdio::null()).env("GIT_CEILING_DIRECTORIES", "/");
    let mut child = command.spawn().ok()?;
    child.stdin.take().unwrap().write_all(diff.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{tool:?}\n{diff}");
    Some(std::fs::read_to_string(folder.path().join(name)).unwrap())
}

#[test]
fn diffs_apply() {
    let many: String = (0..40).map(|i| format!("line {i}\n")).collect();
    let cases = [
        ("Dockerfile", "FROM debian:12", "FROM debian:13"),
        ("Dockerfile", "FROM debian:12\n", "FROM debian:13\n"),
        ("a b.yaml", "a\r\nb\r\nc\r\nd\r\ne\r\nf\r\n", "a\r\nb\r\nc\r\nD\r\ne\r\nf\r\n"),
        ("x", "1\n2\n3\n4\n5\n6\n7", "1\n2\n3\n4\n5\n6\n8"),
        (
            "x",
            many.as_str(),
            &many
                .replace("line 3\n", "3\n")
                .replace("line 10\n", "10\n")
                .replace("line 11\n", "11\n")
                .replace("line 30\n", "x\n"),
        ),
        ("x", "a\n", "a\nb\n"),
        ("x", "", "a\n"),
        ("é\"q.yaml", "a\n", "b\n"),
    ];
    let mut ran = 0;
    for tool in [&["git", "apply", "--whitespace=nowarn"][..], &["patch", "-p1", "--binary", "-s"]] {
        for (name, before, after) in cases {
            let diff = diff::unified(name, before, after);
            if let Some(result) = applied(tool, name, before, &diff) {
                assert_eq!(result, after, "{tool:?} {name}\n{diff}");
                ran += 1;
            }
        }
    }
    println!("{ran} diffs applied");
    assert_eq!(diff::unified("x", "a\n", "a\n"), "");
    assert_eq!(
        diff::unified("x", "a\nb", "a\nc"),
        "--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n a\n-b\n\\ No newline at end of file\n+c\n\\ No newline at end of file\n"
    );
}
