//! Reserves free ports.

use std::{
    fs::File,
    net::TcpListener,
    sync::{
        Mutex,
        atomic::{AtomicU16, Ordering},
    },
};

/// A free port, reserved for this test process by a lock file for as long as
/// it lives: a server takes seconds until it listens.
///
/// The ports, 20,000 to 32,000, are below the range from which the kernel takes
/// ports for outgoing connections: a client that connects to one of those before
/// its server listens can end up connected to itself.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    static KEPT: Mutex<Vec<File>> = Mutex::new(Vec::new());
    let locks = std::env::temp_dir().join("hubspot-streams-ports");
    std::fs::create_dir_all(&locks).expect("a folder for locks");
    let first = u16::try_from(std::process::id() % 600).expect("below 600") * 20;
    for _ in 0..12_000 {
        let port = 20_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000;
        let Ok(lock) = File::create(locks.join(port.to_string())) else {
            continue;
        };
        if lock.try_lock().is_ok() && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            KEPT.lock().expect("no panic in between").push(lock);
            return port;
        }
    }
    panic!("no free port from 20000 to 32000")
}
