//! Memory of this process, as the kernel counts it.

use std::io;

/// What a process holds in memory, in bytes; the kernel's counts are off by some pages a processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Resident now (`VmRSS`): anonymous, file-backed and shared pages.
    pub resident: u64,
    /// Largest that `resident` has been in the life of the process (`VmHWM`), never below `resident`.
    pub peak: u64,
}

impl Memory {
    /// Reads `/proc/self/status`.
    ///
    /// # Errors
    /// Where there is no such file, or it lacks a line that Linux has had since 2.6.
    pub fn read() -> io::Result<Self> {
        Self::parse(&std::fs::read_to_string("/proc/self/status")?)
    }

    fn parse(status: &str) -> io::Result<Self> {
        let resident = field(status, "VmRSS")?;
        Ok(Self { resident, peak: field(status, "VmHWM")?.max(resident) })
    }
}

/// A line `key: <number> kB`, in bytes; the kernel's kB are KiB.
fn field(status: &str, key: &str) -> io::Result<u64> {
    let value = || {
        let text = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
        text.trim().strip_suffix(" kB")?.trim_end().parse::<u64>().ok()?.checked_mul(1024)
    };
    value().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("no {key} in /proc/self/status")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Name:\ttrain\nVmPeak:\t  9000 kB\nVmHWM:\t    6340 kB\nVmRSS:\t    1284 kB\nThreads:\t3\n";

    #[test]
    fn kibibytes_of_the_two_lines_become_bytes() {
        assert_eq!(Memory::parse(STATUS).unwrap(), Memory { resident: 1_314_816, peak: 6_492_160 });
    }

    #[test]
    fn the_peak_is_never_below_what_is_resident() {
        let memory = Memory::parse("VmHWM:\t 10 kB\nVmRSS:\t 11 kB\n").unwrap();
        assert_eq!(memory.peak, memory.resident);
    }

    #[test]
    fn a_missing_or_garbled_line_is_named() {
        for (status, named) in [
            ("VmHWM:\t 1 kB\n".to_owned(), "VmRSS"),
            (STATUS.replace("VmHWM", "VmHWMX"), "VmHWM"),
            (STATUS.replace("1284", "-1"), "VmRSS"),
            (STATUS.replace("6340 kB", "6340 MB"), "VmHWM"),
            (STATUS.replace("1284", &u64::MAX.to_string()), "VmRSS"),
        ] {
            let error = Memory::parse(&status).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }

    #[test]
    fn pages_that_were_touched_are_resident_and_stay_in_the_peak() {
        const HELD: usize = 64 << 20;
        // What the counts may be off by.
        const SLACK: u64 = 4 << 20;
        let pages = vec![1_u8; HELD];
        let held = Memory::read().unwrap();
        assert!(held.resident + SLACK >= HELD as u64, "{held:?}");
        assert_eq!(pages.iter().map(|&byte| u64::from(byte)).sum::<u64>(), HELD as u64);
        drop(pages);
        let after = Memory::read().unwrap();
        assert!(after.peak + SLACK >= held.resident, "{held:?} {after:?}");
    }
}
