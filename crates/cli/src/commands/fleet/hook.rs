//! Hooks: programs that look at candidates.

use std::{process::Stdio, time::Duration};

use async_trait::async_trait;
use palan::fleet::{Candidate, Hook, HookOutput};
use tokio::{io::AsyncReadExt as _, process::Command};

/// How much of what a hook says is kept: its end.
const KEPT: usize = 4 * 1024;

/// Runs hooks as programs of this machine.
pub(super) struct Exec;

#[async_trait]
impl Hook for Exec {
    async fn run(&self, command: &[String], timeout: Duration, candidate: &Candidate<'_>) -> HookOutput {
        let refused = |output: String| HookOutput { passed: false, output };
        let Some((program, arguments)) = command.split_first() else {
            return refused("there is no program to run".into());
        };
        let child = Command::new(program)
            .args(arguments)
            .env("PALAN_IMAGE", candidate.image.to_string())
            .env("PALAN_DIGEST", candidate.digest.to_string())
            .env("PALAN_CANDIDATE", candidate.candidate.to_string())
            .env("PALAN_WAVE", candidate.wave)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn();
        let mut child = match child {
            Ok(child) => child,
            Err(error) => return refused(format!("{program} cannot be run: {error}")),
        };
        let (mut out, mut err) = (child.stdout.take(), child.stderr.take());
        let ended = async {
            let said = async {
                // Both at once: a program that fills one pipe while the other is read would wait for ever.
                let (out, err) = tokio::join!(tail(out.as_mut()), tail(err.as_mut()));
                join(&out, &err)
            };
            tokio::join!(child.wait(), said)
        };
        match tokio::time::timeout(timeout, ended).await {
            Ok((Ok(status), output)) if status.success() => HookOutput { passed: true, output },
            Ok((Ok(status), output)) => refused(join(output.as_bytes(), status.to_string().as_bytes())),
            Ok((Err(error), output)) => refused(join(output.as_bytes(), error.to_string().as_bytes())),
            Err(_) => refused(format!("it did not end within {} s", timeout.as_secs())),
        }
    }
}

/// The end of what comes through a pipe.
async fn tail(pipe: Option<&mut (impl tokio::io::AsyncRead + Unpin)>) -> Vec<u8> {
    let (mut kept, mut piece) = (Vec::new(), [0; 4096]);
    let Some(pipe) = pipe else { return kept };
    while let Ok(n @ 1..) = pipe.read(&mut piece).await {
        kept.extend_from_slice(&piece[..n]);
        kept.drain(..kept.len().saturating_sub(KEPT));
    }
    kept
}

fn join(first: &[u8], second: &[u8]) -> String {
    let texts = [first, second].map(|bytes| String::from_utf8_lossy(bytes).trim().to_owned());
    texts.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("\n")
}
