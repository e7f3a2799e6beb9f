//! The world inside a heap: JavaScript of this crate that is evaluated before any user code.

/// One function of what Rust lends (`host`), which gives back the functions that Rust calls. Its parts share one scope;
/// their order is that of their `const`s.
pub(crate) const TEXT: &str = concat!(
    "(function (host) {\n'use strict';\n",
    include_str!("world/standard.js"),
    include_str!("world/turn.js"),
    include_str!("world/values.js"),
    include_str!("world/complaint.js"),
    include_str!("world/failure.js"),
    include_str!("world/batch.js"),
    include_str!("world/container.js"),
    include_str!("world/modules.js"),
    include_str!("world/math.js"),
    include_str!("world/date.js"),
    include_str!("world/clone.js"),
    include_str!("world/console.js"),
    include_str!("world/frozen.js"),
    "return { decide, keep, reduceAll, write, read, copy, release, holds, invent, adopt, run, trace, role, progress: () => decided * 4 + running };\n",
    "})",
);
