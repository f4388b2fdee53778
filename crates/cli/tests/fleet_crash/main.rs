//! palan is killed at random moments of a fleet's operation, and started again until it ends.
//!
//! After each death, every tag of the registry stands for what the plan names, and the journal can be read; in the end
//! every image is right, and nothing is left to do.
//!
//! `PALAN_CRASHES` says how often (20), `PALAN_CRASH_SEED` which moments; both are told.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod fleet;

use std::{
    fmt::Display,
    io::Write as _,
    process::{Child, Command, ExitStatus, Stdio},
    str::FromStr,
    time::{Duration, Instant},
};

use fleet::{Fleet, Phase};
use palan_server::RequestKind;

/// What the moments came to.
#[derive(Default)]
struct Tally {
    kills: usize,
    /// By phase.
    by_phase: [usize; Phase::ALL.len()],
    runs: usize,
    rounds: usize,
}

#[test]
fn whoever_is_killed_goes_on_where_it_was() {
    let wanted: usize = variable("PALAN_CRASHES", 20);
    let seed: u64 = variable("PALAN_CRASH_SEED", 20_261_121);
    tell(format_args!("PALAN_CRASHES={wanted} PALAN_CRASH_SEED={seed}"));
    let (mut random, mut tally, begun) = (fastrand::Rng::with_seed(seed), Tally::default(), Instant::now());
    while tally.kills < wanted {
        let fleet = Fleet::new();
        tally.rounds += 1;
        for (number, phase) in Phase::ALL.into_iter().enumerate() {
            while !run(&fleet, phase, &mut random, &mut tally) {
                tally.kills += 1;
                tally.by_phase[number] += 1;
                fleet.check(phase);
            }
            fleet.check_done(phase);
        }
        fleet.stop();
    }
    let Tally { kills, by_phase, runs, rounds } = tally;
    let phases: Vec<String> = Phase::ALL.iter().zip(by_phase).map(|(p, n)| format!("{n} of {p}")).collect();
    tell(format_args!(
        "killed {kills} times ({}) in {runs} runs, {rounds} fleets, {:.1} s",
        phases.join(", "),
        begun.elapsed().as_secs_f64()
    ));
    assert!(by_phase.iter().all(|kills| *kills > 0), "not every phase was hit: {by_phase:?}");
}

/// Runs palan until it ends, or until it is killed: whether it ended.
fn run(fleet: &Fleet, phase: Phase, random: &mut fastrand::Rng, tally: &mut Tally) -> bool {
    tally.runs += 1;
    let (requests, extra) = (random.u64(..phase.latest()), Duration::from_micros(random.u64(..2_000)));
    let before = fleet.requests();
    let log = tempfile::tempfile().unwrap();
    let mut child = start(fleet, phase, &log);
    let ended = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break Some(status);
        }
        if fleet.requests() - before >= requests {
            std::thread::sleep(extra);
            child.kill().unwrap();
            break died(child.wait().unwrap());
        }
        std::thread::sleep(Duration::from_micros(100));
    };
    let Some(status) = ended else { return false };
    assert!(status.success(), "{phase}: {status}: {}", fleet::text(log));
    true
}

/// What it ended with, when that came before the signal.
fn died(status: ExitStatus) -> Option<ExitStatus> {
    status.code().map(|_| status)
}

fn start(fleet: &Fleet, phase: Phase, log: &std::fs::File) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_palan"));
    command.env_clear().env("HOME", fleet.folder()).current_dir(fleet.folder());
    command.args(["fleet", phase.verb(), phase.argument()]).stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(log.try_clone().unwrap()).spawn().unwrap()
}

impl Fleet {
    /// It ended: all images are right, and another run has nothing to do.
    fn check_done(&self, phase: Phase) {
        self.check(phase);
        self.check_all(phase);
        let before = self.stats();
        let log = tempfile::tempfile().unwrap();
        assert!(start(self, phase, &log).wait().unwrap().success(), "{phase} again: {}", fleet::text(log));
        assert_eq!(self.stats().since(&before).of(RequestKind::ManifestPut), 0, "{phase} again");
    }
}

fn variable<T: FromStr + Display>(name: &str, default: T) -> T {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text}")),
        Err(_) => default,
    }
}

/// Not by a macro, whose output nobody sees where the test passes.
fn tell(text: impl Display) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
