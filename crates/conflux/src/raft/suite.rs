//! The engine's own suite for storage, on ours.

use std::sync::Arc;

use conflux_core::{Container, Context, Incarnation, Never};
use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use tokio::sync::Notify;

use super::log::MemoryDisk;
use super::machine::Machine;
use super::types::{Member, Types};
use crate::origin::Origin;
use crate::replica::Local;

impl From<u64> for Member {
    fn from(number: u64) -> Self {
        Member { name: format!("n{number}").into(), incarnation: Incarnation(number) }
    }
}

struct Empty;

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

struct Fresh;

impl StoreBuilder<Types, MemoryDisk, Machine> for Fresh {
    async fn build(&self) -> Result<((), MemoryDisk, Machine), StorageError<Types>> {
        let origin = Arc::new(Origin::new("n0".into(), Incarnation(0), 1, 16, Arc::new(Notify::new())));
        let local = Arc::new(Local::new(Arc::new(Empty), origin, 16));
        let disk = MemoryDisk::new();
        let machine = Machine::open(local, disk.clone()).expect("an empty disk opens");
        Ok(((), disk, machine))
    }
}

#[tokio::test]
async fn the_engines_suite_for_storage() {
    Suite::test_all(Fresh).await.expect("our storage does what the engine expects");
}
