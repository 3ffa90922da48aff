//! Ends the process at a named point, at once and without cleanup, for fault
//! tests. Compiled to nothing without the feature `fault-injection`.

/// Aborts the process if the environment variable names this point: `NAME`, or
/// `NAME:N` for the nth call with this name. The variable is read once, by the
/// first call.
#[cfg(feature = "fault-injection")]
pub fn point(variable: &str, name: &str) {
    use std::sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    };

    static TARGET: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static CALLS: AtomicU64 = AtomicU64::new(0);

    let target = TARGET.get_or_init(|| {
        #[expect(
            clippy::disallowed_methods,
            reason = "for fault tests only, not a setting of the product"
        )]
        let text = std::env::var(variable).ok()?;
        let (name, count) = text.split_once(':').unwrap_or((&text, "1"));
        Some((name.to_owned(), count.parse().ok()?))
    });
    if let Some((target_name, count)) = target
        && target_name == name
        && CALLS.fetch_add(1, Ordering::Relaxed) + 1 == *count
    {
        tracing::error!(point = name, "crash point reached");
        std::process::abort();
    }
}

/// Does nothing: crash points are not compiled in.
#[cfg(not(feature = "fault-injection"))]
#[inline]
pub fn point(_variable: &str, _name: &str) {}
