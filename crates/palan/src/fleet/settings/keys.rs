//! The keys of `fleet.toml`: one table for what is known, what the reference says, and what a new file explains.

/// The kind of the tables that are named after registries.
pub(super) const REGISTRY: &str = "registry.<name>";

/// A key of `fleet.toml`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// The table that it is in; `base` and `wave` are arrays of tables, `registry.<name>` is one for each registry.
    pub table: &'static str,
    /// Its name.
    pub key: &'static str,
    /// A value that it could have, as TOML writes it.
    pub example: &'static str,
    /// What it says.
    pub meaning: &'static str,
}

impl Key {
    /// As a row of the reference.
    pub fn row(&self) -> String {
        format!("| `{}` | {} | `{}` |", self.key, self.meaning, self.example.replace('|', "\\|"))
    }
}

const fn key(table: &'static str, key: &'static str, example: &'static str, meaning: &'static str) -> Key {
    Key { table, key, example, meaning }
}

/// All keys, those of tables apart. What is said of `gates` holds for `wave.gates` too.
pub const KEYS: &[Key] = &[
    key(
        "",
        "jobs",
        "4",
        "how many images are worked on at the same time, also when the plan is applied, promoted and given back; `--at-once` counts before it; default: 16",
    ),
    key(
        "",
        "requests",
        "16",
        "how many requests at once to each registry that has no number of its own; those that carry content are counted apart",
    ),
    key("images", "references", "[\"ghcr.io/org/api:1\"]", "images by name; the tag is what is moved"),
    key(
        "images",
        "files",
        "[\"images.txt\"]",
        "files with names separated by white space, `#` begins a comment; or what `kubectl get pods -A -o json` prints",
    ),
    key(
        "images",
        "manifests",
        "[\"deploy\"]",
        "Kubernetes manifests, kustomizations, Compose files and Helm values, or folders of them: `*.yaml` and `*.yml`",
    ),
    key(
        "images",
        "repositories",
        "[\"ghcr.io/org/*:1.*\"]",
        "repositories and patterns of tags: `*` for any characters, `?` for one; wildcards in the name ask for the registry's catalog",
    ),
    key("images", "exclude", "[\"ghcr.io/org/old\"]", "repositories and patterns of tags that are left out"),
    key(
        "base",
        "from",
        "\"debian:12*\"",
        "images whose base has such a name; the first rule that fits counts",
    ),
    key("base", "digest", "\"sha256:…\"", "of these only what stands on this manifest or index"),
    key(
        "base",
        "to",
        "\"debian:13\"",
        "what takes its place; without this, `newest` and `semver`: what the old base's tag stands for now",
    ),
    key("base", "newest", "\"13*\"", "what takes its place: the highest version among the tags that match"),
    key("base", "semver", "\">=17, <18\"", "what takes its place: the highest version in a range"),
    key(
        "tags",
        "candidate",
        "\"{tag}-palan-{new}\"",
        "where results are pushed to be tested: `{tag}` is the image's, `{old}` and `{new}` are digits of digests, `{base}` is the new base's tag",
    ),
    key("tags", "backup", "\"{tag}-before-{new}\"", "what keeps the old image when the tag is moved"),
    key(
        "gates",
        "accept",
        "\"clean\"",
        "the worst verdict that is accepted: `clean`, `shadowed`, `db-shadowed`, `broken`",
    ),
    key("gates", "accept-unassessed", "false", "whether results that were not assessed are accepted"),
    key(
        "gates",
        "max-growth-percent",
        "20",
        "by how many percent the layers may grow, compressed, all platforms together",
    ),
    key(
        "gates",
        "hook",
        "[\"./smoke-test\"]",
        "a program and its arguments, run for each candidate; the exit code decides",
    ),
    key(
        "gates",
        "hook-timeout",
        "600",
        "after how many seconds it is ended, with all that it has started (not on Windows), and has failed",
    ),
    key("gates", "signed-base", "false", "whether the new base must be signed"),
    key("wave", "name", "\"canary\"", "its name; the images that are in no wave are in `rest`"),
    key("wave", "label", "\"tier=canary\"", "images with this label, `key` or `key=value`, in their config"),
    key("wave", "images", "[\"ghcr.io/org/canary-*\"]", "images with such names"),
    key("wave", "count", "3", "at most so many"),
    key("wave", "percent", "5", "at most so many percent of the images to rebase, rounded up"),
    key(
        "wave",
        "gates",
        "{ accept = \"shadowed\" }",
        "what results of this wave must pass, instead of what all must",
    ),
    key("rebase", "check", "\"content\"", "how closely results are looked at, as `rebase --check`"),
    key("rebase", "config", "\"merge\"", "what becomes of configs, as `rebase --config`"),
    key(
        "rebase",
        "on-conflict",
        "\"app\"",
        "whose value is taken where image and new base both changed one, as `rebase --on-conflict`",
    ),
    key(
        "rebase",
        "attestations",
        "\"drop\"",
        "what becomes of attestations about the old image, as `rebase --attestations`",
    ),
    key(
        "rebase",
        "referrers",
        "true",
        "whether to look for signatures and the like that stay with the old images; costs one to two requests for each manifest",
    ),
    key("rebase", "attest", "false", "whether a statement about the rebase is attached to each result"),
    key(
        "rebase",
        "created",
        "\"2026-01-01T00:00:00Z\"",
        "when results are said to be created; without it, when the images were",
    ),
    key(REGISTRY, "requests", "8", "how many requests at once; those that carry content are counted apart"),
];

/// The names of a table's keys and of the tables in it; none: there is no such table.
pub(super) fn of(table: &str) -> Vec<&'static str> {
    const TABLES: &[&str] = &["images", "base", "tags", "gates", "wave", "rebase", "registry"];
    let own = if table == "wave.gates" { "gates" } else { table };
    let keys = KEYS.iter().filter(|key| key.table == own).map(|key| key.key);
    let tables = if table.is_empty() { TABLES } else { &[] };
    keys.chain(tables.iter().copied()).collect()
}
