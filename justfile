# The single entrance: `just`, `just check`, `just test` …

default:
    @just --list

# everything that CI checks
check:
    .ci/run

# all tests; `just test -p palan-core` for one crate
test *words='--workspace':
    cargo test {{words}}

# property tests with other cases than the last time, N times over: `just explore 100 -p palan --lib properties`
explore n *words:
    for i in $(seq {{n}}); do cargo test --quiet {{words}} || exit 1; done

# palan killed at so many random moments of a fleet's operation, other ones than the last time
crashes n='200':
    PALAN_CRASHES={{n}} PALAN_CRASH_SEED=$(date +%s) cargo test -p palan-cli --test fleet_crash -- --nocapture

# a fuzz target (tar, codec or whiteouts) for so many seconds
fuzz target seconds='300':
    mkdir -p fuzz/corpus/{{target}}
    RUSTC_BOOTSTRAP=1 ASAN_OPTIONS=detect_odr_violation=0 cargo fuzz run {{target}} fuzz/corpus/{{target}} fuzz/seeds/{{target}} -- -max_total_time={{seconds}}

# format, and fix what clippy can fix
fix:
    cargo fmt --all
    cargo clippy --workspace --all-targets --fix --allow-dirty --allow-staged -- -D warnings

# regenerate docs/reference/cli.md and open the library's documentation
docs:
    cargo xtask docs
    cargo doc --workspace --no-deps --open

# the main job, on an embedded registry
demo:
    cargo run --release -- demo

# lines per crate
lines:
    cargo xtask lines

# palan beside other tools on real images; `just bench --only flatten`
bench *words:
    cargo xtask bench {{words}}

# instructions of what is done for each entry and document; needs valgrind and gungraun-runner
instructions:
    cd instructions && cargo bench
