//! Registries to measure against, each a process of its own.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread::sleep,
    time::Duration,
};

use crate::{Result, cargo, target};

/// The embedded registry, which counts.
pub struct Embedded {
    process: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// `127.0.0.1:PORT`.
    pub host: String,
}

/// What a registry counted since it was started.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counted {
    pub requests: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
}

impl Embedded {
    /// Builds what [`Embedded::start`] starts.
    pub fn build() -> Result {
        cargo(&["build", "--release", "--quiet", "-p", "palan-server", "--example", "serve"]).map(drop)
    }

    /// A registry that keeps everything below `folder`.
    pub fn start(folder: &Path) -> Result<Self> {
        Self::start_at("127.0.0.1:0", folder, 0)
    }

    /// The same, at an address, which waits so many milliseconds before each answer.
    pub fn start_at(address: &str, folder: &Path, delay: u32) -> Result<Self> {
        let program = target().join("release/examples/serve");
        let mut process = Command::new(&program)
            .arg(address)
            .arg(folder)
            .arg(delay.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("cannot start {}: {e}", program.display()))?;
        let (Some(questions), Some(answers)) = (process.stdin.take(), process.stdout.take()) else {
            return Err("the registry cannot be asked".into());
        };
        let mut started = Self { process, questions, answers: BufReader::new(answers), host: String::new() };
        let line = started.line()?;
        let host = line.trim().strip_prefix("listening on http://").map(|url| url.trim_end_matches('/'));
        started.host = host.ok_or_else(|| format!("the registry does not listen: {line}"))?.to_owned();
        Ok(started)
    }

    pub fn counted(&mut self) -> Result<Counted> {
        self.questions.write_all(b"\n").map_err(|e| format!("the registry is gone: {e}"))?;
        let line = self.line()?;
        let numbers: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let [requests, bytes_in, bytes_out] = numbers[..] else {
            return Err(format!("not what a registry counts: {line:?}"));
        };
        Ok(Counted { requests, bytes_in, bytes_out })
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.answers.read_line(&mut line).map_err(|e| format!("the registry is gone: {e}"))?;
        Ok(line)
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        stop(&mut self.process);
    }
}

/// Docker's registry, where it is installed.
pub struct Docker {
    process: Child,
    pub host: String,
}

impl Docker {
    pub const PROGRAM: &str = "docker-registry";

    pub fn start(folder: &Path) -> Result<Self> {
        let port = free_port()?;
        let host = format!("127.0.0.1:{port}");
        let config = folder.join("config.yml");
        let text = format!(
            "version: 0.1\nlog:\n  level: error\n  accesslog:\n    disabled: true\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {host}\n",
            folder.join("storage").display(),
        );
        std::fs::create_dir_all(folder)
            .and_then(|()| std::fs::write(&config, text))
            .map_err(|e| format!("cannot write {}: {e}", config.display()))?;
        let process = Command::new(Self::PROGRAM)
            .arg("serve")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| format!("cannot start {}: {e}", Self::PROGRAM))?;
        let started = Self { process, host };
        for _ in 0..100 {
            if std::net::TcpStream::connect(&started.host).is_ok() {
                return Ok(started);
            }
            sleep(Duration::from_millis(50));
        }
        Err(format!("{} does not listen", Self::PROGRAM))
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        stop(&mut self.process);
    }
}

fn stop(process: &mut Child) {
    let _ = process.kill();
    let _ = process.wait();
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|e| format!("there is no free port: {e}"))?;
    Ok(listener.local_addr().map_err(|e| format!("there is no free port: {e}"))?.port())
}
