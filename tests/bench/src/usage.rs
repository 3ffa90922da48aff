//! What a process uses: CPU seconds and memory, as the kernel counts them.

use anyhow::Context as _;

/// Ticks of `utime` and `stime` in a second; fixed in the kernel's interface.
const TICKS_PER_SECOND: f64 = 100.0;

/// What a process has used, of CPU since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Usage {
    /// User and system time, in seconds.
    pub(crate) cpu_seconds: f64,
    /// Highest resident memory since [`forget_peak`], in MiB.
    pub(crate) peak_mib: f64,
    /// Resident memory now, in MiB.
    pub(crate) resident_mib: f64,
}

/// What a process has used so far.
pub(crate) fn of(pid: u32) -> anyhow::Result<Usage> {
    let stat = read(pid, "stat")?;
    let status = read(pid, "status")?;
    // The name, in parentheses, may hold spaces; what follows does not.
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

/// Lets the peak of a process begin anew.
pub(crate) fn forget_peak(pid: u32) -> anyhow::Result<()> {
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5")
        .with_context(|| format!("cannot reset the peak of process {pid}"))
}

/// Our worker.
pub(crate) const WORKER: &str = "worker";
/// Our loader and API.
pub(crate) const DATA_STREAMS: &str = "data-streams";

/// What each process has used.
#[derive(Debug, Clone)]
pub(crate) struct Usages(Vec<(&'static str, Usage)>);

impl Usages {
    /// CPU since then; memory as it is.
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

    /// Each process.
    pub(crate) fn each(&self) -> impl Iterator<Item = &(&'static str, Usage)> {
        self.0.iter()
    }
}

impl Usages {
    /// Of these processes, by name.
    pub(crate) fn of(processes: &[(&'static str, u32)]) -> anyhow::Result<Self> {
        let usages = processes.iter().map(|(name, pid)| Ok((*name, of(*pid)?)));
        usages.collect::<anyhow::Result<_>>().map(Self)
    }
}

fn read(pid: u32, name: &str) -> anyhow::Result<String> {
    std::fs::read_to_string(format!("/proc/{pid}/{name}"))
        .with_context(|| format!("process {pid} is not there"))
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
    fn a_process_sees_its_own_work() {
        let pid = std::process::id();
        let before = of(pid).unwrap();
        let mut number = 1_u64;
        while of(pid).unwrap().cpu_seconds < before.cpu_seconds + 0.02 {
            number = std::hint::black_box(number.wrapping_mul(3));
        }
        assert!(before.peak_mib > 0.0 && before.resident_mib > 0.0);
    }
}
