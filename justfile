# Tasks. Checks never write; what writes is apart.

# What there is.
default:
    @just --list

# Format and lints, without changing anything.
check:
    cargo fmt --all --check
    cargo check -p sync-core --no-default-features
    cargo clippy --workspace --all-targets -- -D warnings

# Mends format and lints where that can be done by itself.
fix:
    cargo clippy --workspace --all-targets --fix --allow-dirty --allow-staged
    cargo fmt --all

# All tests, and the examples in the documentation.
test:
    cargo test --workspace
    cargo test -p testkit --features model --test model

# The documentation, with warnings as errors.
doc:
    RUSTDOCFLAGS=-Dwarnings cargo doc --workspace --no-deps

# The main job in one process.
demo:
    cargo run --release -- demo

# Everything that has to hold before a change is merged.
ci:
    .ci/run
