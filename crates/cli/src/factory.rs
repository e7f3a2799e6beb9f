//! Where the nodes' containers come from.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use conflux_core::{Container, Failure};
use conflux_script::{Options, ScriptContainer, went_over_a_limit};

use crate::exit::Refusal;

/// Makes a container for each node.
pub(crate) trait Factory: Send + Sync + 'static {
    /// What it makes.
    type Container: Container;

    /// A container that shares nothing with the ones made before that could hide a difference between nodes.
    fn make(&self) -> Result<Self::Container, Refusal>;

    /// What is run, for people.
    fn name(&self) -> String;

    /// The file that it is in, where it is in one.
    fn file(&self) -> Option<&Path> {
        None
    }

    /// What the containers found wrong with themselves since it was last asked, each thing once.
    fn findings(&self) -> Vec<String> {
        Vec::new()
    }

    /// Whether a call failed in a way that a simulation must not go on after: it would take as long each time.
    fn is_fatal(_: &Failure) -> bool {
        false
    }
}

/// Several clusters, one after another, may be made of the same containers.
impl<F: Factory> Factory for Arc<F> {
    type Container = F::Container;

    fn make(&self) -> Result<F::Container, Refusal> {
        (**self).make()
    }

    fn name(&self) -> String {
        (**self).name()
    }

    fn file(&self) -> Option<&Path> {
        (**self).file()
    }

    fn findings(&self) -> Vec<String> {
        (**self).findings()
    }

    fn is_fatal(failure: &Failure) -> bool {
        F::is_fatal(failure)
    }
}

/// A script: the file is read once, and each node runs it in a heap of its own.
pub(crate) struct ScriptFactory {
    first: ScriptContainer,
    name: String,
    file: PathBuf,
    /// What was made, for as long as its node lives.
    made: Mutex<Vec<Weak<ScriptContainer>>>,
    /// What was told already.
    told: Mutex<BTreeSet<String>>,
}

impl ScriptFactory {
    /// Loads a file. With `check`, every batch is run again in a fresh heap: the development check.
    pub(crate) fn load(path: &Path, check: bool) -> Result<Self, Refusal> {
        Self::load_with(path, Options { check, ..Options::default() })
    }

    /// Loads a file whose calls are stopped after so many steps: what comes of a call must not hang on how fast the machine
    /// is.
    pub(crate) fn for_simulation(path: &Path) -> Result<Self, Refusal> {
        Self::load_with(path, Options { count_steps: true, ..Options::default() })
    }

    fn load_with(path: &Path, options: Options) -> Result<Self, Refusal> {
        // A pipe would be read once and has nothing beside it; one without a writer would not even be read.
        if std::fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir()) {
            let told = "it is a pipe or a device, whose bytes have no end that is known; a container is read from a file, and what it imports from beside it";
            return Err(Refusal::new(format!("{}: {told}", path.display())));
        }
        let first = ScriptContainer::load_with(path, options).map_err(Refusal::new)?;
        let (name, file) = (path.display().to_string(), path.to_owned());
        Ok(ScriptFactory { first, name, file, made: Mutex::default(), told: Mutex::default() })
    }
}

impl Factory for ScriptFactory {
    type Container = Arc<ScriptContainer>;

    fn make(&self) -> Result<Arc<ScriptContainer>, Refusal> {
        let container = Arc::new(self.first.another().map_err(Refusal::new)?);
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.retain(|container| container.strong_count() > 0);
        made.push(Arc::downgrade(&container));
        drop(made);
        Ok(container)
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    fn file(&self) -> Option<&Path> {
        Some(&self.file)
    }

    fn is_fatal(failure: &Failure) -> bool {
        went_over_a_limit(failure)
    }

    fn findings(&self) -> Vec<String> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.retain(|container| container.strong_count() > 0);
        let reports = made.iter().filter_map(Weak::upgrade).flat_map(|container| container.reports());
        // Every node finds the same.
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        reports.map(|report| report.to_string()).filter(|report| told.insert(report.clone())).collect()
    }
}

/// A Rust container: the nodes share the one value.
pub(crate) struct SharedFactory<C> {
    container: Arc<C>,
    name: String,
}

impl<C: Container> SharedFactory<C> {
    pub(crate) fn new(container: C, name: String) -> Self {
        SharedFactory { container: Arc::new(container), name }
    }
}

impl<C: Container> Factory for SharedFactory<C> {
    type Container = Arc<C>;

    fn make(&self) -> Result<Arc<C>, Refusal> {
        Ok(self.container.clone())
    }

    fn name(&self) -> String {
        self.name.clone()
    }
}
