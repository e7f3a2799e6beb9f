//! A process that is started, stopped, and found out about.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// It is killed when this is dropped.
pub(super) struct Process {
    child: Child,
    paused: bool,
}

impl Process {
    /// Starts it with everything that it writes at the end of a file.
    pub(super) fn start(mut command: Command, log: &Path) -> Result<Process, String> {
        let shown = format!("{command:?}");
        let open = || File::options().create(true).append(true).open(log);
        let mut file = open().map_err(|error| format!("cannot write {}: {error}", log.display()))?;
        let wrote = writeln!(file, "---- started: {shown}").and_then(|()| Ok((file.try_clone()?, file)));
        let (out, error) = wrote.map_err(|error| format!("cannot write {}: {error}", log.display()))?;
        command.stdin(Stdio::null()).stdout(out).stderr(error).env("RUST_BACKTRACE", "1");
        // Ctrl-C is for the one who started this: the processes are ended from here.
        command.process_group(0);
        let mut live = live();
        let child = command.spawn().map_err(|error| format!("cannot start {shown}: {error}"))?;
        live.insert(child.id());
        Ok(Process { child, paused: false })
    }

    /// SIGKILL, and waits for its end.
    pub(super) fn kill(mut self) -> io::Result<ExitStatus> {
        live().remove(&self.child.id());
        self.child.kill()?;
        self.child.wait()
    }

    /// SIGTERM.
    pub(super) fn end(&self) {
        self.signal(Signal::TERM);
    }

    /// SIGSTOP.
    pub(super) fn pause(&mut self) {
        self.signal(Signal::STOP);
        self.paused = true;
    }

    /// SIGCONT, where it was paused.
    pub(super) fn resume(&mut self) -> bool {
        let paused = std::mem::take(&mut self.paused);
        if paused {
            self.signal(Signal::CONT);
        }
        paused
    }

    /// Its status, once it has ended.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        let ended = self.child.try_wait().ok().flatten();
        if ended.is_some() {
            live().remove(&self.child.id());
        }
        ended
    }

    /// Its status, if it ends in time.
    pub(super) fn wait(&mut self, patience: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            match self.ended() {
                None if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(10)),
                status => return status,
            }
        }
    }

    fn signal(&self, signal: Signal) {
        // One that has ended and was not waited for keeps its number, so no other is hit.
        send(self.child.id(), signal);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        live().remove(&self.child.id());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The processes that run, for an end in which nobody waits for anything.
static LIVE: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

fn live() -> MutexGuard<'static, BTreeSet<u32>> {
    LIVE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// SIGKILL to every process that was started here and runs. None is started afterwards.
pub(super) fn kill_all() {
    let live = live();
    live.iter().for_each(|id| send(*id, Signal::KILL));
    // Whoever would start one waits until this program ends.
    std::mem::forget(live);
}

fn send(id: u32, signal: Signal) {
    let pid = i32::try_from(id).ok().and_then(Pid::from_raw);
    let _ = kill_process(pid.expect("the system gave it"), signal);
}

/// Lines of a file that hold one of these words.
pub(super) fn lines_with(path: &PathBuf, words: &[&str]) -> Vec<String> {
    let text = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    text.lines().filter(|line| words.iter().any(|word| line.contains(word))).map(str::to_owned).collect()
}

/// The last line of a file.
pub(super) fn last_line(path: &PathBuf) -> String {
    let text = std::fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(&text).lines().last().unwrap_or_default().to_owned()
}
