# `verify` never writes to the sources; `fix` does.

# Shows the recipes.
default:
    @just --list

# Everything that CI checks.
verify:
    cargo xtask test

# What is quick of it: no documentation, no examples.
quick:
    cargo xtask test --quick

# Formats, and applies what clippy suggests.
fix:
    cargo clippy --fix --workspace --all-targets --allow-dirty --allow-staged
    cargo fmt --all

# Writes what the examples print as what is expected of them.
bless:
    cargo xtask bless

# A prompt on three nodes.
dev app="examples/words.js":
    cargo run --release -- dev {{app}}

# Breaks real nodes for so many minutes, and checks every answer.
chaos minutes="1":
    cargo xtask chaos --minutes {{minutes}}

# Performs a second, latency and memory on this machine.
bench:
    cargo run --release -- bench
    cargo bench --package conflux-core
