//! Whether the kernel takes a CPU from a task in the midst of the kernel's own work, and gives it to another.

use std::fs;

use super::kernelfs::DEBUGFS;

/// What is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Preemption {
    /// It does so at places of its own choice only, never within a program.
    Never,
    /// It does, or may: the mode, if it is known.
    Possible(Option<String>),
}

/// How this kernel does it.
#[must_use]
pub fn of_this_machine() -> Preemption {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let built = read("/proc/sys/kernel/version");
    if let Some(settled) = by_version(&built) {
        return settled;
    }
    if let Some(modes) = DEBUGFS.read(c"sched/preempt") {
        return by_mode(chosen(&modes));
    }
    // Where that is not shown, nobody can change it there either: it is what was chosen at boot, or built in.
    let release = read("/proc/sys/kernel/osrelease");
    by_configuration(&read(&format!("/boot/config-{}", release.trim())), &read("/proc/cmdline"))
}

/// Whether the modes that may be chosen at boot have one without preemption. From 7.0 on there is none on this machine.
#[must_use]
pub fn can_be_switched_off() -> bool {
    DEBUGFS.read(c"sched/preempt").is_some_and(|modes| modes.contains("voluntary"))
}

/// What the kernel says of itself (`uname -v`, made by `scripts/mkcompile_h`, later `init/Makefile`): a word that begins with
/// `PREEMPT` where it was built with preemption. `None` where it may be switched on and off.
fn by_version(version: &str) -> Option<Preemption> {
    match version.split_whitespace().find(|word| word.starts_with("PREEMPT")) {
        None if version.is_empty() => Some(Preemption::Possible(None)),
        None => Some(Preemption::Never),
        Some("PREEMPT_DYNAMIC") => None,
        Some(_) => Some(Preemption::Possible(Some("full".to_owned()))),
    }
}

/// The mode in parentheses, as in `none (voluntary) full`.
fn chosen(modes: &str) -> Option<&str> {
    Some(modes.split_once('(')?.1.split_once(')')?.0)
}

fn by_mode(mode: Option<&str>) -> Preemption {
    match mode {
        Some("none" | "voluntary") => Preemption::Never,
        mode => Preemption::Possible(mode.map(ToOwned::to_owned)),
    }
}

/// By how it was built and booted: only what was built without preemption, and not booted with it, is without.
fn by_configuration(configuration: &str, command_line: &str) -> Preemption {
    let asked = command_line.split_whitespace().filter_map(|word| word.strip_prefix("preempt=")).next_back();
    let without = |line: &str| matches!(line, "CONFIG_PREEMPT_NONE=y" | "CONFIG_PREEMPT_VOLUNTARY=y");
    let built = configuration.lines().find(|line| without(line)).map(|_| "voluntary");
    match (built, asked) {
        (Some(built), None) => by_mode(Some(built)),
        (Some(_), Some(asked)) => by_mode(Some(asked)),
        (None, asked) => Preemption::Possible(asked.map(ToOwned::to_owned)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn possible(mode: &str) -> Preemption {
        Preemption::Possible(Some(mode.to_owned()))
    }

    #[test]
    fn how_a_kernel_was_built_is_in_its_version() {
        assert_eq!(by_version("#1 SMP Debian 5.10.223-1 (2024-08-10)"), Some(Preemption::Never));
        assert_eq!(by_version("#1 SMP PREEMPT Thu Jan 1 00:00:00 UTC 2026"), Some(possible("full")));
        assert_eq!(by_version("#1 SMP PREEMPT_RT Debian 6.1.176-1"), Some(possible("full")));
        assert_eq!(by_version("#1 SMP PREEMPT_DYNAMIC Debian 6.1.176-1"), None);
        assert_eq!(by_version(""), Some(Preemption::Possible(None)));
    }

    #[test]
    fn the_mode_is_the_one_in_parentheses() {
        assert_eq!(by_mode(chosen("none (voluntary) full \n")), Preemption::Never);
        assert_eq!(by_mode(chosen("(none) voluntary full")), Preemption::Never);
        assert_eq!(by_mode(chosen("full (lazy) \n")), possible("lazy"));
        assert_eq!(by_mode(chosen("none voluntary full")), Preemption::Possible(None));
    }

    #[test]
    fn what_is_not_known_to_be_without_may_have_it() {
        let voluntary = "CONFIG_PREEMPT_BUILD=y\n# CONFIG_PREEMPT_NONE is not set\nCONFIG_PREEMPT_VOLUNTARY=y\n";
        assert_eq!(by_configuration(voluntary, "quiet"), Preemption::Never);
        assert_eq!(by_configuration(voluntary, "quiet preempt=none"), Preemption::Never);
        assert_eq!(by_configuration(voluntary, "preempt=none preempt=full"), possible("full"));
        assert_eq!(by_configuration("", "quiet"), Preemption::Possible(None));
        // Who chooses it at boot on a kernel that can't is given another.
        assert_eq!(by_configuration("CONFIG_PREEMPT_LAZY=y", "preempt=none"), possible("none"));
    }
}
