# The project's commands. `just verify` is exactly what CI runs.

set shell := ["bash", "-euo", "pipefail", "-c"]

# List the recipes
[private]
@default:
    just --list --unsorted

# Check everything as CI does and change nothing; the tests run last, so their summary ends it
verify: check-fmt check-docs deny clippy rustdoc doctest nextest

# Format, and apply what clippy can mend by itself
fix:
    cargo fmt --all
    cargo clippy --workspace --all-targets --locked --fix --allow-dirty --allow-staged

# Run the tests, or those that ARGS select: `just test -p dgate-core retry`
test *ARGS:
    cargo nextest run --locked {{ if ARGS == "" { "--workspace" } else { ARGS } }}

# Build the optimised binary, target/release/dgate
build:
    cargo build --release --locked -p dgate

# Run the benchmarks of the packages; docs/performance.md says how the gateway as a whole is measured
bench *ARGS:
    cargo bench --workspace --locked {{ ARGS }}

# Build the book into docs/book, and the API documentation into target/doc
docs: rustdoc
    @if command -v mdbook >/dev/null; then mdbook build docs; \
    else echo "the book is not built: mdbook is not installed (cargo install mdbook --locked)"; fi

# Formatting
[group('verify')]
check-fmt:
    cargo fmt --all --check

# Every relative link in the docs leads to a file, and every page stands in the summary
[group('verify')]
check-docs:
    #!/usr/bin/env bash
    set -euo pipefail
    wrong=0
    say() { echo "$1" >&2; wrong=1; }
    for page in *.md docs/*.md docs/plugins/*.md plugins/*/README.md; do
        # Code blocks and spans are no links.
        links=$(sed -e '/^ *```/,/^ *```/d' -e 's/`[^`]*`//g' "$page" | grep -oE '\]\([^) ]+' | cut -c3- || true)
        for link in $links; do
            case $link in http://* | https://* | mailto:* | '#'*) continue ;; esac
            [ -e "$(dirname "$page")/${link%%#*}" ] || say "$page: the link $link leads nowhere"
        done
    done
    for page in docs/*.md docs/plugins/*.md; do
        name=${page#docs/}
        [ "$name" = SUMMARY.md ] || grep -qF "($name)" docs/SUMMARY.md || say "$page: not in docs/SUMMARY.md"
    done
    exit $wrong

# Licenses, bans and sources of the dependencies, if cargo-deny is there
[group('verify')]
deny:
    @if command -v cargo-deny >/dev/null; then cargo deny --locked check licenses bans sources; \
    else echo "SKIPPED: dependencies are not checked against deny.toml: cargo-deny is not installed"; fi

# Lints, warnings as errors
[group('verify')]
clippy:
    cargo clippy --workspace --all-targets --locked -- -D warnings

# The API documentation builds without a warning
[group('verify')]
rustdoc:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked

# The examples in the documentation run
[group('verify')]
doctest:
    cargo test --doc --workspace --locked

# All tests, under the limits of CI
[group('verify')]
nextest:
    cargo build --locked -p dgate --bin dgate
    cargo nextest run --workspace --locked --profile ci --no-fail-fast
