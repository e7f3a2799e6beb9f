//! The engine's own suite for storage, on ours.

use std::sync::Arc;
use std::time::Duration;

use conflux_core::{Container, Context, Incarnation, Never};
use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use tokio::sync::Notify;

use super::log::Log;
use super::machine::Machine;
use super::types::{Member, Types};
use crate::disk::{Disk, FileDisk, MemoryDisk, SimulatedFiles};
use crate::origin::Origin;
use crate::replica::Local;

impl From<u64> for Member {
    fn from(number: u64) -> Self {
        Member { name: format!("n{number}").into(), incarnation: Incarnation(number) }
    }
}

pub(super) struct Empty;

impl Container for Empty {
    type State = ();
    type Method = Never;
    type Action = Never;
    type Rejection = Never;

    fn initial(&self) {}

    fn decide(&self, (): &(), method: Never, _: &Context<'_>) -> Result<Option<Never>, Never> {
        match method {}
    }

    fn reduce(&self, (): &mut (), action: &Never, _: &Context<'_>) {
        match *action {}
    }
}

/// Gives a fresh disk.
struct Fresh<F>(F);

impl<D: Disk, G: Send + Sync + 'static, F: Fn() -> (G, D) + Send + Sync> StoreBuilder<Types, Log, Machine, G>
    for Fresh<F>
{
    async fn build(&self) -> Result<(G, Log, Machine), StorageError<Types>> {
        let origin = Arc::new(Origin::new("n0".into(), Incarnation(0), 1, 16, Arc::new(Notify::new())));
        let local = Arc::new(Local::new(Arc::new(Empty), origin, 16));
        let (guard, disk) = (self.0)();
        let (contents, journal) = disk.open("n0").expect("an empty disk opens");
        let log = Log::open(contents, journal).expect("an empty disk opens");
        let machine = Machine::open(local, log.clone(), crate::watch::channel(false).0).expect("an empty disk opens");
        Ok((guard, log, machine))
    }
}

#[tokio::test]
async fn the_engines_suite_for_storage_in_memory() {
    Suite::test_all(Fresh(|| ((), MemoryDisk::new()))).await.expect("our storage does what the engine expects");
}

#[tokio::test]
async fn the_engines_suite_for_storage_in_files() {
    let fresh = || {
        let directory = tempfile::tempdir().expect("there is a place for temporary files");
        let disk = FileDisk::new(directory.path());
        (directory, disk)
    };
    Suite::test_all(Fresh(fresh)).await.expect("our storage does what the engine expects");
}

#[tokio::test(start_paused = true)]
async fn the_engines_suite_for_storage_in_simulated_files() {
    let fresh = || ((), FileDisk::simulated(SimulatedFiles::new(0), "/a", Duration::from_millis(1)));
    Suite::test_all(Fresh(fresh)).await.expect("our storage does what the engine expects");
}
