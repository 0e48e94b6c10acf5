//! The machine that a result was measured on, and the memory of this process.

use std::time::Duration;

use anyhow::{Context, Result};

/// Cores, processor, memory and kernel, in a sentence.
///
/// # Errors
///
/// If `/proc` cannot be read.
pub fn description() -> Result<String> {
    let cpu = std::fs::read_to_string("/proc/cpuinfo")?;
    let model = field(&cpu, "model name").unwrap_or("unknown processor");
    let memory = std::fs::read_to_string("/proc/meminfo")?;
    let kib: u64 = field(&memory, "MemTotal").context("MemTotal")?.trim_end_matches(" kB").parse()?;
    let cores = std::thread::available_parallelism()?;
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    Ok(format!("{cores} cores of {model}, {} GiB, Linux {}", kib.div_ceil(1 << 20), kernel.trim()))
}

/// Forgets the peak of this process's memory, so that the next one is that of the work between.
///
/// # Errors
///
/// If the kernel does not allow it.
pub fn reset_peak() -> Result<()> {
    Ok(std::fs::write("/proc/self/clear_refs", "5")?)
}

/// The peak of this process's resident memory, in MiB.
///
/// # Errors
///
/// If `/proc` cannot be read.
pub fn peak_mib() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let kib: u64 = field(&status, "VmHWM").context("VmHWM")?.trim_end_matches(" kB").parse()?;
    Ok(kib.div_ceil(1 << 10))
}

/// The processor time of this process so far.
///
/// # Errors
///
/// If the kernel does not allow it.
pub fn processor_time() -> Result<Duration> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Ok(Duration::new(time.tv_sec.try_into()?, time.tv_nsec.try_into()?))
}

/// The first value of a field in text of lines `name: value`.
fn field<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then_some(value.trim())
    })
}
