# The commands of everyday work; `just` lists them. Each line can be typed without just as well.

# What there is
default:
    @just --list

# Format, clippy, tidy: what is quick
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    cargo xtask tidy

# All tests, as root
test:
    cargo test --workspace

# The tests of one crate
test-crate crate:
    cargo test -p {{crate}}

# Start Gantry with the demo
up:
    cargo run --release -- up --demo

# Stop it and leave nothing
down:
    cargo run --release -- down --purge

# What people do with kubectl, against a throw-away Gantry; names select cases
clients *names:
    cargo xtask clients {{names}}

# Comparisons with Kubernetes' own code; needs the Go client
oracles:
    cargo xtask oracle-codec
    cargo xtask oracle-merge

# Licences and known faults of dependencies; needs cargo-deny
deny:
    cargo deny check

# Everything that must hold before a change lands
ci:
    .ci/run
