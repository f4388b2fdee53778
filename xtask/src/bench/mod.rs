//! `cargo xtask bench`: palan beside the tools that people use today, on real images, taking turns.

mod fleet;
mod images;
mod jobs;
mod measure;
mod registry;
mod table;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use self::{
    jobs::{Contender, JOBS, Job},
    measure::Cost,
    registry::{Docker, Embedded},
    table::Row,
};
use crate::{Result, cargo, root, target};

pub use measure::{CHILD, child};

const PAGE: &str = "docs/performance.md";

/// What was asked for on the command line.
struct Options {
    runs: usize,
    /// Only jobs whose names have this in them.
    only: Option<String>,
    layout: Option<PathBuf>,
    /// Another palan to run beside the one that was built.
    with: Option<PathBuf>,
    write: bool,
}

pub fn run(words: &[&str]) -> Result {
    let options = Options::parse(words)?;
    cargo(&["build", "--release", "--quiet", "-p", "palan-cli"])?;
    Embedded::build()?;
    if options.asks_for(fleet::NAME) {
        let text = format!("{}\n{}", about(None), fleet::measure()?);
        println!("{text}");
        if options.write {
            table::replace(&root().join(PAGE), fleet::NAME, &text)?;
        }
    }
    if !JOBS.iter().any(|job| options.asks_for(job.name)) {
        return Ok(());
    }
    let mut stage = Stage::set(&options)?;
    let mut rows = Vec::new();
    for job in JOBS.iter().filter(|job| options.asks_for(job.name)) {
        rows.push(stage.measure(job, &options)?);
    }
    let text = format!("{}\n{}", about(Some(options.runs)), table::render(&rows));
    println!("{text}");
    if options.write { table::replace(&root().join(PAGE), "bench", &text) } else { Ok(()) }
}

impl Options {
    fn parse(words: &[&str]) -> Result<Self> {
        let mut options = Self { runs: 5, only: None, layout: None, with: None, write: false };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            match *word {
                "--runs" => options.runs = value()?.parse().map_err(|_| "--runs needs a number")?,
                "--only" => options.only = Some((*value()?).to_owned()),
                "--layout" => options.layout = Some(value()?.into()),
                "--with" => options.with = Some(value()?.into()),
                "--write" => options.write = true,
                other => return Err(format!("unknown option {other}")),
            }
        }
        Ok(options)
    }

    fn asks_for(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|only| name.contains(only.as_str()))
    }
}

/// Registries and files, ready to be worked with.
struct Stage {
    palan: PathBuf,
    folder: tempfile::TempDir,
    /// With the images, and empty.
    registries: [Embedded; 2],
    docker: Option<Docker>,
    layout: PathBuf,
    runs: usize,
}

impl Stage {
    fn set(options: &Options) -> Result<Self> {
        let palan = target().join("release/palan");
        let below = target().join("bench");
        fs::create_dir_all(&below).map_err(|e| format!("cannot make {}: {e}", below.display()))?;
        let layout = match &options.layout {
            Some(layout) => layout.clone(),
            None => images::make(&palan, &below)?,
        };
        let folder =
            tempfile::tempdir_in(&below).map_err(|e| format!("cannot write in {}: {e}", below.display()))?;
        let path = folder.path();
        let registries = [Embedded::start(&path.join("a"))?, Embedded::start(&path.join("b"))?];
        let docker =
            measure::is_installed(Docker::PROGRAM).then(|| Docker::start(&path.join("d"))).transpose()?;
        let stage = Self { palan, folder, registries, docker, layout, runs: 0 };
        stage.fill()?;
        Ok(stage)
    }

    /// Puts the images where the jobs expect them.
    fn fill(&self) -> Result {
        let a = &self.registries[0].host;
        let layout = self.layout.display();
        for (tag, image) in [("jre-17", "base/jre:17"), ("jre-21", "base/jre:21"), ("svc-1.0", "app/svc:1.0")]
        {
            self.palan(&["copy", &format!("oci:{layout}:{tag}"), &format!("{a}/{image}")])?;
        }
        let (whole, archive) = (self.path("whole.tar"), self.path("archive"));
        self.palan(&["pull", &format!("{a}/app/svc:1.0"), &archive.display().to_string()])?;
        self.palan(&["export", &format!("{a}/app/svc:1.0"), &whole.display().to_string()])?;
        images::part(&whole, 70_000_000, &self.path("tar"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn palan(&self, words: &[&str]) -> Result {
        let status = Command::new(&self.palan)
            .args(words)
            .stdout(std::process::Stdio::null())
            .status()
            .map_err(|e| format!("cannot run {}: {e}", self.palan.display()))?;
        if status.success() { Ok(()) } else { Err(format!("palan {} failed", words.join(" "))) }
    }

    /// Runs all contenders of a job that are installed, taking turns, after one turn that does not count.
    fn measure(&mut self, job: &Job, options: &Options) -> Result<Row> {
        let mut contenders: Vec<(String, PathBuf, &Contender, Vec<Cost>)> = Vec::new();
        for contender in job.contenders {
            let is_ours = contender.program == "palan";
            let needs_docker = contender.words.contains("{d}") && self.docker.is_none();
            if needs_docker || !is_ours && !measure::is_installed(contender.program) {
                eprintln!("{}: {} is not installed", job.name, contender.name);
                continue;
            }
            let program = if is_ours { self.palan.clone() } else { contender.program.into() };
            contenders.push((contender.name.to_owned(), program, contender, Vec::new()));
            if let Some(with) = options.with.as_ref().filter(|_| is_ours) {
                let name = format!("{} ({})", contender.name, with.display());
                contenders.push((name, with.clone(), contender, Vec::new()));
            }
        }
        for turn in 0..=options.runs {
            for (name, program, contender, costs) in &mut contenders {
                let cost = self.once(program, contender, job.times)?;
                eprintln!("{}: {name}: {:.3} s", job.name, cost.wall.as_secs_f64());
                if turn > 0 {
                    costs.push(cost);
                }
            }
        }
        let contenders = contenders.into_iter().map(|(name, _, _, costs)| (name, costs)).collect();
        Ok(Row { name: job.name.into(), aim: job.aim.into(), contenders })
    }

    fn once(&mut self, program: &Path, contender: &Contender, times: u32) -> Result<Cost> {
        self.runs += 1;
        let out = self.path(&format!("out-{}", self.runs));
        let words = self.words(contender.words, &out);
        let before = self.counted()?;
        // What others remember of earlier runs (where blobs are) they do not know on a machine that copies once; palan
        // remembers only what it has learned of layers' content.
        let home =
            if contender.program == "palan" { "home".to_owned() } else { format!("home-{}", self.runs) };
        let mut cost = measure::run(program, &words, &self.path(&home), times)?;
        let after = self.counted()?;
        cost.requests = after.requests - before.requests;
        cost.uploaded = after.bytes_in - before.bytes_in;
        cost.downloaded = after.bytes_out - before.bytes_out;
        let _ = fs::remove_file(&out).or_else(|_| fs::remove_dir_all(&out));
        Ok(cost)
    }

    fn words(&self, template: &str, out: &Path) -> Vec<String> {
        let shown = |path: &Path| path.display().to_string();
        let places = [
            ("{a}", self.registries[0].host.clone()),
            ("{b}", self.registries[1].host.clone()),
            ("{d}", self.docker.as_ref().map(|docker| docker.host.clone()).unwrap_or_default()),
            ("{layout}", shown(&self.layout)),
            ("{archive}", shown(&self.path("archive"))),
            ("{tar}", shown(&self.path("tar"))),
            ("{out}", shown(out)),
            ("{n}", format!("n{}", self.runs)),
        ];
        let fill =
            |word: &str| places.iter().fold(word.to_owned(), |word, (name, value)| word.replace(name, value));
        template.split_whitespace().map(fill).collect()
    }

    /// What both registries counted.
    fn counted(&mut self) -> Result<registry::Counted> {
        let mut sum = registry::Counted::default();
        for registry in &mut self.registries {
            let one = registry.counted()?;
            sum.requests += one.requests;
            sum.bytes_in += one.bytes_in;
            sum.bytes_out += one.bytes_out;
        }
        Ok(sum)
    }
}

/// When, where and of what.
fn about(runs: Option<usize>) -> String {
    let line = |program: &str, words: &[&str]| {
        let output = Command::new(program).args(words).current_dir(root()).output().ok();
        output.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned()).unwrap_or_default()
    };
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown processor");
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    let runs = runs.map_or_else(String::new, |runs| {
        format!("; medians of {runs} runs that took turns, smallest and largest in brackets")
    });
    format!(
        "{}, commit {}, {} of {threads} threads, {}{runs}.\n",
        line("date", &["-u", "+%Y-%m-%d"]),
        line("git", &["rev-parse", "--short", "HEAD"]),
        model.trim_start_matches([' ', '\t', ':']),
        line("uname", &["-sm"]),
    )
}
