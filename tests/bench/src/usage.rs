//! CPU time and memory of processes, from the kernel.

use anyhow::Context as _;

/// Ticks of `utime` and `stime` per second, fixed by the kernel's interface.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU time and memory of a process.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Usage {
    /// User and system time since the start of the process, in seconds.
    pub(crate) cpu_seconds: f64,
    /// Highest resident memory since [`reset_peak`], in MiB.
    pub(crate) peak_mib: f64,
    /// Resident memory now, in MiB.
    pub(crate) resident_mib: f64,
}

/// The usage of a process so far.
pub(crate) fn of(pid: u32) -> anyhow::Result<Usage> {
    let stat = read(pid, "stat")?;
    let status = read(pid, "status")?;
    // The name, in parentheses, may contain spaces; the fields after it do not.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: f64 = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|it| it.parse::<f64>().ok())
        .sum();
    Ok(Usage {
        cpu_seconds: ticks / TICKS_PER_SECOND,
        peak_mib: kib(&status, "VmHWM:") / 1024.0,
        resident_mib: kib(&status, "VmRSS:") / 1024.0,
    })
}

/// Resets the peak memory of a process to its current memory.
pub(crate) fn reset_peak(pid: u32) -> anyhow::Result<()> {
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5")
        .with_context(|| format!("cannot reset the peak of process {pid}"))
}

/// Name of the worker.
pub(crate) const WORKER: &str = "worker";
/// Name of data-streams.
pub(crate) const DATA_STREAMS: &str = "data-streams";
/// Name of the simulator.
pub(crate) const SIMULATOR: &str = "simulator";

/// The usage of each process.
#[derive(Debug, Clone)]
pub(crate) struct Usages(Vec<(&'static str, Usage)>);

impl Usages {
    /// With the CPU time since `before`.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let pairs = self.0.iter().zip(&before.0);
        let since = pairs.map(|((name, now), (_, then))| {
            let cpu_seconds = now.cpu_seconds - then.cpu_seconds;
            (
                *name,
                Usage {
                    cpu_seconds,
                    ..*now
                },
            )
        });
        Self(since.collect())
    }

    /// The sum over our two processes.
    pub(crate) fn services(&self, part: impl Fn(&Usage) -> f64) -> f64 {
        let ours = self
            .0
            .iter()
            .filter(|it| [WORKER, DATA_STREAMS].contains(&it.0));
        ours.map(|(_, usage)| part(usage)).sum()
    }

    /// Of data-streams alone.
    pub(crate) fn data_streams(&self, part: impl Fn(&Usage) -> f64) -> f64 {
        let ours = self.0.iter().filter(|it| it.0 == DATA_STREAMS);
        ours.map(|(_, usage)| part(usage)).sum()
    }

    /// CPU seconds of one process; 0 if there is none of that name.
    pub(crate) fn cpu_seconds(&self, process: &str) -> f64 {
        let found = self.0.iter().find(|it| it.0 == process);
        found.map_or(0.0, |(_, usage)| usage.cpu_seconds)
    }

    /// All processes.
    pub(crate) fn each(&self) -> impl Iterator<Item = &(&'static str, Usage)> {
        self.0.iter()
    }
}

impl Usages {
    /// The usage of these processes.
    pub(crate) fn of(processes: &[(&'static str, u32)]) -> anyhow::Result<Self> {
        let usages = processes.iter().map(|(name, pid)| Ok((*name, of(*pid)?)));
        usages.collect::<anyhow::Result<_>>().map(Self)
    }
}

fn read(pid: u32, name: &str) -> anyhow::Result<String> {
    std::fs::read_to_string(format!("/proc/{pid}/{name}"))
        .with_context(|| format!("process {pid} does not run"))
}

fn kib(status: &str, name: &str) -> f64 {
    status
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_time_of_a_process_grows() {
        let pid = std::process::id();
        let before = of(pid).unwrap();
        let mut number = 1_u64;
        while of(pid).unwrap().cpu_seconds < before.cpu_seconds + 0.02 {
            number = std::hint::black_box(number.wrapping_mul(3));
        }
        assert!(before.peak_mib > 0.0 && before.resident_mib > 0.0);
    }
}
