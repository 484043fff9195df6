# Tasks. Checks never write; what writes is apart.

# What there is.
default:
    @just --list

# Format and lints, without changing anything.
check:
    cargo fmt --all --check
    cargo check -p sync-core --no-default-features
    cargo check -p sync-server --no-default-features
    cargo clippy --workspace --all-targets -- -D warnings

# Mends format and lints where that can be done by itself.
fix:
    cargo clippy --workspace --all-targets --fix --allow-dirty --allow-staged
    cargo fmt --all

# All tests, and the examples in the documentation.
test:
    cargo test --workspace
    cargo test -p verification --features model --test model

# The documentation, with warnings as errors.
doc:
    RUSTDOCFLAGS=-Dwarnings cargo doc --workspace --no-deps

# The main job in one process.
demo:
    cargo run --release -- demo

# Each fuzz target for so many seconds, from good input on; needs cargo-fuzz and a C++ compiler.
fuzz seconds="60":
    cargo run --manifest-path fuzz/Cargo.toml --example seeds
    for target in $(cargo fuzz list); do RUST_BACKTRACE=0 cargo fuzz run --sanitizer=none "$target" -- -max_total_time={{seconds}} -rss_limit_mb=1024 -timeout=10 || exit 1; done

# Everything that has to hold before a change is merged.
ci:
    .ci/run
