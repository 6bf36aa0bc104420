//! How much memory something needs at its peak, by what the kernel counts.
//!
//! Invariant: each measurement has a process of its own, for memory that was freed is used again, and would hide what is
//! asked for. Reading: what the process keeps free from compiling the runtime hides the first of it all the same.

use std::{fs, process::Command};

/// Says to a process that it measures one block of so many extrinsics, and nothing else.
const CHILD: &str = "SLACKWATER_GROWTH_MEMORY";

/// If this is a process that measures: of how many extrinsics.
pub(crate) fn child() -> Option<u64> {
    let stated = std::env::var(CHILD).ok()?;
    Some(stated.parse().expect("a number of extrinsics"))
}

/// Has a process measure it: bytes.
pub(crate) fn of_child(count: u64) -> Option<u64> {
    let program = std::env::current_exe().expect("a program");
    let mut command = Command::new(program);
    let output = command.env(CHILD, count.to_string()).output();
    let output = output.expect("runs");
    assert!(output.status.success(), "the block is measured: {output:?}");
    let told = String::from_utf8_lossy(&output.stdout);
    told.trim().parse().ok()
}

/// What `work` adds to the resident memory at its peak, in bytes; none if the kernel does not tell.
pub(crate) fn peak_of<T>(work: impl FnOnce() -> T) -> Option<u64> {
    // Has the kernel take the memory there is now for the most there was.
    fs::write("/proc/self/clear_refs", "5").ok()?;
    let before = peak()?;
    let done = work();
    let after = peak()?;
    drop(done);
    Some(after.saturating_sub(before))
}

fn peak() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}
