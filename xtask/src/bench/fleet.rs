//! A fleet that is planned and applied, in a registry that takes its time.

use std::{fmt::Write as _, fs, path::Path, process::Command, time::Duration};

use super::{
    measure::{self, Cost},
    registry::Embedded,
    table::{megabytes, time},
};
use crate::{Result, target};

/// What it is called on the command line, and where its figures stand.
pub const NAME: &str = "fleet";

/// Before each answer, in milliseconds.
const DELAY: u32 = 50;
const IMAGES: u32 = 260;
const MANY: u32 = 10_000;
const PLATFORMS: u32 = 2;
/// What one rebase of one platform asks one after another, with the tool that most use today.
const REQUESTS_OF_OTHERS: u32 = 22;

const WITHOUT_VERDICTS: &str =
    "\n[rebase]\ncheck = \"none\"\nreferrers = false\n\n[gates]\naccept-unassessed = true\n";

/// One way to do it.
struct Way {
    name: &'static str,
    /// What is added to the settings.
    settings: &'static str,
}

const WAYS: [Way; 2] = [
    Way { name: "without verdicts", settings: WITHOUT_VERDICTS },
    Way { name: "verdicts, referrers", settings: "" },
];

/// Measures, and gives a table in Markdown.
pub fn measure() -> Result<String> {
    let below = target().join("bench");
    fs::create_dir_all(&below).map_err(|e| format!("cannot make {}: {e}", below.display()))?;
    let folder =
        tempfile::tempdir_in(&below).map_err(|e| format!("cannot write in {}: {e}", below.display()))?;
    let mut out = String::from(
        "| fleet | step | wall | CPU | peak memory | requests | for each image and platform | against a loop |\n\
         |---|---|--:|--:|--:|--:|--:|--:|\n",
    );
    for (n, way) in WAYS.iter().enumerate() {
        let mut stage = Stage::set(&folder.path().join(n.to_string()), IMAGES, DELAY, way.settings)?;
        let plan = stage.run(&["fleet", "plan", "-f", "fleet.toml", "-o", "plan.json"])?;
        // As on the day after: whoever plans each night knows the layers and documents of yesterday.
        let again = stage.run(&["fleet", "plan", "-f", "fleet.toml", "-o", "plan.json"])?;
        let apply = stage.run(&["fleet", "apply", "plan.json"])?;
        let name = format!("{IMAGES} images × {PLATFORMS} platforms, {DELAY} ms, {}", way.name);
        let (both, both_again) = (together(&plan, &apply), together(&again, &apply));
        let rows = [
            (name.as_str(), "plan, nothing known", plan),
            ("", "plan again, layers and documents known", again),
            ("", "apply", apply),
        ];
        rows.iter().for_each(|(name, step, cost)| row(&mut out, name, step, cost, IMAGES, false));
        row(&mut out, "", "plan, nothing known, and apply", &both, IMAGES, true);
        row(&mut out, "", "plan again, and apply", &both_again, IMAGES, true);
    }
    let aim = "*7 requests for each image and platform, 1/30 of a loop’s time, 64 MB*";
    let _ = writeln!(out, "| | *aim* | {aim} | | | | | |");
    let mut stage = Stage::set(&folder.path().join("many"), MANY, 0, "")?;
    let cold = stage.run(&["fleet", "plan", "-f", "fleet.toml", "-o", "plan.json"])?;
    let warm = stage.run(&["fleet", "plan", "-f", "fleet.toml", "-o", "again.json"])?;
    let name = format!("{MANY} images × {PLATFORMS} platforms, no delay, verdicts, referrers");
    row(&mut out, &name, "plan, nothing known", &cold, MANY, false);
    row(&mut out, "", "plan again, all layers and documents known", &warm, MANY, false);
    let _ = writeln!(out, "| | *aim* | *60 s, when known* | | | | | |");
    Ok(out)
}

fn together(plan: &Cost, apply: &Cost) -> Cost {
    Cost {
        wall: plan.wall + apply.wall,
        cpu: plan.cpu + apply.cpu,
        peak: plan.peak.max(apply.peak),
        requests: plan.requests + apply.requests,
        ..Cost::default()
    }
}

fn row(out: &mut String, name: &str, step: &str, cost: &Cost, images: u32, compared: bool) {
    let each = cost.requests as f64 / f64::from(images * PLATFORMS);
    let loops = Duration::from_millis(u64::from(DELAY)) * images * PLATFORMS * REQUESTS_OF_OTHERS;
    let against = match compared {
        true => format!("1/{:.0} of {}", loops.as_secs_f64() / cost.wall.as_secs_f64(), time(loops)),
        false => String::new(),
    };
    let (wall, cpu, peak) = (time(cost.wall), time(cost.cpu), megabytes(cost.peak));
    let requests = cost.requests;
    let _ = writeln!(
        out,
        "| {name} | {step} | {wall} | {cpu} | {peak} MB | {requests} | {each:.1} | {against} |"
    );
}

/// A registry with a fleet in it, and a folder to work in.
struct Stage {
    registry: Embedded,
    home: std::path::PathBuf,
}

impl Stage {
    /// The fleet is published without a delay.
    fn set(folder: &Path, images: u32, delay: u32, settings: &str) -> Result<Self> {
        let (home, content) = (folder.join("home"), folder.join("registry"));
        fs::create_dir_all(&home).map_err(|e| format!("cannot make {}: {e}", home.display()))?;
        let registry = Embedded::start(&content)?;
        let output = Command::new(palan())
            .args(["demo", "--publish-fleet", &registry.host, "--images", &images.to_string()])
            .output()
            .map_err(|e| format!("cannot run palan: {e}"))?;
        if !output.status.success() {
            return Err(format!("no fleet: {}", String::from_utf8_lossy(&output.stderr)));
        }
        let text = String::from_utf8_lossy(&output.stdout) + settings;
        fs::write(home.join("fleet.toml"), text.as_bytes())
            .map_err(|e| format!("cannot write fleet.toml: {e}"))?;
        let host = registry.host.clone();
        drop(registry);
        Ok(Self { registry: Embedded::start_at(&host, &content, delay)?, home })
    }

    /// Runs palan in the folder; counts what the registry was asked.
    fn run(&mut self, words: &[&str]) -> Result<Cost> {
        let file = |word: &&str| match word.contains('.') {
            true => self.home.join(word).display().to_string(),
            false => (*word).to_owned(),
        };
        let words: Vec<String> = words.iter().map(file).collect();
        let before = self.registry.counted()?;
        let mut cost = measure::run(&palan(), &words, &self.home, 1)?;
        let after = self.registry.counted()?;
        cost.requests = after.requests - before.requests;
        eprintln!("{}: {:.3} s, {} requests", words.join(" "), cost.wall.as_secs_f64(), cost.requests);
        Ok(cost)
    }
}

fn palan() -> std::path::PathBuf {
    target().join("release/palan")
}
