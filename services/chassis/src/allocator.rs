//! Which allocator serves the process: jemalloc, for Rust and for the C
//! libraries that it links.
//!
//! Its settings are in `.cargo/config.toml`, as they are compiled in; a process
//! can be given others by the variable `MALLOC_CONF`.

use tikv_jemallocator::Jemalloc;

#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;
