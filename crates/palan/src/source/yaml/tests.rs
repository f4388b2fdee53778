use crate::source::{
    Kind,
    tests::{D1, D2, check, swap},
};

#[track_caller]
fn changes(before: &str, after: &str) {
    check(Kind::Yaml, &swap("debian:12", "debian:13"), before, after, &[]);
}

#[track_caller]
fn stays(text: &str, reasons: &[&str]) {
    check(Kind::Yaml, &swap("debian:12", "debian:13"), text, text, reasons);
}

/// Every `debian:12` changes.
#[track_caller]
fn all(text: &str) {
    changes(text, &text.replace("debian:12", "debian:13"));
}

#[test]
fn image_keys_wherever_they_are() {
    all("image: debian:12");
    all("image: debian:12\r\nother: x\r\n");
    all("image: 'debian:12' # why\n");
    all("\"image\": \"debian:12\"\n");
    all(
        "services:\n  a:\n    image:   docker.io/library/debian:12   # old\n  b:\n    image: \"debian:12\"\n",
    );
    all(
        "spec:\n  containers:\n  - name: a\n    image: debian:12\n  - image: debian:12\n    name: b\n  initContainers:\n    - image: debian:12\n",
    );
    all("- - image: debian:12\n  - - image: debian:12\n");
    all("---\nimage: debian:12\n---\n# x\nimage: debian:12\n...\n--- # y\nimage: debian:12\n");
    all("image: &base debian:12\nother: *base\n");
    all("image: !!str debian:12\n");
    all("image: &a !!str 'debian:12'\n");
    all("image:\n  debian:12\n");
    all("x: [{name: a, image: debian:12}, {image: \"debian:12\"}, {\"image\":\"debian:12\"}]\n");
    all("x: {\n  # image: old\n  image: debian:12, # c\n  y: [a,\n b]\n}\nimage: debian:12\n");
    all("{\n  \"a\": {\"image\": \"debian:12\"},\n  \"b\": [1, {\"image\": \"debian:12\"}]\n}\n");
    all("volumes:\n- image:\n    reference: debian:12\n");
    all("job:\n  image:\n    name: debian:12\n    entrypoint: ['']\n");
    all("description: some text\n  that goes on: no\nimage: debian:12\n");
    all("a: \"text\n  over lines\"\nimage: debian:12\n");
    all("x-base: &b debian:12\nservices:\n  a:\n    image: *b\n");
}

#[test]
fn what_is_no_image_stays() {
    for text in [
        "# image: debian:12\n",
        "name: debian:12\n",
        "images: debian:12\n",
        "image: debian:12-slim\n",
        "image: debian\n",
        "text: |\n  image: debian:12\nother: 1\n",
        "text: >-\n  image: debian:12\n\n  image: debian:12\n",
        "- |\n  image: debian:12\n",
        "a:\n  - |2\n    image: debian:12\n",
        "text: \"a\n  image: debian:12\"\n",
        "text: 'it''s\n  image: debian:12'\n",
        "text: a\n  b image: debian:12\n",
        "text: {a: \"image: debian:12\"}\n",
        "image: |\n  debian:12\n",
        "image: \"debian\\x3a12\"\n",
        "image: debian:12 x\n",
        "image:debian:12\n",
        "image:\n",
        "image: *nowhere\n",
        "? image\n: debian:12\n",
        "data:\n  a: |\n{{ x | indent 4 }}\n    image: debian:12\n{{- end }}\n",
        "{{/* image:\nimage: debian:12\n*/}}\n",
        "image: {",
        "image: \"",
        "image: [{{{[",
        "- - - - image",
        "",
    ] {
        let expected: &[&str] = &[];
        stays(text, expected);
    }
}

#[test]
fn templates_stay_and_the_rest_changes() {
    stays("image: {{ .Values.image }}\n", &["is a template"]);
    stays("image: \"{{ .Values.r }}:{{ .Values.t }}\"\n", &["is a template"]);
    stays("image: debian:{{ .Values.tag }}\n", &["is a template"]);
    stays("image: {{- if a\n}}\nx: 1\n", &["is a template"]);
    stays("image:\n  repository: debian\n  tag: {{ x }}\n", &["is a template"]);
    stays("x: {image: {{ y }}, z: 1}\n", &["is a template"]);
    let text = "{{- if .Values.a }}\nspec:\n  containers:\n  {{- range .Values.c }}\n  - image: {{ . }}\n  {{- end }}\n  - image: debian:12\n{{- end }}\n";
    let after = text.replace("debian:12", "debian:13");
    check(Kind::Yaml, &swap("debian:12", "debian:13"), text, &after, &["is a template"]);
    stays("image: ${IMAGE}\n", &["variables of the environment"]);
    stays("image: debian:${V:-12}\n", &["variables of the environment"]);
    stays("image: node:${V:-12}\n", &[]);
}

#[test]
fn helm_values_in_parts() {
    let swapped = |old: &str, new: &str, before: &str, after: &str, reasons: &[&str]| {
        check(Kind::Yaml, &swap(old, new), before, after, reasons);
    };
    changes(
        "image:\n  repository: debian\n  tag: \"12\" # c\n",
        "image:\n  repository: debian\n  tag: \"13\" # c\n",
    );
    changes("image:\n  tag: 12\n  repository: debian\n", "image:\n  tag: 13\n  repository: debian\n");
    changes(
        "image: {registry: docker.io, repository: library/debian, tag: '12'}\n",
        "image: {registry: docker.io, repository: library/debian, tag: '13'}\n",
    );
    changes(
        "sidecar:\n  repository: debian\n  tag: '12'\n  digest: \"\"\n",
        "sidecar:\n  repository: debian\n  tag: '13'\n  digest: \"\"\n",
    );
    changes(
        "image:\n  registry: \"\"\n  repository: debian:12\n",
        "image:\n  registry: \"\"\n  repository: debian:13\n",
    );
    let text = "image:\n  registry: docker.io\n  repository: debian\n  tag: 12\n";
    swapped(
        "debian:12",
        "ghcr.io/a/b:1.10",
        text,
        "image:\n  registry: ghcr.io\n  repository: a/b\n  tag: \"1.10\"\n",
        &[],
    );
    swapped("debian:12", "debian:v13", text, &text.replace("12", "v13"), &[]);
    swapped("debian:12", "debian:13-slim", text, &text.replace("12", "13-slim"), &[]);
    swapped("debian:12", "debian:1e3", text, &text.replace("12", "\"1e3\""), &[]);
    swapped("debian:12", "debian:null", text, &text.replace("12", "\"null\""), &[]);
    swapped("debian:12", "debian:013", text, &text.replace("12", "\"013\""), &[]);
    let text = "image:\n  repository: debian\n  tag: 12\n";
    swapped("debian:12", "ghcr.io/a/b:2", text, "image:\n  repository: ghcr.io/a/b\n  tag: 2\n", &[]);
    let text = format!("image:\n  repository: debian\n  tag: 12\n  digest: {D1}\n");
    stays(&text, &["the new base has none"]);
    let new = text.replace("12\n", "13\n").replace(D1, D2);
    swapped("debian:12", &format!("debian:13@{D2}"), &text, &new, &[]);
    let text = "image:\n  repository: debian\n  tag: 12\n";
    swapped("debian:12", &format!("debian:13@{D2}"), text, text, &["no digest"]);
    stays("image:\n  repository: debian\n  pullPolicy: Always\n", &["not written here"]);
    stays("image:\n  repository: debian\n  tag: \"\"\n", &["not written here"]);
    stays("image:\n  repository: debian\n  tag: 12\n  tag: 11\n", &[]);
    stays("git:\n  repository: debian\n  branch: main\n", &[]);
    stays("image:\n  repository: node\n", &[]);
    let latest = swap("debian", "alpine");
    let text = "image: debian\ntag: 12\n";
    check(Kind::Yaml, &latest, text, text, &["beside it"]);
}

#[test]
fn an_unpinned_map_keeps_its_key() {
    let swap = swap("debian:12", "debian:13").unpin(true);
    let before = format!("image:\n  repository: debian\n  tag: 12\n  digest: \"{D1}\"\n");
    let after = "image:\n  repository: debian\n  tag: 13\n  digest: \"\"\n";
    check(Kind::Yaml, &swap, &before, after, &[]);
}

#[test]
fn compose_builds() {
    all("services:\n  a:\n    build:\n      args:\n        BASE: debian:12\n        VERSION: 12\n");
    all(
        "services:\n  a:\n    build:\n      args:\n        - BASE=debian:12\n        - \"B=debian:12\"\n        - C\n",
    );
    all(
        "services:\n  a:\n    build:\n      dockerfile_inline: |\n        # debian\n        ARG B=debian:12\n\n        FROM $B AS x\n        COPY --from=debian:12 a b\n      target: x\n    image: debian:12\n",
    );
    all("build: {args: {BASE: debian:12}}\n");
    stays("args:\n  BASE: debian:12\n", &[]);
    stays("build:\n  dockerfile_inline: |\n    FROM x\n    RUN <<E\n    FROM debian:12\n    E\n", &[]);
    stays("build:\n  dockerfile_inline: \"FROM debian:12\"\n", &["not a literal block"]);
    let latest = swap("debian", "alpine");
    let text = "build:\n  args:\n    DISTRIBUTION: debian\n";
    check(Kind::Yaml, &latest, text, text, &[]);
}

#[test]
fn lines_in_inline_files_are_the_files() {
    let text = "a: 1\nbuild:\n  dockerfile_inline: |\n    # x\n    FROM debian:12\n";
    let patch = crate::source::patch(Kind::Yaml, text, &swap("debian:12", "debian:13"));
    assert_eq!(patch.images.iter().map(|i| i.line).collect::<Vec<_>>(), [5]);
}

#[test]
fn shared_values_agree_or_stay() {
    all("a:\n  image: &x debian:12\nb:\n  image: *x\n");
    all("x-common: &c\n  image: debian:12\nservices:\n  a:\n    <<: *c\n");
}

#[test]
fn deep_nesting_ends() {
    let deep: String = (0..5000).map(|i| format!("{}a:\n", " ".repeat(i % 300))).collect();
    stays(&deep, &[]);
    stays(&format!("a: {}", "[".repeat(100_000)), &[]);
    stays(&format!("a: {}", "{a: ".repeat(100_000)), &[]);
    stays(&"- ".repeat(100_000), &[]);
}
