use crate::source::{
    Kind, Outcome, Patch, Swap, patch,
    tests::{D1, D2, check, swap},
};

/// Text, and the same text afterwards: what stands between `‹` and `›` in the first is replaced in the second.
#[track_caller]
fn changes(before: &str, after: &str) {
    check(Kind::Dockerfile, &swap("debian:12", "debian:13"), before, after, &[]);
}

#[track_caller]
fn stays(text: &str, reasons: &[&str]) {
    check(Kind::Dockerfile, &swap("debian:12", "debian:13"), text, text, reasons);
}

#[test]
fn from_in_every_spelling() {
    let cases = [
        ("FROM debian:12", "FROM debian:13"),
        ("FROM debian:12\n", "FROM debian:13\n"),
        ("FROM debian:12\r\nRUN x\r\n", "FROM debian:13\r\nRUN x\r\n"),
        ("\u{feff}FROM debian:12\n", "\u{feff}FROM debian:13\n"),
        ("  from\tdebian:12   as  Build  \n", "  from\tdebian:13   as  Build  \n"),
        (
            "FROM --platform=$BUILDPLATFORM debian:12 AS b\n",
            "FROM --platform=$BUILDPLATFORM debian:13 AS b\n",
        ),
        ("FROM docker.io/library/debian:12\n", "FROM docker.io/library/debian:13\n"),
        ("FROM docker.io/debian:12\n", "FROM docker.io/debian:13\n"),
        ("FROM library/debian:12\n", "FROM library/debian:13\n"),
        ("FROM index.docker.io/library/debian:12\n", "FROM index.docker.io/library/debian:13\n"),
        ("FROM \"debian:12\"\n", "FROM \"debian:13\"\n"),
        ("FROM 'debian:12' AS b\n", "FROM 'debian:13' AS b\n"),
        (
            "# a comment\n\nFROM debian:12\n# FROM debian:12\n",
            "# a comment\n\nFROM debian:13\n# FROM debian:12\n",
        ),
        ("FROM \\\n  debian:12 \\\n  AS b\n", "FROM \\\n  debian:13 \\\n  AS b\n"),
        ("FROM \\\r\n  debian:12\r\n", "FROM \\\r\n  debian:13\r\n"),
        ("FROM \\\n# FROM x\n\n  debian:12\n", "FROM \\\n# FROM x\n\n  debian:13\n"),
        ("FROM debian:\\\n12\n", "FROM debian:\\\n13\n"),
        ("# escape=`\nFROM `\n debian:12\n", "# escape=`\nFROM `\n debian:13\n"),
        (
            "# syntax=docker/dockerfile:1\n# escape=`\nFROM a\nCOPY a c:\\\nFROM debian:12\n",
            "# syntax=docker/dockerfile:1\n# escape=`\nFROM a\nCOPY a c:\\\nFROM debian:13\n",
        ),
    ];
    for (before, after) in cases {
        changes(before, after);
    }
}

#[test]
fn what_is_no_image_stays() {
    let cases = [
        "FROM debian:12-slim\n",
        "FROM debian\n",
        "FROM ubuntu:12\n",
        "FROM ghcr.io/library/debian:12\n",
        "FROM scratch\n",
        "RUN echo FROM debian:12\n",
        "FROM a\nRUN x \\\n FROM debian:12\n",
        // Too late for a directive.
        "# hello\n# escape=`\nFROM a\nRUN x \\\nFROM debian:12\n",
        "FROM a\nONBUILD FROM debian:12\n",
        "FROM a\nCOPY debian:12 /x\n",
        "FROM a\nLABEL base=debian:12\n",
        "",
        "\n",
    ];
    for text in cases {
        stays(text, &[]);
    }
    let latest = swap("debian", "alpine:3");
    check(
        Kind::Dockerfile,
        &latest,
        "FROM debian AS debian\nFROM debian\n",
        "FROM alpine:3 AS debian\nFROM debian\n",
        &[],
    );
    check(
        Kind::Dockerfile,
        &latest,
        "FROM x AS Debian\nFROM DEBIAN\n",
        "FROM x AS Debian\nFROM DEBIAN\n",
        &[],
    );
    check(Kind::Dockerfile, &latest, "FROM debian:latest\n", "FROM alpine:3\n", &[]);
}

#[test]
fn here_documents_are_content() {
    let cases = [
        ("FROM a\nRUN <<EOF\nFROM debian:12\nEOF\nFROM debian:12\n", true),
        ("FROM a\nRUN <<-\"EOF\" bash\nFROM debian:12\n\tEOF\nFROM debian:12\n", true),
        ("FROM a\nRUN cat <<A <<B\nFROM debian:12\nA\nFROM debian:12\nB\nFROM debian:12\n", true),
        ("FROM a\nCOPY <<'EOF' 3<<F /x/\nA\nEOF\nFROM debian:12\nF\nFROM debian:12\n", true),
        ("FROM a\nONBUILD RUN <<EOF\nFROM debian:12\nEOF\nFROM debian:12\n", true),
        ("FROM a\r\nRUN <<EOF\r\nFROM debian:12\r\nEOF\r\nFROM debian:12\r\n", true),
        // A terminator is the whole line.
        ("FROM a\nRUN <<EOF\n EOF\nFROM debian:12\nEOF\n", false),
        ("FROM a\nRUN <<EOF \\\n && x\nFROM debian:12\nEOF\n", false),
        // These open none.
        ("FROM a\nRUN echo \"<<EOF\"\nFROM debian:12\n", true),
        ("FROM a\nRUN cat <<< EOF\nFROM debian:12\n", true),
        ("FROM a\nRUN [\"<<EOF\"]\nFROM debian:12\n", true),
        ("FROM a\nRUN x=$((1<<EOF))\nFROM debian:12\n", true),
        ("FROM a\nCMD <<EOF\nFROM debian:12\n", true),
    ];
    for (text, last) in cases {
        let after = match last {
            true => {
                let at = text.rfind("debian:12").unwrap();
                format!("{}debian:13{}", &text[..at], &text[at + 9..])
            }
            false => text.to_owned(),
        };
        changes(text, &after);
    }
    stays("FROM a\nRUN <<EOF\nFROM debian:12\n", &["has no end"]);
}

#[test]
fn arguments_change_where_they_are_written() {
    let cases = [
        ("ARG B=debian:12\nFROM $B\n", "ARG B=debian:13\nFROM $B\n"),
        ("ARG B=\"debian:12\" # x\nFROM ${B} AS x\n", "ARG B=\"debian:13\" # x\nFROM ${B} AS x\n"),
        ("ARG V=12\nFROM debian:$V\n", "ARG V=13\nFROM debian:$V\n"),
        ("ARG I=debian T='12'\nFROM $I:$T\n", "ARG I=debian T='13'\nFROM $I:$T\n"),
        ("FROM debian:${V:-12}\n", "FROM debian:${V:-13}\n"),
        ("ARG V\nFROM debian:${V:-12}\n", "ARG V\nFROM debian:${V:-13}\n"),
        ("ARG V=12\nFROM debian:${V:-11}\n", "ARG V=13\nFROM debian:${V:-11}\n"),
        ("ARG V=\nFROM debian:${V:-12}\n", "ARG V=\nFROM debian:${V:-13}\n"),
        ("ARG V=1\nFROM debian${V:+:12}\n", "ARG V=1\nFROM debian${V:+:13}\n"),
        ("FROM ${B:-debian:${V:-12}}\n", "FROM ${B:-debian:${V:-13}}\n"),
        (
            "ARG V=12\nARG B=debian:${V}\nFROM $B\nFROM $B\n",
            "ARG V=13\nARG B=debian:${V}\nFROM $B\nFROM $B\n",
        ),
        ("ARG V=11\nARG V=12\nFROM debian:$V\n", "ARG V=11\nARG V=13\nFROM debian:$V\n"),
        ("ARG R=docker.io/library\nFROM $R/debian:12\n", "ARG R=docker.io/library\nFROM $R/debian:13\n"),
        ("ARG V=12\nFROM debian:$V\nFROM debian:12\n", "ARG V=13\nFROM debian:$V\nFROM debian:13\n"),
    ];
    for (before, after) in cases {
        changes(before, after);
    }
}

#[test]
fn arguments_that_cannot_say_it_stay() {
    let cases: [(&str, &[&str]); 12] = [
        ("ARG V=12\nFROM debian:$V\nFROM node:$V\n", &["also used by line 3"]),
        ("ARG V=12\nFROM node:$V-$X\nFROM debian:$V\n", &["also used by line 2"]),
        ("ARG V=12\nFROM debian:$V\nFROM debian:$V-slim\n", &["also used by line 3"]),
        ("ARG A=1 B=2\nFROM debian:$A$B\nFROM x:$B\n", &["also used by line 3"]),
        ("ARG B\nFROM $B\n", &["ARG B has no default"]),
        ("FROM $B\n", &["B has no value in the file"]),
        ("FROM debian:$V\n", &["V has no value in the file"]),
        ("FROM node:$V\n", &[]),
        ("ARG V=12\nFROM debian:${V%x}\n", &["not evaluated"]),
        ("FROM a\nARG B=debian:12\nFROM $B\n", &["B has no value in the file"]),
        ("ARG A=$A$A\nFROM $A\n", &["A has no value in the file"]),
        ("FROM debian:12 # old\n", &["words that are not understood"]),
    ];
    for (text, reasons) in cases {
        stays(text, reasons);
    }
    let double = swap("a/a:1", "a/b:1");
    check(Kind::Dockerfile, &double, "ARG A=a\nFROM $A/$A:1\n", "ARG A=a\nFROM $A/$A:1\n", &["used twice"]);
    let parts = swap("debian:12", "debian:24");
    let text = "ARG A=1 B=2\nFROM debian:$A$B\n";
    check(Kind::Dockerfile, &parts, text, text, &["several places"]);
    let text = "ARG V=12\nFROM debian:$V\nARG V\nRUN echo $V\n";
    let patched = patch(Kind::Dockerfile, text, &swap("debian:12", "debian:13"));
    let [image] = patched.images.as_slice() else { panic!("{patched:?}") };
    let Outcome::Changed { note: Some(note), .. } = &image.outcome else { panic!("{image:?}") };
    assert!(note.contains("ARG V") && note.contains("line 3"), "{note}");
}

#[test]
fn values_that_multiply_end() {
    let mut text = String::from("ARG A0=aaaaaaaaaa\n");
    for i in 1..40 {
        text += &format!("ARG A{i}=$A{}$A{}\n", i - 1, i - 1);
    }
    text += "FROM $A39\n";
    stays(&text, &["too long"]);
    stays(&format!("FROM {}12{}\n", "${A:-".repeat(500), "}".repeat(500)), &["not evaluated"]);
}

#[test]
fn copies_and_mounts() {
    let cases = [
        ("FROM a\nCOPY --from=debian:12 /a /b\n", "FROM a\nCOPY --from=debian:13 /a /b\n"),
        (
            "FROM a\nCOPY --chown=1 --from=\"debian:12\" --link /a /b\n",
            "FROM a\nCOPY --chown=1 --from=\"debian:13\" --link /a /b\n",
        ),
        (
            "FROM a\nRUN --network=none --mount=type=bind,from=debian:12,source=/x,target=/y cmd\n",
            "FROM a\nRUN --network=none --mount=type=bind,from=debian:13,source=/x,target=/y cmd\n",
        ),
        ("FROM a\nONBUILD COPY --from=debian:12 /a /b\n", "FROM a\nONBUILD COPY --from=debian:13 /a /b\n"),
    ];
    for (before, after) in cases {
        changes(before, after);
    }
    stays("FROM a\nRUN cmd --mount=from=debian:12\nADD --from=debian:12 a b\n", &[]);
    stays("FROM a\nCOPY --from=$B /a /b\n", &["not replaced here"]);
    let latest = swap("debian", "alpine");
    let text = "FROM a AS x\nCOPY --from=debian /a /b\nCOPY --from=0 /a /b\nFROM b AS debian\n";
    check(Kind::Dockerfile, &latest, text, text, &[]);
}

#[test]
fn pins() {
    let pinned = format!("FROM debian:12@{D1}\n");
    stays(&pinned, &["the new base has none"]);
    stays(&format!("FROM debian@{D1}\n"), &["says no tag"]);
    stays(&format!("FROM debian:11@{D1}\n"), &[]);
    let check = |swap: &Swap, before: &str, after: &str, reasons: &[&str]| {
        check(Kind::Dockerfile, swap, before, after, reasons);
    };
    let unpin = swap("debian:12", "debian:13").unpin(true);
    check(&unpin, &pinned, "FROM debian:13\n", &[]);
    let unpin = swap(&format!("debian@{D1}"), "debian:13").unpin(true);
    check(&unpin, &format!("FROM debian@{D1} AS x\n"), "FROM debian:13 AS x\n", &[]);
    let pin = swap("debian:12", &format!("debian:13@{D2}"));
    let new = format!("FROM debian:13@{D2}\n");
    check(&pin, &pinned, &new, &[]);
    check(&pin, "FROM debian:12\n", &new, &[]);
    let exact = swap(&format!("debian:12@{D1}"), &format!("debian:13@{D2}"));
    check(&exact, &pinned, &new, &[]);
    check(&exact, "FROM debian:12\n", &new, &[]);
    check(&exact, &format!("FROM debian@{D1}\n"), &format!("FROM debian@{D2}\n"), &[]);
    check(&exact, &format!("FROM debian:12.1@{D1}\n"), &new, &[]);
    let other = format!("FROM debian:12@{D2}\n");
    check(&exact, &other, &other, &["another digest"]);
    let text = format!("ARG V=12\nARG D={D1}\nFROM debian:${{V}}@$D\n");
    let after = format!("ARG V=13\nARG D={D2}\nFROM debian:${{V}}@$D\n");
    check(&pin, &text, &after, &[]);
    check(&pin, "ARG B=debian:12\nFROM ${B}\n", &format!("ARG B=debian:13@{D2}\nFROM ${{B}}\n"), &[]);
}

#[test]
fn other_repositories_in_the_writers_spelling() {
    let cases = [
        ("debian:12", "ubuntu:24.04", "debian:12", "ubuntu:24.04"),
        ("debian:12", "ubuntu:24.04", "docker.io/debian:12", "docker.io/ubuntu:24.04"),
        ("debian:12", "ubuntu:24.04", "docker.io/library/debian:12", "docker.io/library/ubuntu:24.04"),
        ("debian:12", "ubuntu:24.04", "library/debian:12", "library/ubuntu:24.04"),
        ("debian:12", "bitnami/x:1", "debian:12", "bitnami/x:1"),
        ("bitnami/x:1", "debian:12", "bitnami/x:1", "debian:12"),
        ("debian:12", "ghcr.io/a/b:1", "debian:12", "ghcr.io/a/b:1"),
        ("debian:12", "ghcr.io/a/b:1", "docker.io/library/debian:12", "ghcr.io/a/b:1"),
        ("ghcr.io/a/b:1", "debian:12", "ghcr.io/a/b:1", "docker.io/library/debian:12"),
        ("localhost:5000/a:1", "localhost:5000/b/c:2", "localhost:5000/a:1", "localhost:5000/b/c:2"),
        ("debian", "alpine", "debian", "alpine"),
        ("debian", "alpine:3", "debian", "alpine:3"),
    ];
    for (old, new, before, after) in cases {
        let line = |image: &str| format!("FROM {image} AS x\n");
        check(Kind::Dockerfile, &swap(old, new), &line(before), &line(after), &[]);
    }
    let swap = swap("debian:12", "ubuntu:24.04");
    let before = "ARG I=debian\nARG V=12\nFROM $I:$V\n";
    check(Kind::Dockerfile, &swap, before, "ARG I=ubuntu\nARG V=24.04\nFROM $I:$V\n", &[]);
    let text = "ARG I=debian V=12\nFROM $I:$V\nFROM $I:11\n";
    check(Kind::Dockerfile, &swap, text, text, &["also used by line 3"]);
}

#[test]
fn lines_and_edits_say_where() {
    let text = "ARG V=12\n\nFROM debian:$V \\\n AS x\n";
    let Patch { images } = patch(Kind::Dockerfile, text, &swap("debian:12", "debian:13"));
    let [image] = images.as_slice() else { panic!("{images:?}") };
    assert_eq!(
        (image.line, image.what, image.written.as_str(), image.was.as_str()),
        (3, "FROM", "debian:$V", "debian:12")
    );
    let [edit] = image.edits.as_slice() else { panic!("{image:?}") };
    assert_eq!((&text[edit.span.clone()], edit.text.as_str(), edit.span.start), ("12", "13", 6));
}
