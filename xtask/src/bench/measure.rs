//! What one run of a program costs.
//!
//! The operating system only tells the peak memory of all finished children together, and a child starts with that of
//! its parent. So each run is started by a small process of its own: this program again, with [`CHILD`] as first word.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::Result;

/// The hidden task that runs a program and prints what it cost.
pub const CHILD: &str = "bench-child";

/// Costs of one run.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    pub wall: Duration,
    /// User and system.
    pub cpu: Duration,
    /// Bytes.
    pub peak: u64,
    pub requests: u64,
    /// Bytes of blobs, as the registries count them.
    pub uploaded: u64,
    pub downloaded: u64,
}

/// Runs a program `times` times, one after another, and returns what one run costs on average (the peak: at most).
pub fn run(program: &Path, words: &[String], home: &Path, times: u32) -> Result<Cost> {
    let me = std::env::current_exe().map_err(|e| format!("cannot find this program: {e}"))?;
    let output = Command::new(me)
        .arg(CHILD)
        .arg(times.to_string())
        .arg(program)
        .args(words)
        .env("HOME", home)
        .env("XDG_CACHE_HOME", home.join("cache"))
        .env("XDG_CONFIG_HOME", home.join("config"))
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("cannot run {}: {e}", program.display()))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{} {} failed:\n{stderr}", program.display(), words.join(" ")));
    }
    parse(&String::from_utf8_lossy(&output.stdout))
}

fn parse(line: &str) -> Result<Cost> {
    let numbers: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [wall, cpu, peak] = numbers[..] else { return Err(format!("not what a run costs: {line:?}")) };
    let (wall, cpu) = (Duration::from_nanos(wall), Duration::from_micros(cpu));
    Ok(Cost { wall, cpu, peak, ..Cost::default() })
}

/// The small process: `TIMES PROGRAM WORD…`.
#[cfg(unix)]
pub fn child(words: &[&str]) -> Result {
    use nix::sys::{
        resource::{UsageWho, getrusage},
        time::TimeValLike as _,
    };
    let [times, program, words @ ..] = words else { return Err("a program is missing".into()) };
    let times: u32 = times.parse().map_err(|_| format!("{times} is not a number"))?;
    let start = Instant::now();
    for _ in 0..times {
        // What it prints is data or progress: neither is read.
        let mut command = Command::new(program);
        command.args(words).stdout(Stdio::null());
        let status = command.status().map_err(|e| format!("cannot run {program}: {e}"))?;
        if !status.success() {
            return Err(format!("{program} ended with {status}"));
        }
    }
    let wall = start.elapsed() / times.max(1);
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).map_err(|e| format!("cannot ask what it cost: {e}"))?;
    let cpu = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    // macOS counts bytes, the others kilobytes.
    let unit = if cfg!(target_os = "macos") { 1 } else { 1024 };
    println!("{} {} {}", wall.as_nanos(), cpu / i64::from(times.max(1)), usage.max_rss() * unit);
    Ok(())
}

#[cfg(not(unix))]
pub fn child(_: &[&str]) -> Result {
    Err("not supported yet: measuring on this system".into())
}

/// Whether a program of this name is on the `PATH`.
pub fn is_installed(name: &str) -> bool {
    let Some(path) = std::env::var_os("PATH") else { return false };
    std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_are_three_numbers() {
        let cost = parse("1500 20 4096\n").unwrap();
        assert_eq!(
            (cost.wall, cost.cpu, cost.peak),
            (Duration::from_nanos(1500), Duration::from_micros(20), 4096)
        );
        assert!(parse("killed").is_err());
    }
}
