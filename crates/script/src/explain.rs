//! Adds to an engine's message what the user has to know here.

/// Globals of browsers and Node.js that a container does not have, and why or what instead. They are absent, not
/// throwing, so that libraries which look whether they are there find out and do without.
const ABSENT: &[(&str, &str)] = &[
    ("AbortController", ASYNC),
    ("AbortSignal", ASYNC),
    ("Atomics", "nothing runs beside a container"),
    ("Buffer", "it belongs to Node.js; state and actions are JSON"),
    ("EventSource", FETCH),
    ("FinalizationRegistry", COLLECTED),
    ("SharedArrayBuffer", "nothing runs beside a container"),
    ("WeakRef", COLLECTED),
    ("WebSocket", FETCH),
    ("Worker", "nothing runs beside a container"),
    ("XMLHttpRequest", FETCH),
    ("__dirname", FILES),
    ("__filename", FILES),
    ("clearInterval", ASYNC),
    ("clearTimeout", ASYNC),
    ("crypto", "it would differ between nodes; the context has `random`"),
    ("document", "a container runs inside a node, not in a browser"),
    ("exports", COMMONJS),
    ("fetch", FETCH),
    ("localStorage", "what is to be kept goes into the state"),
    ("module", COMMONJS),
    ("process", "it belongs to Node.js and would differ between nodes; pass what is needed as arguments of the method"),
    ("queueMicrotask", ASYNC),
    ("requestAnimationFrame", ASYNC),
    ("require", COMMONJS),
    ("sessionStorage", "what is to be kept goes into the state"),
    ("setImmediate", ASYNC),
    ("setInterval", ASYNC),
    ("setTimeout", ASYNC),
    ("window", "a container runs inside a node, not in a browser"),
];

const ASYNC: &str = "methods and reducers are synchronous, nothing runs after they return; let a program that watches the \
                     state perform the next method when it is time";
const FETCH: &str = "methods and reducers cannot ask the outside world: fetch first, then perform with the result";
const COLLECTED: &str = "when it lets go of a value differs between nodes; hold the value itself";
const COMMONJS: &str = "this file is an ES module: use import and export";
const FILES: &str = "a container cannot read files; pass what is needed as arguments of the method";

const FROZEN: &str = "state, actions, globals and `this` are frozen: return a new value instead of changing the old one; what \
                      is to be kept goes into the state";

/// The names that are to be deleted from the global object.
pub(crate) fn absent() -> impl Iterator<Item = &'static str> {
    ABSENT.iter().map(|(name, _)| *name)
}

/// The message with its explanation.
pub(crate) fn explain(message: &str) -> String {
    match explanation(message) {
        Some(more) => format!("{message} ({more})"),
        None => message.to_owned(),
    }
}

fn explanation(message: &str) -> Option<&'static str> {
    if let Some(before) = message.strip_suffix(" is not defined") {
        let name = before.rsplit([' ', '\'']).find(|part| !part.is_empty())?;
        return ABSENT.iter().find(|(absent, _)| *absent == name).map(|(_, why)| *why);
    }
    let frozen = [
        "is read-only",
        "object is not extensible",
        "read only property",
        "could not delete property",
        "no setter for property",
        "Cannot assign to read only",
    ];
    if message.contains("TypeError") && frozen.iter().any(|part| message.contains(part)) && !message.contains("frozen")
    {
        return Some(FROZEN);
    }
    message
        .contains("Maximum call stack size exceeded")
        .then_some("it recursed too deep for the stack that scripts have")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_messages_are_explained() {
        assert!(explain("append: ReferenceError: setTimeout is not defined").contains("synchronous"));
        assert!(explain("append: ReferenceError: 'fetch' is not defined").contains("fetch first"));
        assert!(explain("reduce: TypeError: 'x' is read-only").contains("return a new value"));
        assert_eq!(explain("x is not defined"), "x is not defined");
        assert!(absent().is_sorted());
    }
}
