//! Who is in the fleet: three bases of others, two bases of the team's own on one of them, and services on all five.

use palan::{place::Places, verdict::Grade};
use palan_core::{Digest, Reference};
use serde_json::json;

use super::{
    made::{Files, Member, Published, Stack, all, base},
    shapes::{SHAPES, Shape},
};
use crate::exit::Result;

/// A base that somebody else makes and patches.
pub(super) struct Vendor {
    pub(super) name: &'static str,
    old: &'static str,
    new: &'static str,
    /// How `fleet.toml` says what takes its place.
    rule: &'static str,
    /// Files that are the same in both versions.
    files: &'static [(&'static str, &'static str)],
}

/// The new version of a base is named, is the newest tag, or is what the same tag stands for by now.
const VENDORS: [Vendor; 3] = [
    Vendor {
        name: "base/os",
        old: "1.0",
        new: "1.1",
        rule: "to = \"[HOST]/base/os:1.1\"\n",
        files: &[("usr/lib/libc.so", "libc 2.36 for {arch}\n")],
    },
    Vendor {
        name: "base/static",
        old: "2026.1",
        new: "2026.2",
        rule: "newest = \"2026.*\"\n",
        files: &[("etc/passwd", "root:x:0:0::/:\n")],
    },
    Vendor {
        name: "base/python",
        old: "3",
        new: "3",
        rule: "",
        files: &[("usr/bin/python3", "python 3 for {arch}\n"), ("usr/lib/libc.so", "musl for {arch}\n")],
    },
];

/// Bases of the team's own, and what they add; services come after them.
const TEAM: [(&str, &str); 2] =
    [("platform/jre:17", "usr/lib/jvm/release"), ("platform/node:22", "usr/bin/node")];

/// Services on the first base that bring the old base's list of packages: only a rebuild helps.
const INSTALLED: [usize; 3] = [5, 20, 35];
/// Services on the first base that bring a copy of the library with the hole.
const BUNDLED: [usize; 2] = [10, 30];
/// The service whose tag somebody moves meanwhile.
pub(super) const MOVED: &str = "team/svc-0007:1.0";
/// Services that are given back what they were.
pub(super) const BACK: [&str; 3] = ["team/svc-0011:1.0", "team/svc-0012:1.0", "team/svc-0013:1.0"];
/// How many images there must be, so that all of these are among them.
pub(super) const FEWEST: usize = 40;
/// Every such service goes first.
const CANARIES: usize = 19;

/// A fleet that was published.
pub(super) struct Fleet {
    pub(super) members: Vec<Member>,
    /// What their tags stood for.
    pub(super) digests: Vec<Digest>,
}

/// What `fleet.toml` says.
pub(super) fn settings(host: &str) -> String {
    let mut out = format!("[images]\nrepositories = [\"{host}/platform/*\", \"{host}/team/*\"]\n");
    for Vendor { name, old, rule, .. } in &VENDORS {
        out += &format!("\n[[base]]\nfrom = \"{host}/{name}:{old}\"\n{}", rule.replace("[HOST]", host));
    }
    out += "\n[gates]\naccept = \"clean\"\n";
    out += "\n[rebase]\n# Nobody signs these images.\nreferrers = false\n";
    out + "\n[[wave]]\nname = \"canary\"\nlabel = \"tier=canary\"\ngates = { hook = [\"smoke-test\"] }\n"
}

/// The base with the hole that most is told of.
pub(super) fn hole(host: &str) -> Result<Reference> {
    Ok(format!("{host}/{}:{}", VENDORS[0].name, VENDORS[0].old).parse()?)
}

/// Publishes the bases as they were, and so many images on them.
pub(super) async fn publish(places: &Places, host: &str, images: usize) -> Result<Fleet> {
    let mut bases = Vec::new();
    for vendor in &VENDORS {
        let name: Reference = format!("{host}/{}:{}", vendor.name, vendor.old).parse()?;
        let made = base(places, &name, &stack(vendor, false)).await?;
        bases.push((name, made.manifests, stack(vendor, false), stack(vendor, true)));
    }
    let mut fleet = Fleet { members: Vec::new(), digests: Vec::new() };
    for (name, file) in TEAM {
        let own = own(&[vec![file_of(file, "the team's, for {arch}\n")]], &format!("RUNTIME={name}"));
        let member = member(name.to_owned(), &SHAPES[0], &bases[0], own, true);
        let Published { root, manifests } = member.publish(places, host).await?;
        let [below, patched] = [&member.below, &member.patched].map(|stack| stack.with(&member.own));
        bases.push((format!("{host}/{name}").parse()?, manifests, below, patched));
        fleet.members.push(member);
        fleet.digests.push(root);
    }
    let services: Vec<Member> =
        (0..images - TEAM.len()).map(|n| service(n, &bases[n % bases.len()])).collect();
    fleet.digests.extend(all(places, host, &services).await?);
    fleet.members.extend(services);
    Ok(fleet)
}

/// Publishes the bases as they are now.
pub(super) async fn patch(places: &Places, host: &str) -> Result {
    for vendor in &VENDORS {
        let name = format!("{host}/{}:{}", vendor.name, vendor.new).parse()?;
        base(places, &name, &stack(vendor, true)).await?;
    }
    Ok(())
}

/// Somebody builds a service anew, in the middle of the run. Gives what its tag stands for then.
pub(super) async fn interfere(places: &Places, host: &str, fleet: &Fleet) -> Result<Option<Digest>> {
    let Some(found) = fleet.members.iter().find(|member| member.name == MOVED) else { return Ok(None) };
    let newer = Member {
        name: found.name.clone(),
        shape: found.shape,
        labels: found.labels.clone(),
        below: found.below.clone(),
        patched: found.patched.clone(),
        base: found.base.clone(),
        own: found.own.with(&own(&[vec![file_of("srv/app/news", "built meanwhile\n")]], "NEWS=1")),
        grade: found.grade,
    };
    Ok(Some(newer.publish(places, host).await?.root))
}

/// Name, manifests, and content: as it was, and patched.
type Base = (Reference, Vec<(&'static str, Digest)>, Stack, Stack);

fn member(name: String, shape: &'static Shape, base: &Base, own: Stack, is_canary: bool) -> Member {
    let (reference, manifests, below, patched) = base;
    let tier = if is_canary { "canary" } else { "rest" };
    Member {
        name,
        shape,
        labels: json!({"org.example.keep": "me", "tier": tier}),
        below: below.clone(),
        patched: patched.clone(),
        base: (reference.clone(), manifests.clone()),
        own,
        grade: Grade::Clean,
    }
}

fn service(n: usize, base: &Base) -> Member {
    let server = vec![file_of("srv/app/server", &format!("server {n} for {{arch}}\n"))];
    let config = vec![file_of("srv/app/config.toml", &format!("service = {n}\n"))];
    let mut layers = vec![server];
    if n.is_multiple_of(2) {
        layers.insert(0, config);
    }
    let mut grade = Grade::Clean;
    if INSTALLED.contains(&n) {
        let tool = "\nPackage: tool\nStatus: install ok installed\nArchitecture: {arch}\nVersion: 1.0\n";
        layers
            .insert(0, vec![file_of(PACKAGES, &(packages(false) + tool)), file_of("usr/bin/tool", "tool\n")]);
        grade = Grade::DbShadowed;
    } else if BUNDLED.contains(&n) {
        layers.insert(0, vec![file_of("srv/lib/libssl.so", &libssl("base/os", false))]);
        grade = Grade::Shadowed;
    }
    let name = format!("team/svc-{n:04}:1.0");
    let own = own(&layers, &format!("SERVICE={n}"));
    Member { grade, ..member(name, &SHAPES[n % SHAPES.len()], base, own, n % CANARIES == 1) }
}

fn own(layers: &[Files], variable: &str) -> Stack {
    Stack { layers: layers.to_vec(), env: vec![variable.to_owned()] }
}

const PACKAGES: &str = "var/lib/dpkg/status";

fn packages(is_patched: bool) -> String {
    let version = if is_patched { "3.0.2" } else { "3.0.1" };
    let package = |name: &str, version: &str| {
        format!("Package: {name}\nStatus: install ok installed\nArchitecture: {{arch}}\nVersion: {version}\n")
    };
    [package("libc", "2.36"), package("libssl", version)].join("\n")
}

fn libssl(base: &str, is_patched: bool) -> String {
    let what = if is_patched { "patched" } else { "with a hole" };
    format!("libssl of {base} for {{arch}}, {what}\n")
}

/// A base in one of its versions.
fn stack(vendor: &Vendor, is_patched: bool) -> Stack {
    let release = if is_patched { "patched" } else { "old" };
    let mut lower = vec![file_of("etc/os-release", &format!("ID=demo\nVARIANT_ID={release}\n"))];
    lower.extend(vendor.files.iter().map(|(path, content)| file_of(path, content)));
    let mut upper = vec![file_of("usr/lib/libssl.so", &libssl(vendor.name, is_patched))];
    if vendor.name == VENDORS[0].name {
        upper.push(file_of(PACKAGES, &packages(is_patched)));
    }
    let env = ["PATH=/usr/bin".to_owned(), format!("BASE={release}")];
    Stack { layers: vec![lower, upper], env: env.into() }
}

fn file_of(path: &str, content: &str) -> (String, String) {
    (path.to_owned(), content.to_owned())
}
