//! What guard needs of the machine before it tries anything, and how it says so.

use anyhow::{Context as _, bail};

/// Oldest kernel that guard runs on.
pub const MIN_KERNEL: (u32, u32) = (5, 10);

/// Inode number of the initial pid namespace (`PROC_PID_INIT_INO`).
const INITIAL_PID_NAMESPACE: &str = "pid:[4026531836]";

/// Capabilities that loading and attaching takes, with their bit numbers (`include/uapi/linux/capability.h`).
const CAPABILITIES: &[(u32, &str, &str)] = &[
    (21, "CAP_SYS_ADMIN", "to load programs that read kernel memory and attach them to the root cgroup"),
    (5, "CAP_KILL", "to end processes of other users"),
    (19, "CAP_SYS_PTRACE", "to look at processes that run already"),
];

/// Checks kernel version, capabilities and pid namespace.
///
/// # Errors
/// Says what was found, what is needed, and what to do.
pub fn check() -> anyhow::Result<()> {
    all().into_iter().try_for_each(|(_, result)| result)
}

/// Each requirement by its name, and whether it is met.
#[must_use]
pub fn all() -> Vec<(&'static str, anyhow::Result<()>)> {
    vec![
        ("kernel version", check_version()),
        ("no real-time kernel", check_realtime()),
        ("privileges", check_capabilities()),
        ("the host's process ids", check_pid_namespace()),
    ]
}

fn check_pid_namespace() -> anyhow::Result<()> {
    let namespace = std::fs::read_link("/proc/self/ns/pid").context("/proc is not mounted")?;
    if namespace.as_os_str() != INITIAL_PID_NAMESPACE {
        bail!(
            "guard runs in a pid namespace of its own ({}), where it can't tell processes apart as the kernel does. Start \
             it in the host's (hostPID: true, or --pid=host)",
            namespace.display()
        );
    }
    Ok(())
}

fn check_version() -> anyhow::Result<()> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").context("/proc is not mounted")?;
    let release = release.trim();
    match parse_release(release) {
        Some(version) if version >= MIN_KERNEL => Ok(()),
        _ => bail!("this is Linux {release}; guard needs {}.{} or later", MIN_KERNEL.0, MIN_KERNEL.1),
    }
}

/// A real-time kernel may preempt a program, and skips one that is entered again on the same CPU meanwhile
/// (`bpf_prog.active`): an operation could pass unseen.
fn check_realtime() -> anyhow::Result<()> {
    match std::fs::read_to_string("/sys/kernel/realtime") {
        Ok(text) if text.trim() == "1" => {
            bail!(
                "this is a real-time kernel (PREEMPT_RT), on which the kernel may skip guard's programs; guard does not run there"
            )
        }
        _ => Ok(()),
    }
}

/// Major and minor number of the running kernel.
pub fn release() -> Option<(u32, u32)> {
    parse_release(std::fs::read_to_string("/proc/sys/kernel/osrelease").ok()?.trim())
}

/// Major and minor number of a kernel release.
fn parse_release(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn check_capabilities() -> anyhow::Result<()> {
    let status = std::fs::read_to_string("/proc/self/status").context("/proc is not mounted")?;
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .context("/proc/self/status has no CapEff line")?;
    let missing: Vec<_> = CAPABILITIES.iter().filter(|(bit, ..)| effective >> bit & 1 == 0).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list: Vec<_> = missing.iter().map(|(_, name, why)| format!("{name} ({why})")).collect();
    bail!("guard lacks {}. Run it as root, for example with sudo; what it guards still runs as you", list.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_read() {
        assert_eq!(parse_release("5.10.0-46-amd64"), Some((5, 10)));
        assert_eq!(parse_release("6.18.44-fc-v669"), Some((6, 18)));
        assert_eq!(parse_release("7.2.13+deb14-amd64"), Some((7, 2)));
        assert_eq!(parse_release("mainline"), None);
        assert!((5, 4) < MIN_KERNEL && (5, 10) >= MIN_KERNEL && (6, 1) >= MIN_KERNEL);
    }
}
