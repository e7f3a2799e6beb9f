//! What is simulated: a container, and what is asked of it.

use std::sync::Arc;

use conflux::container::sampled;
use conflux::panics::caught;
use conflux::{Container, Failure, Random};

use crate::wrong::{Promise, Wrong};

type Make<C> = Arc<dyn Fn() -> Result<Arc<C>, String> + Send + Sync>;
type Fatal = Arc<dyn Fn(&Failure) -> bool + Send + Sync>;
type Draw<C> = Arc<dyn Fn(&mut Random) -> <C as Container>::Method + Send + Sync>;

/// A container, made as often as there are nodes, and calls of it.
pub(crate) struct Subject<C: Container> {
    make: Make<C>,
    /// Where they are not the container's own samples.
    draw: Option<Draw<C>>,
    /// Failures of calls by which a run ends.
    fatal: Option<Fatal>,
}

impl<C: Container> Clone for Subject<C> {
    fn clone(&self) -> Self {
        Subject { make: self.make.clone(), draw: self.draw.clone(), fatal: self.fatal.clone() }
    }
}

impl<C: Container> Subject<C> {
    /// `make` is called for each node, and each time it is opened.
    pub(crate) fn new(make: impl Fn() -> Result<Arc<C>, String> + Send + Sync + 'static) -> Self {
        Subject { make: Arc::new(make), draw: None, fatal: None }
    }

    pub(crate) fn with_calls(self, draw: impl Fn(&mut Random) -> C::Method + Send + Sync + 'static) -> Self {
        Subject { draw: Some(Arc::new(draw)), ..self }
    }

    pub(crate) fn with_fatal(self, fatal: impl Fn(&Failure) -> bool + Send + Sync + 'static) -> Self {
        Subject { fatal: Some(Arc::new(fatal)), ..self }
    }

    pub(crate) fn is_fatal(&self, failure: &Failure) -> bool {
        self.fatal.as_ref().is_some_and(|fatal| fatal(failure))
    }

    pub(crate) fn make(&self) -> Result<Arc<C>, String> {
        (self.make)()
    }

    /// A call, drawn; `None` when there is nothing to call this time.
    pub(crate) fn call(&self, container: &C, random: &mut Random) -> Result<Option<C::Method>, Wrong> {
        let broken = |error: String| Wrong::new(Promise::Samples, error);
        match &self.draw {
            Some(draw) => {
                caught("drawing a call", || draw(random)).map(Some).map_err(|failure| broken(failure.to_string()))
            }
            None => sampled(container, random).map_err(broken),
        }
    }
}
