//! What is measured, and with which words each tool is asked to do it.
//!
//! Places in the words: `{a}` and `{b}` two embedded registries, `{a}` with the images; `{d}` docker-registry; `{layout}`
//! the layout of the images; `{archive}` the application as docker archive; `{tar}` an archive of about 70 MB; `{n}` what
//! no other run has; `{out}` a path that is not there yet.

/// One row of the table, for each contender.
pub struct Job {
    pub name: &'static str,
    /// What is aimed at, as a text for people.
    pub aim: &'static str,
    /// The first is ours, the one that the others are compared with.
    pub contenders: &'static [Contender],
    /// How often a run starts the program.
    pub times: u32,
}

/// A tool and its words.
pub struct Contender {
    /// What the table calls it.
    pub name: &'static str,
    /// The program: `palan` is the one that was just built.
    pub program: &'static str,
    pub words: &'static str,
}

const fn contender(name: &'static str, program: &'static str, words: &'static str) -> Contender {
    Contender { name, program, words }
}

const fn job(name: &'static str, aim: &'static str, contenders: &'static [Contender]) -> Job {
    Job { name, aim, contenders, times: 1 }
}

pub const JOBS: &[Job] = &[
    job(
        "flatten, push the result",
        "1/12 of crane's time at equal or smaller size; with zstd 1/20",
        &[
            contender("palan", "palan", "flatten {a}/app/svc:1.0 -t {a}/flat/{n}:1"),
            contender("palan, zstd", "palan", "flatten --compression zstd {a}/app/svc:1.0 -t {a}/flat/{n}:1"),
            contender(
                "palan, zstd level 2",
                "palan",
                "flatten --compression zstd --level 2 {a}/app/svc:1.0 -t {a}/flat/{n}:1",
            ),
            contender("crane", "crane", "flatten {a}/app/svc:1.0 -t {a}/flat/{n}:1"),
        ],
    ),
    job(
        "export to a file",
        "1/3 of crane's time",
        &[
            contender("palan", "palan", "export {a}/app/svc:1.0 {out}"),
            contender("crane", "crane", "export {a}/app/svc:1.0 {out}"),
        ],
    ),
    job(
        "validate, remote",
        "1/6 of crane's time",
        &[
            contender("palan", "palan", "validate --remote {a}/app/svc:1.0"),
            contender("crane", "crane", "validate --remote {a}/app/svc:1.0"),
        ],
    ),
    job(
        "validate, archive",
        "1/6 of crane's time",
        &[
            contender("palan", "palan", "validate --tarball {archive}"),
            contender("crane", "crane", "validate --tarball {archive}"),
        ],
    ),
    job(
        "append a tar of 70 MB",
        "1/3 of crane's time",
        &[
            contender("palan", "palan", "append -b {a}/app/svc:1.0 -f {tar} -t {a}/more/{n}:1"),
            contender("crane", "crane", "append -b {a}/app/svc:1.0 -f {tar} -t {a}/more/{n}:1"),
        ],
    ),
    job(
        "pull to a layout",
        "the fastest peer's time, digests verified",
        &[
            contender("palan", "palan", "pull --format oci {a}/app/svc:1.0 {out}"),
            contender("crane", "crane", "pull --format oci {a}/app/svc:1.0 {out}"),
            contender(
                "oras",
                "oras",
                "copy --no-tty --from-plain-http --to-oci-layout {a}/app/svc:1.0 {out}:1",
            ),
            contender(
                "skopeo",
                "skopeo",
                "copy -q --insecure-policy --src-tls-verify=false docker://{a}/app/svc:1.0 oci:{out}:1",
            ),
        ],
    ),
    job(
        "pull to an archive",
        "the fastest peer's time, digests verified",
        &[
            contender("palan", "palan", "pull {a}/app/svc:1.0 {out}"),
            contender("crane", "crane", "pull {a}/app/svc:1.0 {out}"),
            contender(
                "skopeo",
                "skopeo",
                "copy -q --insecure-policy --src-tls-verify=false docker://{a}/app/svc:1.0 docker-archive:{out}",
            ),
        ],
    ),
    job(
        "copy from registry to registry",
        "the fastest peer's time, digests verified",
        &[
            contender("palan", "palan", "copy {a}/app/svc:1.0 {b}/copy/{n}:1"),
            contender("crane", "crane", "copy {a}/app/svc:1.0 {b}/copy/{n}:1"),
            contender(
                "oras",
                "oras",
                "copy --no-tty --from-plain-http --to-plain-http {a}/app/svc:1.0 {b}/copy/{n}:1",
            ),
            contender(
                "skopeo",
                "skopeo",
                "copy -q --insecure-policy --src-tls-verify=false --dest-tls-verify=false docker://{a}/app/svc:1.0 docker://{b}/copy/{n}:1",
            ),
        ],
    ),
    job(
        "rebase",
        "",
        &[
            contender(
                "palan",
                "palan",
                "rebase {a}/app/svc:1.0 --old_base {a}/base/jre:17 --new_base {a}/base/jre:21 -t {a}/app/svc:{n} --accept broken",
            ),
            contender(
                "palan, without a verdict",
                "palan",
                "rebase {a}/app/svc:1.0 --check none --old_base {a}/base/jre:17 --new_base {a}/base/jre:21 -t {a}/app/svc:{n}",
            ),
            contender(
                "crane",
                "crane",
                "rebase {a}/app/svc:1.0 --old_base {a}/base/jre:17 --new_base {a}/base/jre:21 -t {a}/app/svc:{n}",
            ),
        ],
    ),
    job(
        "push to a registry",
        "",
        &[
            contender("the embedded registry", "palan", "copy oci:{layout}:svc-1.0 {b}/push/{n}:1"),
            contender("docker-registry", "palan", "copy oci:{layout}:svc-1.0 {d}/push/{n}:1"),
        ],
    ),
    Job {
        name: "start",
        aim: "3 ms",
        contenders: &[contender("palan", "palan", "version"), contender("crane", "crane", "version")],
        times: 40,
    },
];
