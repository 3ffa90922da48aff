//! Lets a fault test end the process at a named place, at once and with
//! nothing put in order.
//!
//! Compiled to nothing without the feature `fault-injection`. It must not know
//! which places there are, nor what is done at them.

/// Dies here if the variable names this place: `NAME`, or `NAME:N` for the nth
/// time that it is passed. The variable is read once, by the first call.
#[cfg(feature = "fault-injection")]
pub fn point(variable: &str, name: &str) {
    use std::sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    };

    static TARGET: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static PASSED: AtomicU64 = AtomicU64::new(0);

    let target = TARGET.get_or_init(|| {
        #[expect(
            clippy::disallowed_methods,
            reason = "for fault tests only, so no setting of the product"
        )]
        let text = std::env::var(variable).ok()?;
        let (name, count) = text.split_once(':').unwrap_or((&text, "1"));
        Some((name.to_owned(), count.parse().ok()?))
    });
    if let Some((wanted, count)) = target
        && wanted == name
        && PASSED.fetch_add(1, Ordering::Relaxed) + 1 == *count
    {
        tracing::error!(point = name, "crash point reached");
        std::process::abort();
    }
}

/// Nothing: crash points are not compiled in.
#[cfg(not(feature = "fault-injection"))]
#[inline]
pub fn point(_variable: &str, _name: &str) {}
