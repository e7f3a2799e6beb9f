//! The promises, each as an exact statement about every state that can be reached; and states that have to be reached, or
//! else the model is too small to mean anything.

mod durable;
mod exact_validation;
mod exactly_once;
mod honest_rejections;
mod nothing_contradicts;
mod one_history;
mod provisional;
mod reached;

use stateright::Property;

use crate::bounds::Bounds;
use crate::engine::Entry;
use crate::model::Model;
use crate::mutant::Mutant;
use crate::store::Store;
use crate::world::World;

pub use durable::DURABLE;
pub use exact_validation::EXACT_VALIDATION;
pub use exactly_once::EXACTLY_ONCE;
pub use honest_rejections::HONEST_REJECTIONS;
pub use nothing_contradicts::NOTHING_CONTRADICTS;
pub use one_history::ONE_HISTORY;
pub use provisional::PROVISIONAL;

/// All that holds in every state, and all that some state within these bounds must be.
pub(crate) fn all(bounds: &Bounds) -> Vec<Property<Model>> {
    let mut all = vec![
        Property::always(ONE_HISTORY, one_history::holds),
        Property::always(EXACT_VALIDATION, exact_validation::holds),
        Property::always(DURABLE, durable::holds),
        Property::always(EXACTLY_ONCE, exactly_once::holds),
        Property::always(HONEST_REJECTIONS, honest_rejections::holds),
        Property::always(PROVISIONAL, provisional::holds),
        Property::always(NOTHING_CONTRADICTS, nothing_contradicts::holds),
    ];
    all.extend(reached::within(bounds));
    all
}

/// What entries come to by the rules, whatever a mutant does.
fn by_the_rules(entries: &[Entry]) -> Store {
    Store::new().behind(World::batches(entries), Mutant::None)
}
