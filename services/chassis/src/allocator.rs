//! The allocator of the process: jemalloc, for Rust and for linked C libraries.
//!
//! Its settings are compiled in, from `.cargo/config.toml`. The environment
//! variable `MALLOC_CONF` overrides them.

use tikv_jemallocator::Jemalloc;

#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;
