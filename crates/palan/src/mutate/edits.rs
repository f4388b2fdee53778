//! What to change, as plain data.

use palan_core::Platform;

/// Changes of a map of texts: a key gets a value, or is removed (`None`). Later ones count more.
pub type Pairs = Vec<(String, Option<String>)>;

/// Changes of images. What is not named stays as it is, to the byte.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edits {
    /// Annotations of the manifests. Docker's manifests know none by their specification; they get them all the same, as other tools
    /// write them too, which is noted.
    pub annotations: Pairs,
    /// Annotations of the index itself. Fails for what is no OCI index.
    pub index_annotations: Pairs,
    /// Annotations of the index's entries for the images that are changed. Fails for what is no OCI index.
    pub descriptor_annotations: Pairs,
    /// Labels of the config.
    pub labels: Pairs,
    /// The environment: variables keep their place, new ones come last. On Windows, names are compared without regard
    /// to case, and what is set is written in upper case.
    pub env: Pairs,
    /// Program and first arguments; empty: none. What the image had as [`Edits::cmd`] is removed unless
    /// [`Edits::keep_cmd`] is set: it was made for the old entrypoint, and Docker does so too.
    pub entrypoint: Option<Vec<String>>,
    /// Whether a new entrypoint leaves the command alone.
    pub keep_cmd: bool,
    /// Default arguments; empty: none.
    pub cmd: Option<Vec<String>>,
    /// The shell of commands in text form (Docker's extension); empty: none.
    pub shell: Option<Vec<String>>,
    /// Ports that are listened on: `8080`, `53/udp`. What is something else is set all the same, and noted.
    pub exposed_ports: Keys,
    /// Folders that are volumes.
    pub volumes: Keys,
    /// The user; empty: none.
    pub user: Option<String>,
    /// The working directory; empty: none.
    pub working_dir: Option<String>,
    /// The signal that ends the container; empty: none.
    pub stop_signal: Option<String>,
    /// The health check (Docker's extension).
    pub healthcheck: Option<Healthcheck>,
    /// When the image is said to be created.
    pub created: Option<Created>,
    /// Operating system, architecture, variant and version, of the config and of the index's entry; what is not given is
    /// removed. Features stay. Only for one image.
    pub platform: Option<Platform>,
}

/// Changes of a set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    /// All that is to be in it, before the rest is done.
    pub replace: Option<Vec<String>>,
    /// What is put into it.
    pub add: Vec<String>,
    /// What is taken out of it.
    pub remove: Vec<String>,
}

/// A change of the health check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Healthcheck {
    /// It is removed: that of a base image counts, as far as the tool that builds on this image knows one.
    Remove,
    /// Parts of it; what is not given stays.
    Change {
        /// The test as it is stored: `["CMD", …]`, `["CMD-SHELL", text]`, or `["NONE"]`, which turns it off.
        test: Option<Vec<String>>,
        /// Time between two tests, in nanoseconds.
        interval: Option<i64>,
        /// How long one may take, in nanoseconds.
        timeout: Option<i64>,
        /// How long failures do not count after the start, in nanoseconds.
        start_period: Option<i64>,
        /// Time between two tests during that, in nanoseconds.
        start_interval: Option<i64>,
        /// After how many failures the container counts as unhealthy.
        retries: Option<i64>,
    },
}

/// When an image is said to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Created {
    /// Then, RFC 3339.
    At(String),
    /// When the newest of its layers was made, as far as the history tells: a time that does not depend on when the
    /// image is changed. Fails where the history tells of none.
    Newest,
}

impl Edits {
    /// Whether anything of the config is to be changed.
    pub(super) fn touches_config(&self) -> bool {
        let Self { annotations, index_annotations, descriptor_annotations, keep_cmd: _, .. } = self;
        let rest = Self {
            annotations: annotations.clone(),
            index_annotations: index_annotations.clone(),
            descriptor_annotations: descriptor_annotations.clone(),
            keep_cmd: self.keep_cmd,
            ..Self::default()
        };
        *self != rest
    }
}

/// What is wrong with edits, whatever image they are for: what no container could be started with.
pub(super) fn fault(edits: &Edits) -> Option<String> {
    if let Some((key, _)) = edits.env.iter().find(|(key, _)| key.is_empty() || key.contains('=')) {
        return Some(format!("\"{key}\" is no name of an environment variable"));
    }
    if ports(edits).any(String::is_empty) {
        return Some("\"\" is no port: PORT[-PORT][/tcp|/udp|/sctp] is expected".to_owned());
    }
    let volumes = edits.volumes.add.iter().chain(edits.volumes.replace.iter().flatten());
    if let Some(volume) = volumes.into_iter().find(|volume| volume.is_empty()) {
        return Some(format!("\"{volume}\" is no path of a volume"));
    }
    None
}

/// What is done as it is asked for, and looks like a mistake.
pub(super) fn doubts(edits: &Edits) -> Vec<String> {
    let maps = [
        ("an annotation", &edits.annotations),
        ("an annotation of the index", &edits.index_annotations),
        ("an annotation of the descriptor", &edits.descriptor_annotations),
        ("a label", &edits.labels),
    ];
    let nameless = |pairs: &Pairs| pairs.iter().any(|(key, value)| key.is_empty() && value.is_some());
    let mut doubts: Vec<String> = maps
        .iter()
        .filter(|(_, pairs)| nameless(pairs))
        .map(|(what, _)| format!("{what} has no name"))
        .collect();
    let odd = ports(edits).filter(|port| !is_port(port));
    doubts.extend(odd.map(|port| {
        format!("\"{port}\" is no port (PORT[-PORT][/tcp|/udp|/sctp]), it is written as it was given")
    }));
    if edits.platform.as_ref().is_some_and(|platform| platform.architecture.is_empty()) {
        doubts.push("no architecture was given: the image says that it has none".to_owned());
    }
    doubts
}

/// The ports that are set.
fn ports(edits: &Edits) -> impl Iterator<Item = &String> {
    edits.exposed_ports.add.iter().chain(edits.exposed_ports.replace.iter().flatten())
}

/// image-spec `config.md`: `port/tcp`, `port/udp`, `port`; Docker knows ranges and sctp too.
fn is_port(text: &str) -> bool {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let number = |n: &str| n.parse::<u16>().is_ok() && n.bytes().all(|b| b.is_ascii_digit());
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    number(first) && number(last) && ["tcp", "udp", "sctp"].contains(&protocol)
}
