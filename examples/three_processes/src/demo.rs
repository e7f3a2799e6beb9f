//! Starts the three processes, and kills them: one, and all at once.

use std::error::Error;
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::node::NAMES;

type Ended<T> = Result<T, Box<dyn Error>>;

/// A process that runs this program again, as a node. It is killed when this is dropped.
struct Process {
    child: Child,
    /// Until it is told that nothing more comes.
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
    /// Where it listens.
    address: String,
}

impl Process {
    fn start(name: &str, directory: &Path, listen: &str) -> Ended<Process> {
        let mut child = Command::new(std::env::current_exe()?)
            .args([name.as_ref(), directory.as_os_str(), listen.as_ref()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (input, output) = (child.stdin.take(), child.stdout.take().ok_or("its output is piped")?);
        let mut process = Process { child, input, output: BufReader::new(output).lines(), address: String::new() };
        let said = process.line()?;
        process.address = said.strip_prefix("listens at ").ok_or(format!("{name} said {said:?}"))?.into();
        Ok(process)
    }

    fn line(&mut self) -> Ended<String> {
        Ok(self.output.next().ok_or("a process ended: its errors are above")??)
    }

    /// Says a line, and waits for the answer to it.
    fn ask(&mut self, line: &str) -> Ended<String> {
        writeln!(self.input.as_ref().ok_or("its input is at its end")?, "{line}")?;
        self.line()
    }

    /// Tells it that nothing more comes, and waits until it has closed its node.
    fn end(&mut self) -> Ended<()> {
        drop(self.input.take());
        if !self.child.wait()?.success() {
            return Err("a process did not end well: its errors are above".into());
        }
        Ok(())
    }

    /// SIGKILL: it has no time to write anything.
    fn kill(&mut self) -> Ended<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The processes that run, each with a directory that outlives it.
struct Cluster {
    directories: Vec<PathBuf>,
    processes: Vec<Process>,
}

impl Cluster {
    /// Starts all of them, at the addresses that they had, if they had any.
    fn start(directories: &[PathBuf], addresses: &[String]) -> Ended<Cluster> {
        let mut cluster = Cluster { directories: directories.to_vec(), processes: Vec::new() };
        for (name, (directory, address)) in NAMES.iter().zip(directories.iter().zip(addresses)) {
            cluster.processes.push(Process::start(name, directory, address)?);
        }
        for of in 0..NAMES.len() {
            cluster.introduce(of)?;
        }
        Ok(cluster)
    }

    /// Tells one where the others are.
    fn introduce(&mut self, of: usize) -> Ended<()> {
        for other in (0..NAMES.len()).filter(|other| *other != of) {
            let peer = format!("{}={}", NAMES[other], self.processes[other].address);
            self.processes[of].ask(&peer)?;
        }
        Ok(())
    }

    fn addresses(&self) -> Vec<String> {
        self.processes.iter().map(|process| process.address.clone()).collect()
    }

    fn ask(&mut self, of: usize, line: &str) -> Ended<()> {
        let answer = self.processes[of].ask(line)?;
        println!("{}: {answer}", NAMES[of]);
        Ok(())
    }

    /// Kills one of them and starts it again, with what `meanwhile` does in between.
    fn restart(&mut self, of: usize, meanwhile: impl FnOnce(&mut Cluster) -> Ended<()>) -> Ended<()> {
        self.processes[of].kill()?;
        meanwhile(self)?;
        let address = self.processes[of].address.clone();
        self.processes[of] = Process::start(NAMES[of], &self.directories[of], &address)?;
        self.introduce(of)
    }
}

/// Runs to its end in a few seconds.
pub(crate) fn run() -> Ended<()> {
    let place = tempfile::tempdir()?;
    let directories = NAMES.map(|name| place.path().join(name));
    // Any ports that are free; later the same ones again.
    let mut cluster = Cluster::start(&directories, &NAMES.map(|_| "127.0.0.1:0".into()))?;
    println!("three processes run");
    cluster.ask(0, "append one")?;
    cluster.ask(1, "append two")?;
    cluster.ask(2, "append three")?;

    println!("b is killed; the others go on");
    cluster.restart(1, |cluster| {
        cluster.ask(0, "append four")?;
        cluster.ask(2, "append one")
    })?;
    println!("b is back, with its disk");
    cluster.ask(1, "append five")?;

    println!("all are killed, at once");
    let addresses = cluster.addresses();
    for process in &mut cluster.processes {
        process.child.kill()?;
    }
    for process in &mut cluster.processes {
        process.child.wait()?;
    }
    let mut cluster = Cluster::start(&directories, &addresses)?;
    println!("all are back, with their disks");
    for of in 0..NAMES.len() {
        cluster.ask(of, "state")?;
    }
    cluster.ask(0, "append six")?;

    for process in &mut cluster.processes {
        process.end()?;
    }
    println!("all have ended, gracefully");
    Ok(())
}
